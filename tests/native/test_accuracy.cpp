// How near the truth stages come, and how often it lies within low and high: a table, and the
// goals.
#include <cstring>
#include <functional>
#include <string>

#include "check.h"
#include "core/curve.h"
#include "loads.h"
#include "simulate.h"

using namespace pyprof;
using simulate::choose_stages;
using simulate::Load;
using simulate::make_load;
using simulate::Moment;
using simulate::ns;
using simulate::Score;

namespace {

constexpr double kRunS = 80;
constexpr double kFromS = 5, kToS = kRunS + 1;

const char* const kLoads[] = {"constant", "square",   "square 1 Hz", "ramp",  "levels",
                              "isolated", "training", "telegraph",   "bursts"};

struct Watched {
  Channel channel;
  Frame frame;
};
using Watch = std::function<Watched(const Load&, check::Random&)>;

Score run(const std::string& kind, double length_s, bool coincident, uint64_t seed, int rounds,
          const Watch& watch, bool all_marks = false) {
  Score score;
  for (int round = 0; round < rounds; ++round) {
    check::Random random(seed + static_cast<uint64_t>(round) * 7919);
    const Load load = make_load(kind, kRunS + 10, 0.1, random);
    const Watched watched = watch(load, random);
    const auto stages = choose_stages(load, length_s, coincident, 6, kRunS, random);
    std::vector<int64_t> marks;
    for (const Moment& stage : stages) {
      marks.push_back(ns(stage.from_s));
      marks.push_back(ns(stage.to_s));
    }
    if (all_marks) {
      for (const double corner_s : load.corners_s()) marks.push_back(ns(corner_s));
    }
    std::sort(marks.begin(), marks.end());
    marks.erase(std::unique(marks.begin(), marks.end()), marks.end());
    const Curve curve(watched.channel, {watched.frame}, ns(kFromS), ns(kToS), marks);
    for (const Moment& stage : stages) {
      score.add(load.between(stage.from_s, stage.to_s),
                curve.between(ns(stage.from_s), ns(stage.to_s)));
    }
  }
  return score;
}

// A sampler that is locked on to the sensor.
Watch locked(double period_s, double bracket, double jitter = 0.02) {
  return [=](const Load& load, check::Random& random) {
    simulate::Sensor sensor;
    sensor.period_s = period_s;
    sensor.bracket = bracket;
    sensor.jitter = jitter;
    sensor.phase = random.uniform();
    return Watched{simulate::counter_channel(sensor),
                   simulate::watch_counter(load, sensor, kFromS, kToS, random)};
  };
}

Watch blind(simulate::Sensor sensor, double interval_s, bool know_period) {
  return [=](const Load& load, check::Random& random) {
    simulate::Sensor own = sensor;
    own.phase = random.uniform();
    Channel channel = simulate::counter_channel(own);
    if (own.window_s != 0) {
      channel.kind = Kind::kGauge;
      channel.window_ns = own.window_s < 0 ? -1 : ns(own.window_s);
    }
    return Watched{
        channel, simulate::read_blindly(load, own, interval_s, kFromS, kToS, know_period, random)};
  };
}

void print_head() {
  std::printf("%-14s %-14s %5s %-10s %6s %7s %7s %7s %7s %6s  n\n", "sensor", "load", "s", "edges",
              "bias", "median", "p95", "worst", "width", "inside");
}

void print_row(const char* sensor, const std::string& load, double length_s, bool coincident,
               Score& score) {
  std::printf("%-14s %-14s %5.2f %-10s %6.2f %7.3f %7.2f %7.2f %7.2f %6.1f  %zu\n", sensor,
              load.c_str(), length_s, coincident ? "coincident" : "random", score.bias(),
              score.quantile(0.5), score.quantile(0.95), score.quantile(1), score.width(),
              score.coverage(), score.errors.size());
}

struct Pools {
  Score all;
  Score smooth;    // constant, square of 1 Hz, ramp
  Score training;  // each power for about 0.1 s
  Score bursts;    // of 50 ms
};

bool verbose = false;
uint64_t seed = 1;

Pools measure(const char* sensor, double length_s, bool coincident, const Watch& watch) {
  Pools pools;
  for (const char* kind : kLoads) {
    Score score = run(kind, length_s, coincident, seed += 1'000'003, 4, watch);
    if (verbose) print_row(sensor, kind, length_s, coincident, score);
    const std::string name = kind;
    pools.all.append(score);
    if (name == "constant" || name == "square 1 Hz" || name == "ramp") pools.smooth.append(score);
    if (name == "training") pools.training = score;
    if (name == "bursts") pools.bursts = score;
  }
  print_row(sensor, "all", length_s, coincident, pools.all);
  return pools;
}

void test_locked() {
  for (const double period_s : {0.02, 0.1}) {
    for (const double bracket : {0.03, 0.10, 0.25}) {
      char name[32];
      std::snprintf(name, sizeof name, "%.0f ms, %.0f %%", period_s * 1e3, bracket * 100);
      for (const double length_s : {0.3, 1.0, 2.0}) {
        for (const bool coincident : {false, true}) {
          Pools pools = measure(name, length_s, coincident, locked(period_s, bracket));
          if (length_s >= 1) {
            CHECK(pools.all.quantile(0.5) <= (bracket < 0.1 ? 0.25 : 2));
            CHECK(pools.smooth.quantile(0.5) <= 1);
            CHECK(pools.training.quantile(0.5) <= 1.5);
            // Bursts shorter than a period are found where the brackets are narrow.
            CHECK(pools.bursts.quantile(0.5) <= (bracket > 0.1 ? 4 : 1.5));
            if (bracket <= 0.1) CHECK(pools.smooth.quantile(1) <= 4);
            if (bracket <= 0.1) CHECK(pools.training.quantile(0.95) <= 4);
          }
          if (length_s >= 3 * period_s) CHECK(pools.all.coverage() >= 92);
          if (length_s >= 1) CHECK(pools.bursts.coverage() >= 85);
        }
      }
    }
  }
}

// Loads for which an interval's neighbours say too little: powers that no interval holds, that come
// and go in step with the updates for a while, that wane after a jump, that vary by a few percent.
void test_restless_loads() {
  for (const char* kind : {"training", "with evaluation", "relaxing", "idle, then busy"}) {
    for (const double bracket : {0.03, 0.06}) {
      Score score;
      for (const double length_s : {0.3, 1.0}) {
        for (const bool all_marks : {false, true}) {
          const Watch watch = locked(0.1, bracket, 0.05);
          score.append(run(kind, length_s, true, seed += 1'000'003, 6, watch, all_marks));
        }
      }
      print_row(bracket < 0.05 ? "100 ms, 3 %" : "100 ms, 6 %", kind, 0, true, score);
      CHECK(score.coverage() >= 93);
    }
  }
}

// Loops of one update and a half, of two, of four: each time the power changes at the same places
// of the updates, so that the same error is made at each edge.
void test_loads_in_step() {
  const Watch watch = [](const Load& load, check::Random& random) {
    simulate::Sensor sensor;
    sensor.jitter = 0.02;
    sensor.on_grid = true;
    sensor.phase = random.uniform();
    return Watched{simulate::counter_channel(sensor),
                   simulate::watch_counter(load, sensor, kFromS, kToS, random)};
  };
  for (const auto& [kind, pieces] : simulate::loops_in_step()) {
    Score score = run(kind, 1, true, seed += 1'000'003, 6, watch, true);
    print_row("100 ms, 3 %", kind, 1, true, score);
    CHECK(score.coverage() >= 85);
    CHECK(score.width() <= 10);
  }
}

void test_blind_counters() {
  simulate::Sensor fast;
  fast.period_s = 0.000976;
  fast.unit = 61e-6;
  simulate::Sensor slow;
  slow.jitter = 0.02;
  for (const bool coincident : {false, true}) {
    Pools pools = measure("1 ms by 10 ms", 0.05, coincident, blind(fast, 0.01, true));
    CHECK(pools.all.quantile(0.5) <= 4);
    pools = measure("1 ms by 10 ms", 1, coincident, blind(fast, 0.01, true));
    CHECK(pools.smooth.quantile(1) <= 6);
    CHECK(pools.all.coverage() >= 92);
    pools = measure("1 ms by 10, ?", 1, coincident, blind(fast, 0.01, false));
    CHECK(pools.smooth.quantile(1) <= 6);
    CHECK(pools.all.coverage() >= 92);
    pools = measure("100 ms by 20", 1, coincident, blind(slow, 0.02, true));
    CHECK(pools.smooth.quantile(0.5) <= 2);
    CHECK(pools.all.coverage() >= 92);
    pools = measure("100 ms by 90", 2, coincident, blind(slow, 0.09, false));
    CHECK(pools.all.coverage() >= 90);
  }
}

void test_gauges() {
  simulate::Sensor part;
  part.unit = 1e-3;
  part.window_s = 0.025;
  part.jitter = 0.02;
  simulate::Sensor whole = part;
  whole.window_s = 1;
  simulate::Sensor since = part;
  since.window_s = -1;
  for (const bool coincident : {false, true}) {
    for (const double length_s : {1.0, 5.0}) {
      Pools pools = measure("25 of 100", length_s, coincident, blind(part, 0.01, true));
      CHECK(pools.all.coverage() >= 85);
      // A load as long as the window is levelled out in it: no software can see that one.
      pools = measure("mean of 1 s", length_s, coincident, blind(whole, 0.01, true));
      CHECK(pools.all.coverage() >= 85);
      CHECK(pools.bursts.coverage() >= 85);
      pools = measure("since read", length_s, coincident, blind(since, 0.1, true));
      CHECK(pools.all.coverage() >= 90);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  verbose = argc > 1 && std::strcmp(argv[1], "-v") == 0;
  print_head();
  test_locked();
  test_restless_loads();
  test_loads_in_step();
  test_blind_counters();
  test_gauges();
  return check::result();
}
