// Changes placed by the energies between them: nearer to the truth, with windows that hold it.
#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"
#include "core/lines.h"
#include "core/track.h"
#include "loads.h"
#include "simulate.h"

using namespace pyprof;
using simulate::Load;
using simulate::ns;
using simulate::Sensor;

namespace {

constexpr double kFromS = 2, kToS = 80;

struct Placed {
  double median_s = 0, half_s = 0;  // error, and mean half-width
  double inside = 0;                // share of the windows that hold the truth
};

Placed judge(const Track& track, const std::vector<double>& made_s) {
  Placed placed;
  std::vector<double> errors;
  for (size_t i = 6; i + 6 < track.knots.size(); ++i) {
    const Knot& knot = track.knots[i];
    const double at_s = static_cast<double>(knot.t_ns) / 1e9;
    double error_s = 1;
    for (const double made : made_s) error_s = std::min(error_s, std::abs(at_s - made));
    errors.push_back(error_s);
    placed.inside += error_s <= 1.1 * static_cast<double>(knot.half_s);
    placed.half_s += static_cast<double>(knot.half_s);
  }
  std::sort(errors.begin(), errors.end());
  placed.median_s = errors[errors.size() / 2];
  placed.inside /= static_cast<double>(errors.size());
  placed.half_s /= static_cast<double>(errors.size());
  return placed;
}

struct Pair {
  Placed before, after;
};

std::vector<int64_t> marks_each(double apart_s) {
  std::vector<int64_t> marks;
  for (double t = kFromS + 1; t < kToS - 1; t += apart_s) marks.push_back(ns(t));
  return marks;
}

Pair place(const Load& load, const Sensor& sensor, const std::vector<int64_t>& marks,
           uint64_t seed) {
  check::Random random(seed);
  check::Random same = random;
  const auto made_s = simulate::updates(sensor, kFromS, kToS, same);
  const Frame frame = simulate::watch_counter(load, sensor, kFromS, kToS, random);
  Track track = make_track(simulate::counter_channel(sensor), {frame}, ns(kFromS), ns(kToS));
  Pair pair;
  pair.before = judge(track, made_s);
  hold_to_lines(track, marks);
  for (size_t i = 1; i < track.knots.size(); ++i) {
    CHECK(track.knots[i].t_ns > track.knots[i - 1].t_ns);
  }
  pair.after = judge(track, made_s);
  return pair;
}

Load make(const char* kind, uint64_t seed) {
  check::Random random(seed);
  return simulate::make_load(kind, kToS + 10, 0.1, random);
}

Sensor sensor_of(double bracket, double jitter) {
  Sensor sensor;
  sensor.bracket = bracket;
  sensor.jitter = jitter;
  return sensor;
}

void test_powers_that_last() {
  for (const double bracket : {0.03, 0.06}) {
    for (const char* kind : {"constant", "held levels", "held square", "slow telegraph"}) {
      const Pair pair = place(make(kind, 3), sensor_of(bracket, 0.05), marks_each(0.37), 11);
      std::printf("%-15s %2.0f %%: %.2f to %.2f ms, half %.2f to %.2f, inside %.3f to %.3f\n", kind,
                  100 * bracket, 1e3 * pair.before.median_s, 1e3 * pair.after.median_s,
                  1e3 * pair.before.half_s, 1e3 * pair.after.half_s, pair.before.inside,
                  pair.after.inside);
      CHECK(pair.after.median_s <= 0.8 * pair.before.median_s);
      CHECK(pair.after.half_s <= 0.9 * pair.before.half_s);
      CHECK(pair.after.inside >= 0.93);
    }
  }
}

// Powers that vary by less than stamps tell apart: taken for constant they would place changes
// worse, with windows too narrow.
void test_powers_that_vary() {
  for (const double vary : {0.01, 0.03}) {
    for (const double bracket : {0.01, 0.03, 0.06}) {
      check::Random random(5);
      Load load;
      while (load.end_s() < kToS + 10) {
        load.hold(random.uniform(0.05, 0.3), 500 * (1 + vary * random.normal()));
      }
      const Pair pair = place(load, sensor_of(bracket, 0.05), marks_each(0.41), 12);
      CHECK(pair.after.median_s <= 1.1 * pair.before.median_s);
      CHECK(pair.after.inside >= 0.92);
    }
  }
}

// Where a sensor is steadier than its brackets are narrow all its changes are misplaced alike: a
// mean over them is no better than one.
void test_steady_sensors() {
  for (const double jitter : {0.001, 0.005}) {
    for (const char* kind : {"constant", "held levels"}) {
      const Pair pair = place(make(kind, 4), sensor_of(0.2, jitter), marks_each(0.43), 13);
      CHECK(pair.after.median_s <= 1.1 * pair.before.median_s);
      CHECK(pair.after.inside >= 0.92);
    }
  }
}

// Several stages in an interval: its mean power is none that lasts.
void test_short_stages_move_nothing() {
  check::Random random(7);
  Load load;
  std::vector<int64_t> marks;
  while (load.end_s() < kToS + 10) {
    load.hold(0.02 * random.uniform(0.9, 1.1), 600);
    marks.push_back(ns(load.end_s()));
    load.hold(0.03 * random.uniform(0.9, 1.1), 90);
    marks.push_back(ns(load.end_s()));
  }
  const Pair pair = place(load, sensor_of(0.03, 0.05), marks, 14);
  CHECK_NEAR(pair.after.half_s, pair.before.half_s, 0.02 * pair.before.half_s);
}

// Without marks near, and where pieces of a track meet, every change stays.
void test_what_stays() {
  const Sensor sensor = sensor_of(0.05, 0.05);
  const Load load = make("constant", 8);
  check::Random random(15);
  const Frame frame = simulate::watch_counter(load, sensor, kFromS, kToS, random);
  const Channel channel = simulate::counter_channel(sensor);
  const Settled settled{ns(20), ns(60)};
  const Track track = make_track(channel, {frame}, ns(kFromS), ns(kToS), settled);
  Track held = track;
  hold_to_lines(held, {});
  for (size_t i = 0; i < track.knots.size(); ++i) {
    CHECK(held.knots[i].t_ns == track.knots[i].t_ns);
  }
  const auto marks = marks_each(0.1);
  hold_to_lines(held, marks);
  size_t moved = 0;
  for (size_t i = 0; i < track.knots.size(); ++i) {
    const bool stays = held.knots[i].t_ns == track.knots[i].t_ns;
    if (track.knots[i].t_ns < ns(19.9) || track.knots[i].t_ns > ns(60.1)) CHECK(stays);
    moved += !stays;
  }
  CHECK(moved > 300);
}

}  // namespace

int main() {
  test_powers_that_last();
  test_powers_that_vary();
  test_steady_sensors();
  test_short_stages_move_nothing();
  test_what_stays();
  return check::result();
}
