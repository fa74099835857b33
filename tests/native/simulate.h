// Loads whose energy is known in closed form, seen through a simulated sensor and its sampler.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.h"
#include "core/channel.h"
#include "core/frame.h"

namespace simulate {

using pyprof::Change;
using pyprof::Channel;
using pyprof::Frame;

inline constexpr double kNs = 1e9;
inline int64_t ns(double seconds) { return std::llround(seconds * kNs); }

// Power that is constant between corners; before the first and after the last as there.
class Load {
 public:
  void hold(double duration_s, double power_w) {
    starts_.push_back(end_s_);
    powers_.push_back(power_w);
    energies_.push_back(end_j_);
    end_s_ += duration_s;
    end_j_ += duration_s * power_w;
  }
  double energy_j(double t_s) const {
    size_t at = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), t_s) -
                                    starts_.begin());
    at = at == 0 ? 0 : at - 1;
    return energies_[at] + powers_[at] * (t_s - starts_[at]);
  }
  double between(double from_s, double to_s) const { return energy_j(to_s) - energy_j(from_s); }
  double end_s() const { return end_s_; }
  const std::vector<double>& corners_s() const { return starts_; }
  // What a low pass of this time constant shows of the power, at each of some rising times.
  std::vector<double> followed_w(const std::vector<double>& times_s, double lag_s) const {
    std::vector<double> shown;
    double at_s = starts_.front(), power_w = powers_.front();
    size_t next = 1;
    for (const double time_s : times_s) {
      for (; next < starts_.size() && starts_[next] < time_s; ++next) {
        power_w += (powers_[next - 1] - power_w) * -std::expm1((at_s - starts_[next]) / lag_s);
        at_s = starts_[next];
      }
      if (time_s > at_s) {
        power_w += (powers_[next - 1] - power_w) * -std::expm1((at_s - time_s) / lag_s);
        at_s = time_s;
      }
      shown.push_back(power_w);
    }
    return shown;
  }

 private:
  std::vector<double> starts_, powers_, energies_;
  double end_s_ = 0, end_j_ = 0;
};

struct Sensor {
  double period_s = 0.1;
  double jitter = 0;      // standard deviation of a period, as a share of it
  bool on_grid = false;   // the jitter is of each update about a fixed grid instead
  double bracket = 0.03;  // distance of the reads around a change, as a share of the period
  double unit = 1e-3;     // joules per count (counter), watts per count (gauge)
  uint64_t range = 0;
  uint64_t start_count = 0;
  double window_s = 0;  // gauges: averaging window; -1: the mean since the previous reading
  double lag_s = 0;     // gauges: the reading follows the power with this time constant instead
  double phase = 0.37;
};

// The moments in which the sensor updates itself, from before `from_s` to after `to_s`.
inline std::vector<double> updates(const Sensor& sensor, double from_s, double to_s,
                                   check::Random& random) {
  std::vector<double> times;
  double t = from_s - (1 + sensor.phase) * sensor.period_s;
  while (t < to_s + 2 * sensor.period_s) {
    if (sensor.on_grid) {
      times.push_back(t + sensor.period_s * std::clamp(sensor.jitter * random.normal(), -0.4, 0.4));
      t += sensor.period_s;
    } else {
      times.push_back(t);
      t += sensor.period_s * std::max(0.2, 1 + sensor.jitter * random.normal());
    }
  }
  return times;
}

// What a sampler records that finds each change within a bracket of the given width.
inline Frame watch_counter(const Load& load, const Sensor& sensor, double from_s, double to_s,
                           check::Random& random) {
  Frame frame;
  const double bracket_s = sensor.bracket * sensor.period_s;
  const auto count_at = [&](double t_s) {
    // Measured from before time 0, so that a count is never negative.
    const double joules = load.energy_j(t_s) - load.energy_j(-10);
    const uint64_t counts = sensor.start_count + static_cast<uint64_t>(joules / sensor.unit);
    return sensor.range == 0 ? counts : counts % sensor.range;
  };
  const auto times = updates(sensor, from_s, to_s, random);
  uint64_t before = 0;
  int64_t last_ns = 0;
  for (const double t_s : times) {
    const uint64_t raw = count_at(t_s);
    if (t_s <= from_s) {
      frame.changes.assign(1, {ns(from_s), ns(from_s), ns(from_s), raw, pyprof::kFirst});
    } else if (raw != before) {
      const double early = random.uniform() * bracket_s;
      const int64_t low = std::max(ns(t_s - early), frame.changes.back().first_new_ns);
      const int64_t high = std::max(ns(t_s - early + bracket_s), low + 1);
      frame.changes.push_back({low, high, low + (high - low) / 2, raw, 0});
    }
    before = raw;
    last_ns = ns(t_s);
  }
  frame.pulse.period_ns = ns(sensor.period_s);
  frame.pulse.interval_ns = ns(sensor.period_s);
  frame.pulse.last_read_ns = std::max(last_ns, frame.changes.back().first_new_ns);
  return frame;
}

// What a sampler records that reads blindly at an interval; `know_period` as if it had found it.
inline Frame read_blindly(const Load& load, const Sensor& sensor, double interval_s, double from_s,
                          double to_s, bool know_period, check::Random& random) {
  Frame frame;
  const auto times = updates(sensor, from_s, to_s, random);
  std::vector<double> followed_w;
  if (sensor.lag_s > 0) followed_w = load.followed_w(times, sensor.lag_s);
  const auto value_at = [&](double t_s) {
    const auto after = std::upper_bound(times.begin() + 1, times.end(), t_s);
    const auto made = static_cast<size_t>(after - times.begin()) - 1;
    const double made_s = times[made];
    double value = load.energy_j(made_s) - load.energy_j(-10);
    if (sensor.window_s > 0)
      value = load.between(made_s - sensor.window_s, made_s) / sensor.window_s;
    if (sensor.window_s < 0) value = load.between(t_s - interval_s, t_s) / interval_s;
    if (sensor.lag_s > 0) value = followed_w[made];
    const auto counts = sensor.start_count + static_cast<uint64_t>(value / sensor.unit);
    return sensor.range == 0 ? counts : counts % sensor.range;
  };
  int64_t last_ns = 0;
  uint64_t before = 0;
  for (double t_s = from_s; t_s <= to_s; t_s += interval_s) {
    const int64_t read_ns = ns(t_s + random.exponential(50e-6));
    const uint64_t raw = value_at(sensor.window_s < 0 ? t_s : static_cast<double>(read_ns) / kNs);
    if (frame.changes.empty()) {
      frame.changes.push_back({read_ns, read_ns, read_ns, raw, pyprof::kFirst});
    } else if (raw != before) {
      const int64_t bracket = read_ns - last_ns;
      const int64_t age = know_period ? std::min(ns(sensor.period_s), bracket) : bracket;
      frame.changes.push_back({last_ns, read_ns, read_ns - age / 2, raw, 0});
    }
    before = raw;
    last_ns = read_ns;
  }
  frame.pulse.period_ns = know_period ? ns(sensor.period_s) : 0;
  frame.pulse.interval_ns = ns(interval_s);
  frame.pulse.last_read_ns = last_ns;
  return frame;
}

inline Channel counter_channel(const Sensor& sensor, double limit_w = 1000) {
  Channel channel;
  channel.id = "sim";
  channel.unit = sensor.unit;
  channel.range = sensor.range;
  channel.limit_w = limit_w;
  return channel;
}

}  // namespace simulate
