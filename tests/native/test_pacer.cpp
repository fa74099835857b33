// The phase lock in simulated time: late wakes, drift, jitter. Ten minutes a case.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "core/clock.h"
#include "core/pacer.h"
#include "core/sampler.h"

using namespace pyprof;

namespace {

struct Outcome {
  double reads_per_update = 0;
  double within_3_percent = 0;
  size_t missed = 0;
  bool locked = false;
};

std::vector<double> updates_of(double period, double jitter, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::vector<double> updates;
  for (double grid = 0.3 * period; grid < 600e9;
       grid += period * (1 + 0.001 * std::sin(grid / 600e9 * 6.283185307179586))) {
    updates.push_back(grid + jitter * period * normal(random));
  }
  std::sort(updates.begin(), updates.end());
  return updates;
}

Outcome follow(double period, double jitter) {
  std::mt19937 random(11);
  const std::vector<double> updates = updates_of(period, jitter, random);
  SamplerOptions options;
  options.following = Following::kFine;
  std::exponential_distribution<double> tail(1 / 20e3);
  std::uniform_real_distribution<double> uniform;
  Pacer pacer(pace_of(Lane::kVendor, options));
  Outcome outcome;
  double now = 0;
  int64_t deadline = pacer.start(0).deadline_ns, last_old = 0;
  size_t index = 0, reads = 0, changes = 0, placed = 0;
  while (now < updates.back() - period) {
    now = std::max(now, static_cast<double>(deadline)) + 45e3 + tail(random);
    if (uniform(random) < 0.002) now += uniform(random) * 2e6;
    size_t seen = index;
    while (seen < updates.size() && updates[seen] <= now) ++seen;
    const bool was_locked = pacer.mode() == Pacer::Mode::kLocked;
    const auto stamp = static_cast<int64_t>(now);
    deadline = pacer.next(stamp, stamp, seen != index, last_old).deadline_ns;
    last_old = stamp;
    if (was_locked) {
      ++reads;
      if (seen != index) {
        ++changes;
        outcome.missed += seen - index - 1;
        const double error = static_cast<double>(pacer.changed_at_ns()) - updates[seen - 1];
        placed += std::abs(error) < 0.03 * period;
      }
    }
    index = seen;
  }
  outcome.locked = pacer.mode() == Pacer::Mode::kLocked;
  outcome.reads_per_update = static_cast<double>(reads) / static_cast<double>(changes);
  outcome.within_3_percent = static_cast<double>(placed) / static_cast<double>(changes);
  return outcome;
}

void check_lock() {
  for (const double period : {20e6, 100e6}) {
    for (const double jitter : {0.0, 0.02, 0.05}) {
      const Outcome outcome = follow(period, jitter);
      CHECK(outcome.locked);
      CHECK(outcome.reads_per_update < 3.0);
      CHECK(outcome.within_3_percent > 0.95);
      CHECK(outcome.missed == 0);
    }
  }
}

// A sensor without a rhythm is polled rather than chased.
void check_irregular() {
  const Outcome outcome = follow(100e6, 0.4);
  CHECK(!outcome.locked);
}

void check_blind_grid() {
  Pacer pacer(Pace{10, 10, 10, 0, 10, 1});
  CHECK(pacer.start(100).deadline_ns == 110);
  CHECK(pacer.next(110, 111, false, 100).deadline_ns == 120);
  // After a stall the next point of the same grid, no burst of reads.
  CHECK(pacer.next(163, 163, true, 110).deadline_ns == 170);
  CHECK(pacer.changed_at_ns() == 137);
}

void check_fast_sensor() {
  Pacer pacer(Pace{0, 10 * kNsPerMs, kNsPerMs, 8 * kNsPerMs, 20 * kNsPerMs, 1});
  pacer.start(0);
  pacer.set_fast_period(kNsPerMs, 0);
  pacer.next(10 * kNsPerMs, 10 * kNsPerMs, true, 0);
  // The value is on average half an update old, not half an interval.
  CHECK(pacer.changed_at_ns() == 10 * kNsPerMs - kNsPerMs / 2);
  CHECK(pacer.interval_ns() == 10 * kNsPerMs);
}

// Too fast for the first reads to tell its period, and then read seldom: what each read finds is
// new, not as old as the half of what lies between two reads.
void check_too_fast_to_tell() {
  Pacer pacer(pace_of(Lane::kFiles, SamplerOptions{}));
  int64_t now = 0, before = 0;
  Plan plan = pacer.start(now);
  while (pacer.mode() == Pacer::Mode::kAcquire) {
    before = now;
    now = plan.deadline_ns;
    plan = pacer.next(now, now, true, before);
  }
  CHECK(pacer.mode() == Pacer::Mode::kFixed);
  CHECK(pacer.period_ns() == 0);
  const int64_t later = plan.deadline_ns;
  CHECK(later - now > 50 * kNsPerMs);
  pacer.next(later, later, true, now);
  CHECK(later - pacer.changed_at_ns() <= kNsPerMs);
}

}  // namespace

int main() {
  check_lock();
  check_irregular();
  check_blind_grid();
  check_fast_sensor();
  check_too_fast_to_tell();
  return check::result();
}
