// A loop of short stages, seen through a simulated counter and accounted as a whole.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "check.h"
#include "core/account.h"
#include "simulate.h"

namespace simulate {

struct LoopStage {
  const char* name;
  double length_s, power_w;
};

struct Loop {
  std::vector<LoopStage> stages = {{"a", 5.3e-3, 620}, {"b", 12.1e-3, 250}, {"c", 3.4e-3, 90}};
  size_t iterations = 1000;
  double vary = 0.05;                    // of each length: uniform
  double noise = 0;                      // of each power: normal
  double lag_s = 0;                      // the power follows the marks
  double dither_s = 0;                   // before each iteration: uniform up to this, at 60 W
  double period_s = 0;                   // > 0: the lengths are scaled to this sum
  double before_s = 1.5, after_s = 1.5;  // of the run, before and after the loop
};

struct LoopRun {
  pyprof::AccountResult result;
  std::vector<double> truth_j;  // of each stage
  double whole_j = 0;           // of the run
  const pyprof::StageResult* find(const std::string& path) const {
    for (const auto& stage : result.stages) {
      if (stage.path == path) return &stage;
    }
    return nullptr;
  }
};

inline LoopRun run_loop(const Loop& loop, const Sensor& sensor, check::Random& random) {
  using namespace pyprof;
  LoopRun run;
  Load load;
  MarkLog log;
  uint64_t token = 0;
  double t = 2;
  load.hold(t + loop.lag_s, 60);
  run.truth_j.assign(loop.stages.size(), 0);
  double sum_s = 0;
  for (const LoopStage& stage : loop.stages) sum_s += stage.length_s;
  const double scale = loop.period_s > 0 ? loop.period_s / sum_s : 1;
  for (size_t i = 0; i < loop.iterations; ++i) {
    if (loop.dither_s > 0) {
      const double pause_s = random.uniform(0, loop.dither_s);
      load.hold(pause_s, 60);
      t += pause_s;
    }
    for (size_t k = 0; k < loop.stages.size(); ++k) {
      const LoopStage& stage = loop.stages[k];
      const double length_s = stage.length_s * scale * (1 + loop.vary * random.uniform(-1, 1));
      const double power_w = stage.power_w * (1 + loop.noise * random.normal());
      log.append({Mark::Kind::kBegin, 0, Phase::kUnset, ns(t), ++token, 0, log.intern(stage.name)});
      t += length_s;
      log.append({Mark::Kind::kEnd, 0, Phase::kUnset, ns(t), token, 0, 0});
      load.hold(length_s, power_w);
      run.truth_j[k] += length_s * power_w;
    }
  }
  load.hold(5, 60);
  const double from_s = 2 - loop.before_s, to_s = t + loop.after_s;
  run.whole_j = load.between(from_s, to_s);
  Frame frame = watch_counter(load, sensor, from_s - 0.3, to_s + 0.3, random);
  std::vector<uint8_t> bytes;
  encode_frame(frame, bytes);
  Account account({counter_channel(sensor)}, ns(from_s), ns(to_s), Phase::kTraining);
  account.add_frames(bytes);
  account.add_marks(1, log.drain());
  run.result = account.solve();
  return run;
}

}  // namespace simulate
