// The phase lock in simulated time: late wakes, drift, jitter. Ten minutes a case.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "core/burst.h"
#include "core/clock.h"
#include "core/pacer.h"
#include "core/sampler.h"

using namespace pyprof;

namespace {

struct Outcome {
  double reads_per_update = 0;
  double within_3_percent = 0, within_1_percent = 0;
  double worst = 0;  // of the period
  size_t missed = 0;
  bool locked = false;
};

enum class Jitter { kGrid, kWalk };

// With a drift of 0.1 % that swings.
std::vector<double> updates_of(double period, double jitter, Jitter kind, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::vector<double> updates;
  for (double grid = 0.3 * period; grid < 600e9;
       grid += period * (1 + 0.001 * std::sin(grid / 600e9 * 6.283185307179586))) {
    const double off = jitter * period * normal(random);
    updates.push_back(grid + off);
    if (kind == Jitter::kWalk) grid += off;
  }
  std::sort(updates.begin(), updates.end());
  return updates;
}

// From the 80th update after the lock on.
Outcome follow(double period, double jitter, Jitter kind = Jitter::kGrid,
               Following following = Following::kFine) {
  std::mt19937 random(11 + static_cast<unsigned>(1e3 * jitter));
  const std::vector<double> updates = updates_of(period, jitter, kind, random);
  SamplerOptions options;
  options.following = following;
  std::exponential_distribution<double> tail(1 / 20e3);
  std::uniform_real_distribution<double> uniform;
  Pacer pacer(pace_of(Lane::kVendor, options));
  Outcome outcome;
  double now = 0;
  int64_t deadline = pacer.start(0).deadline_ns, last_old = 0;
  size_t index = 0, reads = 0, changes = 0, placed = 0, close = 0, learnt = 0;
  while (now < updates.back() - period) {
    now = std::max(now, static_cast<double>(deadline)) + 45e3 + tail(random);
    if (uniform(random) < 0.002) now += uniform(random) * 2e6;
    size_t seen = index;
    while (seen < updates.size() && updates[seen] <= now) ++seen;
    const bool was_locked = pacer.mode() == Pacer::Mode::kLocked;
    const auto stamp = static_cast<int64_t>(now);
    deadline = pacer.next(stamp, stamp, seen != index, last_old).deadline_ns;
    last_old = stamp;
    learnt += seen != index && was_locked;
    if (was_locked && learnt > 80) {
      ++reads;
      if (seen != index) {
        ++changes;
        outcome.missed += seen - index - 1;
        const double error =
            std::abs(static_cast<double>(pacer.changed_at_ns()) - updates[seen - 1]) / period;
        placed += error < 0.03;
        close += error < 0.01;
        outcome.worst = std::max(outcome.worst, error);
      }
    }
    index = seen;
  }
  const auto share = [&](size_t count) {
    return static_cast<double>(count) / static_cast<double>(changes);
  };
  outcome.locked = pacer.mode() == Pacer::Mode::kLocked;
  outcome.reads_per_update = share(reads);
  outcome.within_3_percent = share(placed);
  outcome.within_1_percent = share(close);
  return outcome;
}

void check_lock() {
  for (const double period : {20e6, 100e6}) {
    for (const double jitter : {0.0, 0.005, 0.02, 0.05}) {
      for (const Jitter kind : {Jitter::kGrid, Jitter::kWalk}) {
        const Outcome outcome = follow(period, jitter, kind);
        CHECK(outcome.locked);
        CHECK(outcome.reads_per_update < 3.0);
        CHECK(outcome.within_3_percent > 0.95);
        if (jitter <= 0.005) CHECK(outcome.within_1_percent > 0.95);
        CHECK(outcome.missed == 0);
        // An update that comes long before it was expected is rare.
        CHECK(outcome.worst < 0.02 + 3 * jitter);
      }
    }
  }
}

// One read an update where the prediction holds, and its stamps are as good as the jitter lets
// them be.
void check_default_pace() {
  for (const double jitter : {0.0, 0.005}) {
    const Outcome outcome = follow(100e6, jitter, Jitter::kGrid, Following::kDefault);
    CHECK(outcome.reads_per_update < 1.3);
    CHECK(outcome.within_3_percent > 0.99);
    CHECK(outcome.missed == 0);
  }
}

// Where two of three wakes come late by up to two updates, no phase can be told: the pacer must
// not take one for granted for long.
void check_starved() {
  std::mt19937 random(4242);
  const std::vector<double> updates = updates_of(100e6, 0.02, Jitter::kWalk, random);
  for (const Following following : {Following::kFine, Following::kDefault}) {
    std::uniform_real_distribution<double> uniform;
    SamplerOptions options;
    options.following = following;
    Pacer pacer(pace_of(Lane::kVendor, options));
    double now = 0;
    int64_t deadline = pacer.start(0).deadline_ns, last_old = 0;
    size_t index = 0, changes = 0, outside = 0;
    while (now < updates.back() - 1e9) {
      now = std::max(now, static_cast<double>(deadline)) + 50e3;
      // Calm for a minute: locked.
      if (now > 60e9 && uniform(random) < 2.0 / 3) now += uniform(random) * 200e6;
      size_t seen = index;
      while (seen < updates.size() && updates[seen] <= now) ++seen;
      const auto stamp = static_cast<int64_t>(now);
      deadline = pacer.next(stamp, stamp, seen != index, last_old).deadline_ns;
      if (seen != index && now > 60e9) {
        ++changes;
        if (pacer.mode() == Pacer::Mode::kLocked) {
          const double sigma = static_cast<double>(pacer.spread_ns()) / 1.349;
          const double error = static_cast<double>(pacer.changed_at_ns()) - updates[seen - 1];
          outside += std::abs(error) > std::max(3 * sigma, 1e6);
        }
      }
      last_old = stamp;
      index = seen;
    }
    CHECK(changes > 3000);
    CHECK(static_cast<double>(outside) / static_cast<double>(changes) < 0.05);
  }
}

// The first period found must not be a whole number of periods, nor what lateness makes of it.
void check_acquired_busy() {
  std::mt19937 random(99);
  std::uniform_real_distribution<double> uniform;
  for (const double period : {20e6, 100e6}) {
    int right = 0, locked = 0;
    for (int round = 0; round < 20; ++round) {
      const double phase = uniform(random) * period;
      SamplerOptions options;
      Pacer pacer(pace_of(Lane::kVendor, options));
      double now = 0;
      int64_t deadline = pacer.start(0).deadline_ns, last_old = 0;
      double before = std::floor(-phase / period);
      while (now < 30e9 && pacer.mode() == Pacer::Mode::kAcquire) {
        now = std::max(now, static_cast<double>(deadline)) + 50e3;
        // The machine runs the thread for 30 ms or not at all for up to 60 ms.
        if (std::fmod(now, 90e6) > 30e6) now += uniform(random) * 60e6;
        const double value = std::floor((now - phase) / period);
        const auto stamp = static_cast<int64_t>(now);
        deadline = pacer.next(stamp, stamp, value != before, last_old).deadline_ns;
        last_old = stamp;
        before = value;
      }
      if (pacer.mode() != Pacer::Mode::kLocked) continue;
      ++locked;
      right += std::abs(static_cast<double>(pacer.period_ns()) / period - 1) < 0.2;
    }
    CHECK(locked > 0);
    CHECK_EQUAL(right, locked);
  }
}

// Reads of 2 ms see a counter of 5.3 ms change after 4 or 6 ms.
void check_acquired_between_reads() {
  for (int round = 0; round < 100; ++round) {
    const double period = 4.5e6 + 0.5e6 * (round / 20),
                 phase = 0.05e6 * (round % 20) * period / 1e6;
    Pacer pacer(pace_of(Lane::kFiles, {}));
    int64_t deadline = pacer.start(0).deadline_ns, last_old = 0;
    double before = std::floor(-phase / period);
    while (pacer.mode() == Pacer::Mode::kAcquire && deadline < 3 * kNsPerS) {
      const int64_t now = deadline + 60 * kNsPerUs;
      const double value = std::floor((static_cast<double>(now) - phase) / period);
      deadline = pacer.next(now, now, value != before, last_old).deadline_ns;
      last_old = now;
      before = value;
    }
    CHECK_NEAR(static_cast<double>(pacer.period_ns()), period, 0.51e6);
  }
}

// A gauge without noise under a square wave changes at the edges alone: whole updates lie between
// them, of no more than the documented period.
void check_square_gauge() {
  for (const double half : {150e6, 350e6, 500e6, 730e6}) {
    for (const double period : {20e6, 100e6}) {
      SamplerOptions options;
      Pace pace = pace_of(Lane::kVendor, options);
      pace.documented_ns = 100 * kNsPerMs;
      Pacer pacer(pace);
      double now = 0, before = 0;
      int64_t deadline = pacer.start(0).deadline_ns, last_old = 0;
      while (now < 30e9) {
        now = std::max(now, static_cast<double>(deadline)) + 60e3;
        const double update = std::floor((now - 7e6) / period) * period + 7e6;
        const double value = std::fmod(update, 2 * half) < half ? 100 : 400;
        const auto stamp = static_cast<int64_t>(now);
        deadline = pacer.next(stamp, stamp, value != before, last_old).deadline_ns;
        last_old = stamp;
        before = value;
      }
      CHECK(pacer.period_ns() > 0 && pacer.period_ns() < 112 * kNsPerMs);
      if (period == 100e6) CHECK_NEAR(static_cast<double>(pacer.period_ns()), 100e6, 1e6);
    }
  }
}

void check_burst() {
  // A counter of 1 ms, read each 5 us by a thread that is away for 2.4 ms now and then.
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform;
  for (int round = 0; round < 50; ++round) {
    Burst burst;
    const double phase = uniform(random) * 1e6;
    double now = 0, before = 0;
    bool seen = false;
    while (!burst.done() && now < 32e6) {
      now += uniform(random) < 0.002 ? 2.4e6 : 5e3;
      const bool changed =
          seen && std::floor((now - phase) / 1e6) != std::floor((before - phase) / 1e6);
      burst.read(static_cast<int64_t>(now), static_cast<int64_t>(before), changed);
      before = now;
      seen = true;
    }
    const auto [period, spread] = burst.period();
    CHECK_NEAR(static_cast<double>(period), 1e6, 20e3);
    CHECK(spread < 50'000);
  }
  Burst nothing;
  CHECK_EQUAL(nothing.period().first, 0);
  nothing.read(1000, 900, true);
  nothing.read(2'001'000, 1'000'900, true);
  CHECK_EQUAL(nothing.period().first, 0);  // the thread was away for half of it
  // One change so far: worth waiting for the next, if it comes soon enough to be worth a burst.
  Burst one;
  CHECK(!one.wants_more(8'000'000, 7'500'000));
  one.read(4'000'000, 3'999'000, true);
  CHECK(one.wants_more(8'000'000, 7'500'000));
  CHECK(!one.wants_more(13'000'000, 7'500'000));
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
  check_default_pace();
  check_starved();
  check_acquired_busy();
  check_burst();
  check_acquired_between_reads();
  check_square_gauge();
  check_irregular();
  check_blind_grid();
  check_fast_sensor();
  check_too_fast_to_tell();
  return check::result();
}
