// Powers that follow slowly, as a capacitor is charged: found and undone, or the interval says so.
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "core/curve.h"
#include "loads.h"
#include "simulate.h"

using namespace pyprof;
using simulate::Load;
using simulate::ns;
using simulate::Score;
using simulate::Sensor;

namespace {

constexpr double kFromS = 5, kToS = 200;

struct Measured {
  Score score;
  bool undone = false, noted = false;
};

Measured measure(const char* kind, const Sensor& sensor, double length_s, bool coincident,
                 uint64_t seed) {
  check::Random random(seed);
  const Load load = simulate::make_load(kind, kToS + 20, 0.1, random);
  const Frame frame =
      simulate::read_blindly(load, sensor, sensor.period_s / 4, kFromS, kToS + 1, true, random);
  const auto stages =
      simulate::choose_stages(load, length_s, coincident, kFromS + 5, kToS - 5, random);
  std::vector<int64_t> marks;
  for (const auto& stage : stages) {
    marks.push_back(ns(stage.from_s));
    marks.push_back(ns(stage.to_s));
  }
  std::sort(marks.begin(), marks.end());
  Channel channel = simulate::counter_channel(sensor);
  channel.kind = Kind::kGauge;
  channel.window_ns = ns(sensor.window_s);
  const Curve curve(channel, {frame}, ns(kFromS), ns(kToS), marks);
  Measured measured;
  for (const CurveEvent& event : curve.events()) {
    if (event.text.find("with a lag of") == std::string::npos) continue;
    measured.noted = true;
    measured.undone = event.text.find("which is undone") != std::string::npos;
  }
  for (const auto& stage : stages) {
    measured.score.add(load.between(stage.from_s, stage.to_s),
                       curve.between(ns(stage.from_s), ns(stage.to_s)));
  }
  return measured;
}

void print(const char* kind, const Sensor& sensor, Measured& measured) {
  Score& score = measured.score;
  std::printf(
      "%-15s %4.0f ms, lag %4.0f ms: bias %+.2f median %.2f p95 %.2f half %.2f inside %.1f%s\n",
      kind, 1e3 * sensor.period_s, 1e3 * sensor.lag_s, score.bias_of_sum(), score.quantile(0.5),
      score.quantile(0.95), score.width(), score.coverage(),
      measured.undone ? " undone" : (measured.noted ? " noted" : ""));
}

Sensor sensor_of(double period_s, double lag_s) {
  Sensor sensor;
  sensor.period_s = period_s;
  sensor.unit = 0.05;
  sensor.jitter = 0.02;
  sensor.lag_s = lag_s;
  return sensor;
}

void test_a_lag_is_undone() {
  for (const auto& [period_s, lag_s] : {std::pair{0.015, 0.1}, {0.015, 0.5}, {0.1, 0.3}}) {
    for (const char* kind : {"square 1 Hz", "isolated", "slow telegraph", "levels"}) {
      for (const bool coincident : {false, true}) {
        const Sensor sensor = sensor_of(period_s, lag_s);
        Measured measured = measure(kind, sensor, 2, coincident, 21);
        print(kind, sensor, measured);
        CHECK(measured.undone);
        CHECK(measured.score.quantile(0.5) <= (period_s < 0.1 ? 0.5 : 2));
        CHECK(measured.score.coverage() >= 93);
      }
    }
  }
}

// What jumps and then wanes is the load's own; nor do means over a window lag.
void test_what_is_no_lag() {
  for (const char* kind : {"square", "bursts", "telegraph", "relaxing", "sawtooth", "ramp"}) {
    Sensor sensor = sensor_of(0.1, 0);
    sensor.window_s = 0.025;
    Measured measured = measure(kind, sensor, 2, true, 22);
    print(kind, sensor, measured);
    CHECK(!measured.noted);
    CHECK(measured.score.coverage() >= 90);
  }
}

// Counts of 4 W are much of what is left of a change after some readings.
void test_coarse_readings() {
  Sensor sensor = sensor_of(0.1, 0.3);
  sensor.unit = 4;
  Measured measured = measure("levels", sensor, 2, true, 23);
  print("levels", sensor, measured);
  CHECK(measured.score.coverage() >= 93);
}

}  // namespace

int main() {
  test_a_lag_is_undone();
  test_what_is_no_lag();
  test_coarse_readings();
  return check::result();
}
