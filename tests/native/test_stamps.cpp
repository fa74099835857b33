// Changes placed by all readings around them: error and window against the truth.
#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"
#include "core/sampler.h"
#include "core/stamps.h"
#include "loads.h"
#include "paced.h"

using namespace pyprof;
using simulate::Load;
using simulate::ns;
using simulate::Sensor;

namespace {

struct Judged {
  double median = 0, worst = 0;  // of the period
  double inside = 0;             // share of the windows that hold the truth
  double half = 0;               // of the period, mean
  size_t placed = 0, changes = 0;
};

Judged judge(const std::vector<Change>& changes, const std::vector<double>& made_s,
             const std::vector<Stamp>& stamps, double period_s) {
  Judged judged;
  std::vector<double> errors;
  for (size_t i = 1; i < changes.size(); ++i) {
    ++judged.changes;
    if (stamps[i].half_s < 0) continue;
    CHECK(changes[i].last_old_ns <= stamps[i].at_ns && stamps[i].at_ns <= changes[i].first_new_ns);
    const double error_s = std::abs(static_cast<double>(stamps[i].at_ns) / 1e9 - made_s[i]);
    errors.push_back(error_s / period_s);
    judged.inside += error_s <= 1.1 * static_cast<double>(stamps[i].half_s);
    judged.half += static_cast<double>(stamps[i].half_s) / period_s;
  }
  judged.placed = errors.size();
  if (errors.empty()) return judged;
  std::sort(errors.begin(), errors.end());
  judged.median = errors[errors.size() / 2];
  judged.worst = errors.back();
  judged.inside /= static_cast<double>(errors.size());
  judged.half /= static_cast<double>(errors.size());
  return judged;
}

Judged follow(const Sensor& sensor, Following following, const simulate::Machine& machine,
              uint64_t seed) {
  check::Random random(seed);
  SamplerOptions options;
  options.following = following;
  const Load load = simulate::make_load("levels", 300 * sensor.period_s / 0.1, 0.1, random);
  const auto paced = simulate::follow(load, sensor, pace_of(Lane::kVendor, options), 1,
                                      280 * sensor.period_s / 0.1, machine, random);
  const Pulse& pulse = paced.frame.pulse;
  const auto stamps = place_changes(paced.frame.changes, pulse.period_ns, pulse.spread_ns);
  return judge(paced.frame.changes, paced.made_s, stamps, sensor.period_s);
}

void test_paced() {
  uint64_t seed = 5300;
  for (const Following following : {Following::kFine, Following::kDefault}) {
    for (const double period_s : {0.02, 0.1}) {
      for (const double jitter : {0.0, 0.005, 0.03}) {
        for (const bool on_grid : {false, true}) {
          Sensor sensor;
          sensor.period_s = period_s;
          sensor.jitter = jitter;
          sensor.on_grid = on_grid;
          const Judged judged = follow(sensor, following, {}, ++seed);
          CHECK(judged.placed + 20 > judged.changes);
          CHECK(judged.inside > 0.85);  // 0.95 in the mean of many runs
          CHECK(judged.median < 0.004 + 0.6 * jitter);
          CHECK(judged.worst < 0.02 + 5 * jitter);
          CHECK(judged.half < 0.01 + 2 * jitter);
        }
      }
    }
  }
}

// On a steady sensor many wide brackets together tell what none of them tells alone.
void test_wide_brackets() {
  Sensor sensor;
  sensor.period_s = 0.1;
  sensor.bracket = 0.25;
  sensor.jitter = 0.005;
  sensor.on_grid = true;
  check::Random random(77);
  const Load load = simulate::make_load("levels", 80, 0.1, random);
  check::Random same = random;
  std::vector<double> times = simulate::updates(sensor, 5, 65, same);
  const Frame frame = simulate::watch_counter(load, sensor, 5, 65, random);
  std::vector<double> made_s;
  for (const Change& change : frame.changes) {
    const auto made = std::lower_bound(times.begin(), times.end(),
                                       static_cast<double>(change.last_old_ns - 1) / 1e9);
    made_s.push_back(*made);
  }
  const auto stamps = place_changes(frame.changes, frame.pulse.period_ns, 0);
  const Judged judged = judge(frame.changes, made_s, stamps, sensor.period_s);
  CHECK(judged.placed + 2 > judged.changes);
  CHECK(judged.median < 0.01);  // the middles of the brackets: 0.06
  CHECK(judged.inside > 0.93);
}

// A few changes that are known exactly tell when those came that were read rarely after them.
void test_few_exact() {
  constexpr int64_t kPeriod = 5'000'000;
  for (const int64_t age : {100'000, 2'500'000, 4'900'000}) {
    std::vector<Change> changes;
    std::vector<double> made_s;
    int64_t read = 1'000'000'000;
    const auto see = [&](int64_t made, int64_t bracket, int64_t read_ns) {
      changes.push_back({read_ns - bracket, read_ns, read_ns - bracket / 2, changes.size(), 0});
      made_s.push_back(static_cast<double>(made) / 1e9);
      read = read_ns;
    };
    for (int64_t i = 0; i < 5; ++i) {
      const int64_t made = read + kPeriod - (i == 0 ? 0 : 1000);
      see(made, 2000, made + 1000);
    }
    int64_t made = read - 1000;
    for (int64_t i = 0; i < 10; ++i) {
      made += 20 * kPeriod;
      see(made, made + age - read, made + age);
    }
    const auto stamps = place_changes(changes, kPeriod, 0);
    const Judged judged = judge(changes, made_s, stamps, 0.005);
    CHECK_EQUAL(judged.placed, judged.changes);
    CHECK(judged.worst < 0.1);
    CHECK(judged.inside > 0.99);
  }
}

// The thread was away while the sensor made its first updates: those after them tell which of them
// was read.
void test_first_by_those_after() {
  constexpr int64_t kPeriod = 20'000'000;
  for (int64_t after = 1'500'000; after < kPeriod; after += 1'500'000) {
    const int64_t made = 1'000'000'000;
    std::vector<Change> changes{{made - 25'000'000, made + after, made - 12'000'000, 0, 0}};
    for (int64_t i = 1; i < 20; ++i) {
      const int64_t next = made + i * kPeriod;
      changes.push_back({next - 1'000'000, next + 1'000'000, next, static_cast<uint64_t>(i), 0});
    }
    const auto stamps = place_changes(changes, kPeriod, 300'000);
    CHECK_NEAR(static_cast<double>(stamps[0].at_ns - made), 0, 1e6);
    CHECK(stamps[0].half_s > 0 && stamps[0].half_s < 5e-3);
  }
}

// Where two of three wakes come late the windows are wide, or nothing is said.
void test_starved() {
  for (const Following following : {Following::kFine, Following::kDefault}) {
    Sensor sensor;
    sensor.jitter = 0.02;
    const Judged judged = follow(sensor, following, simulate::starved_machine(), 911);
    CHECK(judged.placed == 0 || judged.inside > 0.9);
  }
}

void test_nothing_to_say() {
  CHECK(place_changes({}, 100'000'000, 0).empty());
  // A sensor faster than it is read, and one whose period is not known.
  std::vector<Change> changes;
  for (int64_t i = 1; i < 100; ++i) {
    changes.push_back({i * 10'000'000, (i + 1) * 10'000'000, i * 10'000'000 + 5'000'000,
                       static_cast<uint64_t>(i), 0});
  }
  for (const Stamp& stamp : place_changes(changes, 976'000, 0)) CHECK(stamp.half_s < 0);
  for (const Stamp& stamp : place_changes(changes, 0, 0)) CHECK(stamp.half_s < 0);
}

}  // namespace

int main() {
  test_paced();
  test_wide_brackets();
  test_few_exact();
  test_first_by_those_after();
  test_starved();
  test_nothing_to_say();
  return check::result();
}
