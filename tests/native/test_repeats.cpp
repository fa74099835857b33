// Stages too short for a counter, solved from many repeats: powers, lag, refusal, conservation.
#include <string>

#include "check.h"
#include "core/linear.h"
#include "repeated.h"

using namespace pyprof;
using simulate::Load;
using simulate::Loop;
using simulate::LoopRun;
using simulate::ns;
using simulate::Sensor;

namespace {

Sensor sensor_of(double period_s, double bracket_s, double jitter) {
  Sensor sensor;
  sensor.period_s = period_s;
  sensor.bracket = bracket_s / period_s;
  sensor.jitter = jitter;
  return sensor;
}

LoopRun run(const Loop& loop, const Sensor& sensor, uint64_t seed = 3) {
  check::Random random(seed);
  return simulate::run_loop(loop, sensor, random);
}

void check_near(const LoopRun& found, size_t k, const char* name, double percent) {
  const StageResult* const stage = found.find(name);
  CHECK(stage != nullptr);
  CHECK_NEAR(stage->energy_j, found.truth_j[k], percent / 100 * found.truth_j[k]);
  CHECK(stage->low_j <= found.truth_j[k] && found.truth_j[k] <= stage->high_j);
}

bool told(const LoopRun& found, const std::string& words) {
  for (const auto& [channel, event] : found.result.events) {
    if (event.text.find(words) != std::string::npos) return true;
  }
  return false;
}

double sum_self(const AccountResult& result) {
  double sum = 0;
  for (const StageResult& stage : result.stages) sum += stage.self_energy_j;
  return sum;
}

void test_solved() {
  const LoopRun found = run({}, sensor_of(0.02, 0.6e-3, 0.03));
  check_near(found, 0, "a", 1);
  check_near(found, 1, "b", 1);
  check_near(found, 2, "c", 4);
  for (const char* name : {"a", "b", "c"}) {
    const StageResult* const stage = found.find(name);
    CHECK_EQUAL(stage->solved.size(), 1U);
    CHECK(stage->unresolved.empty());
    CHECK(stage->solved[0].iterations > 990);
    CHECK_NEAR(stage->solved[0].energy_j, stage->energy_j, 1e-9);
    CHECK_NEAR(stage->solved[0].lag_s, 0, 1e-4);
    CHECK(stage->high_j - stage->low_j < 0.2 * stage->energy_j);
  }
  CHECK(found.find("")->solved.empty());
  CHECK_NEAR(sum_self(found.result), found.result.energy_j, 1e-6);
}

void test_lag() {
  Loop loop;
  loop.lag_s = 2e-3;
  const LoopRun found = run(loop, sensor_of(0.02, 0.6e-3, 0.03));
  check_near(found, 0, "a", 1);
  check_near(found, 2, "c", 4);
  CHECK_NEAR(found.find("a")->solved.at(0).lag_s, 2e-3, 2e-4);
  CHECK(told(found, "power follows the marks"));
  CHECK_NEAR(sum_self(found.result), found.result.energy_j, 1e-6);
}

void test_in_step() {
  Loop loop;
  loop.period_s = 0.02;
  loop.vary = 0;
  LoopRun found = run(loop, sensor_of(0.02, 0.6e-3, 0));
  CHECK(told(found, "in step with the sensor"));
  for (size_t k = 0; k < 3; ++k) {
    const StageResult* const stage = found.find(loop.stages[k].name);
    CHECK(stage->solved.empty());
    CHECK_EQUAL(stage->unresolved.size(), 1U);
    CHECK(stage->low_j <= found.truth_j[k] && found.truth_j[k] <= stage->high_j);
  }
  CHECK_NEAR(sum_self(found.result), found.result.energy_j, 1e-6);
  loop.dither_s = 4e-3;
  found = run(loop, sensor_of(0.02, 0.6e-3, 0));
  check_near(found, 0, "a", 1);
  check_near(found, 1, "b", 1);
  check_near(found, 2, "c", 3);
}

void test_noise() {
  Loop loop;
  loop.noise = 0.05;
  const LoopRun found = run(loop, sensor_of(0.02, 0.6e-3, 0.03));
  CHECK(told(found, "differs from one repeat to the next"));
  check_near(found, 0, "a", 10);
}

void test_wide_brackets() {
  const LoopRun found = run({}, sensor_of(0.1, 0.03, 0.03));
  for (size_t k = 0; k < 3; ++k) {
    const StageResult* const stage = found.find(Loop().stages[k].name);
    CHECK(stage->low_j <= found.truth_j[k] && found.truth_j[k] <= stage->high_j);
    CHECK(stage->solved.empty() != stage->unresolved.empty());
  }
}

void test_few_repeats() {
  Loop loop;
  loop.iterations = 15;
  const LoopRun found = run(loop, sensor_of(0.1, 1e-3, 0.03));
  for (size_t k = 0; k < 3; ++k) {
    const StageResult* const stage = found.find(loop.stages[k].name);
    CHECK(stage->solved.empty());
    CHECK(stage->low_j <= found.truth_j[k] && found.truth_j[k] <= stage->high_j);
  }
}

// The run begins and ends within the loop, and within an update of the counter.
void test_ends_in_the_loop() {
  Loop loop;
  loop.before_s = -0.333;
  loop.after_s = -0.277;
  for (const double period_s : {0.02, 0.1}) {
    for (uint64_t seed = 1; seed < 6; ++seed) {
      const LoopRun found = run(loop, sensor_of(period_s, 1e-3, 0.03), seed);
      CHECK_NEAR(found.result.energy_j, found.whole_j, 2);
      CHECK_NEAR(sum_self(found.result), found.result.energy_j, 1e-6);
    }
  }
}

void test_linear() {
  Matrix matrix(2);
  matrix(0, 0) = 4;
  matrix(0, 1) = matrix(1, 0) = 1;
  matrix(1, 1) = 3;
  Matrix inverse;
  CHECK(invert(matrix, inverse));
  CHECK_NEAR(inverse(0, 0), 3.0 / 11, 1e-12);
  CHECK_NEAR(inverse(0, 1), -1.0 / 11, 1e-12);
  std::vector<double> x;
  CHECK(solve_not_negative(matrix, std::vector<double>{5, 4}, x));
  CHECK_NEAR(x[0], 1, 1e-12);
  CHECK_NEAR(x[1], 1, 1e-12);
  CHECK(solve_not_negative(matrix, std::vector<double>{4, -1}, x));
  CHECK_NEAR(x[0], 1, 1e-12);
  CHECK_EQUAL(x[1], 0.0);
  const std::vector<double> values = eigenvalues(matrix);
  CHECK_NEAR(values[0] + values[1], 7, 1e-9);
  CHECK_NEAR(values[0] * values[1], 11, 1e-9);
  matrix(1, 1) = 0.25;
  CHECK(!invert(matrix, inverse));
}

}  // namespace

// A load that does not wait for code that comes late: what a stage's longer repeats have more of is
// other work. No power of the stage explains that, and no interval is given as if one did.
void test_lengths_that_power_goes_with() {
  check::Random random(9);
  Load load;
  while (load.end_s() < 30) {
    load.hold(0.010, 600);
    load.hold(0.013, 100);
  }
  MarkLog log;
  double truth_j = 0;
  uint64_t token = 0;
  int period = 100;
  for (int i = 0; i < 400; ++i) {
    const double begin_s = 0.023 * period + random.exponential(2e-4);
    const double end_s = begin_s + 0.010 + random.exponential(4e-3);
    log.append({Mark::Kind::kBegin, 0, Phase::kUnset, ns(begin_s), ++token, 0, log.intern("a")});
    log.append({Mark::Kind::kEnd, 0, Phase::kUnset, ns(end_s), token, 0, 0});
    truth_j += load.between(begin_s, end_s);
    period += end_s > 0.023 * (period + 1) ? 2 : 1;
  }
  const double to_s = 0.023 * period + 1;
  const Sensor sensor = sensor_of(0.1, 3e-3, 0.01);
  const Frame frame = simulate::watch_counter(load, sensor, 1.5, to_s, random);
  std::vector<uint8_t> bytes;
  encode_frame(frame, bytes);
  Account account({simulate::counter_channel(sensor)}, ns(1.5), ns(to_s), Phase::kTraining);
  account.add_frames(bytes);
  account.add_marks(1, log.drain());
  const AccountResult result = account.solve();
  for (const StageResult& stage : result.stages) {
    if (stage.path != "a") continue;
    std::printf("late code: %.0f J (%.0f to %.0f), true %.0f, solved %zu\n", stage.energy_j,
                stage.low_j, stage.high_j, truth_j, stage.solved.size());
    CHECK(stage.low_j <= truth_j && truth_j <= stage.high_j);
  }
}

int main() {
  test_lengths_that_power_goes_with();
  test_solved();
  test_lag();
  test_in_step();
  test_noise();
  test_wide_brackets();
  test_few_repeats();
  test_ends_in_the_loop();
  test_linear();
  return check::result();
}
