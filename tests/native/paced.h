// A simulated sensor read by the real pacer, in simulated time.
#pragma once

#include "core/pacer.h"
#include "simulate.h"

namespace simulate {

// How late a thread wakes, and how long a read takes.
struct Machine {
  double late_s = 45e-6, late_mean_s = 20e-6;
  double stall_share = 0.002, stall_s = 2e-3;
  double read_s = 20e-6;

  double lateness_s(check::Random& random) const {
    const double late = late_s + random.exponential(late_mean_s);
    return random.uniform() < stall_share ? late + random.uniform() * stall_s : late;
  }
};

// Two of three wakes come late by up to two updates of 100 ms.
inline Machine starved_machine() {
  Machine machine;
  machine.stall_share = 2.0 / 3;
  machine.stall_s = 0.2;
  return machine;
}

struct Paced {
  Frame frame;
  std::vector<double> made_s;  // when the sensor made each change of the frame
  size_t reads = 0;
  size_t missed = 0;  // updates that no read saw
};

// What a lane records of a counter from `from_s` to `to_s`: the pacer decides when to read.
inline Paced follow(const Load& load, const Sensor& sensor, pyprof::Pace pace, double from_s,
                    double to_s, const Machine& machine, check::Random& random) {
  Paced paced;
  Frame& frame = paced.frame;
  const auto times = updates(sensor, from_s - 1, to_s, random);
  size_t at = 0, seen = 0;
  const auto raw_at = [&](double t_s) {
    while (at + 1 < times.size() && times[at + 1] <= t_s) ++at;
    const double joules = load.energy_j(times[at]) - load.energy_j(-10);
    const uint64_t counts = sensor.start_count + static_cast<uint64_t>(joules / sensor.unit);
    return sensor.range == 0 ? counts : counts % sensor.range;
  };
  pyprof::Pacer pacer(pace);
  int64_t deadline = ns(from_s), last_ns = 0;
  uint64_t before = 0;
  pacer.start(deadline);
  while (deadline < ns(to_s)) {
    const int64_t began = deadline + ns(machine.lateness_s(random));
    const int64_t after = began + ns(machine.read_s), middle = began + (after - began) / 2;
    const uint64_t raw = raw_at(static_cast<double>(middle) / kNs);
    const bool first = frame.changes.empty(), changed = !first && raw != before;
    deadline = pacer.next(middle, after, changed, first ? middle : last_ns).deadline_ns;
    if (first) {
      frame.changes.push_back({middle, middle, middle, raw, pyprof::kFirst});
    } else if (changed) {
      const int64_t at_ns = std::clamp(pacer.changed_at_ns(), last_ns, middle);
      frame.changes.push_back({last_ns, middle, at_ns, raw, 0});
      paced.missed += at - seen - 1;
    }
    if (first || changed) {
      paced.made_s.push_back(times[at]);
      seen = at;
    }
    before = raw;
    last_ns = middle;
    ++paced.reads;
  }
  frame.pulse = {last_ns, pacer.period_ns(), pacer.spread_ns(), pacer.interval_ns()};
  return paced;
}

}  // namespace simulate
