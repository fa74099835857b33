// Joules of stages: conservation, shares of the innermost, unions, cuts and what is not known.
#include <map>

#include "check.h"
#include "core/account.h"
#include "simulate.h"

using namespace pyprof;
using simulate::ns;

namespace {

constexpr double kFrom = 10, kTo = 20;

// Marks of one process, written down in the order of time.
class Script {
 public:
  uint64_t begin(double t_s, const char* name, uint64_t parent = 0, Phase phase = Phase::kUnset,
                 uint8_t flags = 0) {
    log_.append({Mark::Kind::kBegin, flags, phase, ns(t_s), ++token_, parent, log_.intern(name)});
    return token_;
  }
  void end(double t_s, uint64_t token) {
    log_.append({Mark::Kind::kEnd, 0, Phase::kUnset, ns(t_s), token, 0, 0});
  }
  uint64_t stage(double from_s, double to_s, const char* name, uint64_t parent = 0) {
    const uint64_t token = begin(from_s, name, parent);
    end(to_s, token);
    return token;
  }
  std::vector<uint8_t> bytes() { return log_.drain(); }

 private:
  MarkLog log_;
  uint64_t token_ = 0;
};

std::vector<uint8_t> constant_counter(uint32_t channel, double power_w) {
  simulate::Load load;
  load.hold(100, power_w);
  check::Random random(channel + 1);
  simulate::Sensor sensor;
  sensor.period_s = 0.02;
  sensor.unit = 1e-6;
  Frame frame = simulate::watch_counter(load, sensor, kFrom, kTo, random);
  frame.channel = channel;
  std::vector<uint8_t> bytes;
  encode_frame(frame, bytes);
  return bytes;
}

Channel channel_named(const char* id) {
  Channel channel;
  channel.id = id;
  channel.unit = 1e-6;
  channel.limit_w = 500;
  return channel;
}

struct Solved {
  AccountResult result;
  const StageResult& at(const std::string& path) const {
    for (const StageResult& stage : result.stages) {
      if (stage.path == path) return stage;
    }
    std::fprintf(stderr, "no stage %s\n", path.c_str());
    std::exit(1);
  }
};

// One counter at 100 W from 10 s to 20 s.
Solved solve(Script& script, double power_w = 100) {
  Account account({channel_named("a")}, ns(kFrom), ns(kTo), Phase::kTraining);
  account.add_frames(constant_counter(0, power_w));
  account.add_marks(1, script.bytes());
  return {account.solve()};
}

double sum_self(const AccountResult& result) {
  double sum = 0;
  for (const StageResult& stage : result.stages) sum += stage.self_energy_j;
  return sum;
}

void test_no_marks() {
  Script script;
  const Solved solved = solve(script);
  CHECK_EQUAL(solved.result.stages.size(), 1u);
  const StageResult& root = solved.at("");
  CHECK_NEAR(root.energy_j, 1000, 1.5);
  CHECK_NEAR(root.self_energy_j, root.energy_j, 1e-6);
  CHECK_EQUAL(root.count, 1u);
  CHECK_EQUAL(root.processes, 1u);
  CHECK_NEAR(root.duration_s, 10, 1e-9);
  CHECK_NEAR(root.wall_s, 10, 1e-9);
  CHECK(root.low_j <= 1000 && root.high_j >= 1000);
  CHECK(root.unresolved.empty());
  CHECK_NEAR(solved.result.channels[0].coverage, 1, 1e-9);
  CHECK_NEAR(solved.result.channels[0].mean_w, 100, 0.2);
  CHECK_NEAR(solved.result.channels[0].peak_w, 100, 6);
  CHECK_NEAR(solved.result.channels[0].update_period_s, 0.02, 1e-9);
}

void test_nested() {
  Script script;
  const uint64_t outer = script.begin(11, "train");
  script.stage(12, 13, "step", outer);
  script.stage(14, 15, "step", outer);
  script.end(16, outer);
  const Solved solved = solve(script);
  const StageResult& train = solved.at("train");
  const StageResult& step = solved.at("train/step");
  CHECK_NEAR(train.energy_j, 500, 1);
  CHECK_NEAR(train.self_energy_j, 300, 1);
  CHECK_NEAR(step.energy_j, 200, 1);
  CHECK_NEAR(step.self_energy_j, step.energy_j, 1e-9);
  CHECK_EQUAL(step.count, 2u);
  CHECK_NEAR(step.duration_s, 2, 1e-9);
  CHECK_NEAR(solved.at("").self_energy_j, 500, 1);
  CHECK_NEAR(sum_self(solved.result), solved.result.energy_j, 1e-9 * solved.result.energy_j);
}

// Four threads in one path: four shares, one union.
void test_concurrent() {
  Script script;
  std::vector<uint64_t> tokens;
  for (int i = 0; i < 4; ++i) tokens.push_back(script.begin(11, "work"));
  for (const uint64_t token : tokens) script.end(12, token);
  const uint64_t a = script.begin(13, "a");
  const uint64_t b1 = script.begin(13, "b");
  const uint64_t b2 = script.begin(13, "b");
  const uint64_t b3 = script.begin(13, "b");
  for (const uint64_t token : {a, b1, b2, b3}) script.end(17, token);
  const Solved solved = solve(script);
  CHECK_EQUAL(solved.at("work").count, 4u);
  CHECK_NEAR(solved.at("work").duration_s, 4, 1e-9);
  CHECK_NEAR(solved.at("work").wall_s, 1, 1e-9);
  CHECK_NEAR(solved.at("work").energy_j, 100, 1);
  CHECK_NEAR(solved.at("work").self_energy_j, solved.at("work").energy_j, 1e-9);
  CHECK_NEAR(solved.at("a").energy_j, 400, 1);
  CHECK_NEAR(solved.at("a").self_energy_j, 100, 0.3);
  CHECK_NEAR(solved.at("b").self_energy_j, 300, 0.8);
  CHECK_NEAR(solved.at("").self_energy_j, 500, 1.5);
}

// A stage has something nested in it as long as anything below is open, whatever closed between.
void test_closed_between() {
  Script script;
  const uint64_t outer = script.begin(11, "outer");
  const uint64_t middle = script.begin(12, "middle", outer);
  const uint64_t inner = script.begin(13, "inner", middle);
  script.end(14, middle);
  script.end(16, inner);
  script.end(17, outer);
  const Solved solved = solve(script);
  CHECK_NEAR(solved.at("outer").self_energy_j, 200, 1);  // 11 to 12 and 16 to 17
  CHECK_NEAR(solved.at("outer/middle").self_energy_j, 100, 1);
  CHECK_NEAR(solved.at("outer/middle/inner").self_energy_j, 300, 1);
}

void test_outer_closes_first() {
  Script script;
  const uint64_t outer = script.begin(11, "outer");
  const uint64_t inner = script.begin(12, "inner", outer);
  script.end(13, outer);
  script.end(15, inner);
  const Solved solved = solve(script);
  CHECK_NEAR(solved.at("outer").self_energy_j, 100, 1);
  CHECK_NEAR(solved.at("outer/inner").self_energy_j, 300, 1);
  CHECK_NEAR(solved.at("").self_energy_j, 600, 1);
}

void test_generator_comes_back() {
  Script script;
  const uint64_t first = script.begin(11, "gen");
  script.end(12, first);
  const uint64_t second = script.begin(13, "gen", 0, Phase::kUnset, Mark::kResumed);
  script.end(14, second);
  const Solved solved = solve(script);
  CHECK_EQUAL(solved.at("gen").count, 1u);
  CHECK_NEAR(solved.at("gen").energy_j, 200, 1);
  CHECK_NEAR(solved.at("gen").duration_s, 2, 1e-9);
}

void test_same_token_comes_back() {
  Script script;
  const uint64_t token = script.begin(11, "gen");
  script.end(12, token);
  MarkLog log;
  const uint32_t name = log.intern("gen");
  for (const int t : {11, 13, 15}) {
    const uint8_t flags = t == 11 ? uint8_t{0} : uint8_t{Mark::kResumed};
    log.append({Mark::Kind::kBegin, flags, Phase::kUnset, ns(t), 7, 0, name});
    log.append({Mark::Kind::kEnd, 0, Phase::kUnset, ns(t + 1), 7, 0, 0});
  }
  Account account({channel_named("a")}, ns(kFrom), ns(kTo), Phase::kTraining);
  account.add_frames(constant_counter(0, 100));
  account.add_marks(1, log.drain());
  const Solved solved{account.solve()};
  CHECK_EQUAL(solved.at("gen").count, 1u);
  CHECK_NEAR(solved.at("gen").wall_s, 3, 1e-9);
  CHECK_NEAR(solved.at("gen").energy_j, 300, 1);
}

void test_recursion() {
  Script script;
  const uint64_t a = script.begin(11, "f");
  const uint64_t b = script.begin(12, "f", a);
  const uint64_t c = script.begin(13, "f", b);
  script.end(14, c);
  script.end(15, b);
  script.end(16, a);
  const Solved solved = solve(script);
  CHECK_NEAR(solved.at("f").energy_j, 500, 1);
  CHECK_NEAR(solved.at("f/f").energy_j, 300, 1);
  CHECK_NEAR(solved.at("f/f/f").energy_j, 100, 1);
  CHECK_NEAR(solved.at("f").self_energy_j, 200, 1);
}

void test_outside_cut_and_broken() {
  Script script;
  script.stage(5, 9, "before");
  const uint64_t over = script.begin(8, "over start");
  script.end(12, over);
  script.end(13, 999);       // an end without a beginning
  script.begin(18, "open");  // a beginning without an end
  script.stage(19, 25, "over end");
  script.stage(30, 31, "after");
  const Solved solved = solve(script);
  CHECK_EQUAL(solved.result.stages.size(), 4u);
  CHECK_NEAR(solved.at("over start").energy_j, 200, 1);
  CHECK(!solved.at("over start").cut);
  CHECK(solved.at("open").cut);
  CHECK_NEAR(solved.at("open").energy_j, 200, 1);
  CHECK_NEAR(solved.at("over end").duration_s, 1, 1e-9);
  CHECK(!solved.at("over end").cut);
}

void test_names_and_phases() {
  Script script;
  const uint64_t outer = script.begin(11, "a/b\\c", 0, Phase::kDeployment);
  script.stage(12, 13, "x", outer);
  script.end(14, outer);
  const uint64_t again = script.begin(15, "a/b\\c", 0, Phase::kTraining);
  script.end(16, again);
  const Solved solved = solve(script);
  CHECK_EQUAL(solved.result.stages.size(), 4u);
  CHECK(solved.at("").phase == Phase::kTraining);
  CHECK(solved.result.stages[1].path == "a\\/b\\\\c");
  CHECK(solved.result.stages[1].phase == Phase::kDeployment);
  CHECK(solved.at("a\\/b\\\\c/x").phase == Phase::kDeployment);
  CHECK(solved.result.stages[3].path == "a\\/b\\\\c");
  CHECK(solved.result.stages[3].phase == Phase::kTraining);
}

void test_processes_and_shift() {
  Script first, second;
  first.stage(11, 12, "step");
  first.stage(13, 14, "step");
  second.stage(1.5, 2.5, "step");  // its clock reads 10 s less
  Account account({channel_named("a")}, ns(kFrom), ns(kTo), Phase::kTraining);
  account.add_frames(constant_counter(0, 100));
  account.add_marks(7, second.bytes(), ns(10));
  account.add_marks(3, first.bytes());
  const Solved solved{account.solve()};
  CHECK_EQUAL(solved.at("step").processes, 2u);
  CHECK_EQUAL(solved.at("step").count, 3u);
  CHECK_NEAR(solved.at("step").wall_s, 2.5, 1e-9);
  CHECK_NEAR(solved.at("step").duration_s, 3, 1e-9);
  CHECK_EQUAL(solved.at("").processes, 2u);
}

void test_several_channels() {
  std::vector<Channel> channels{channel_named("a"), channel_named("b"), channel_named("inside"),
                                channel_named("dead")};
  channels[2].counted = false;
  Account account(channels, ns(kFrom), ns(kTo), Phase::kDevelopment);
  account.add_frames(constant_counter(0, 100));
  account.add_frames(constant_counter(1, 50));
  account.add_frames(constant_counter(2, 30));
  Script script;
  script.stage(12, 15, "s");
  account.add_marks(1, script.bytes());
  const Solved solved{account.solve()};
  const StageResult& stage = solved.at("s");
  CHECK_NEAR(stage.energy_j, 450, 2);
  CHECK_NEAR(stage.channels_j[0], 300, 1);
  CHECK_NEAR(stage.channels_j[1], 150, 1);
  CHECK_NEAR(stage.channels_j[2], 90, 1);
  CHECK(std::isnan(stage.channels_j[3]));
  CHECK(!solved.result.channels[3].known);
  CHECK(solved.at("").phase == Phase::kDevelopment);
  CHECK_NEAR(solved.result.energy_j, 1500, 4);
}

void test_nothing_known_is_not_zero() {
  Script script;
  script.stage(11, 12, "s");
  Account account({channel_named("a")}, ns(kFrom), ns(kTo), Phase::kTraining);
  account.add_marks(1, script.bytes());
  const Solved solved{account.solve()};
  CHECK(std::isnan(solved.result.energy_j));
  CHECK(std::isnan(solved.at("s").energy_j));
  CHECK(std::isnan(solved.at("s").self_energy_j));
  CHECK_NEAR(solved.at("s").wall_s, 1, 1e-9);
}

void test_too_short_is_said() {
  Script script;
  script.stage(11, 11.03, "short");
  script.stage(12, 12.05, "long enough");
  const Solved solved = solve(script);
  CHECK_EQUAL(solved.at("short").unresolved.size(), 1u);
  CHECK(solved.at("long enough").unresolved.empty());
}

// An estimate's own range is added to what sampling leaves open.
void test_model_range() {
  Channel channel = channel_named("m");
  channel.quality = "modelled";
  channel.low_ratio = 0.5;
  channel.high_ratio = 1.8;
  Account account({channel}, ns(kFrom), ns(kTo), Phase::kTraining);
  account.add_frames(constant_counter(0, 100));
  const AccountResult result = account.solve();
  CHECK_NEAR(result.low_j, 500, 5);
  CHECK_NEAR(result.high_j, 1800, 5);
}

// Random trees of stages in random threads: all shares together are the whole, and every row's
// energy is that of its union.
void test_conservation() {
  check::Random random(11);
  for (int round = 0; round < 60; ++round) {
    Script script;
    std::vector<uint64_t> open;
    double t = 9.5;
    const char* names[] = {"a", "b", "c", "d"};
    std::map<uint64_t, bool> closed;
    for (int i = 0; i < 400; ++i) {
      t += random.exponential(0.03);
      if (random.below(2) == 0 || open.empty()) {
        const uint64_t parent =
            open.empty() || random.below(4) == 0 ? 0 : open[random.below(open.size())];
        open.push_back(script.begin(t, names[random.below(4)], parent));
      } else {
        const size_t which = random.below(open.size());
        script.end(t, open[which]);
        if (random.below(5) != 0) open.erase(open.begin() + static_cast<ptrdiff_t>(which));
      }
    }
    const Solved solved = solve(script, 10 + random.uniform(0, 300));
    CHECK_NEAR(sum_self(solved.result) / solved.result.energy_j, 1, 1e-9);
    const double power_w = solved.result.energy_j / 10;
    for (const StageResult& stage : solved.result.stages) {
      CHECK(stage.self_energy_j >= -1e-9);
      CHECK(stage.self_energy_j <= stage.energy_j + 1e-9);
      CHECK_NEAR(stage.energy_j, power_w * stage.wall_s, 0.5 + 0.01 * stage.energy_j);
      CHECK(stage.low_j <= stage.energy_j && stage.energy_j <= stage.high_j);
      CHECK(stage.wall_s <= stage.duration_s + 1e-9);
    }
  }
}

// Consecutive stages share their edge, so they sum to their parent, and so do their channels.
void test_children_sum_to_parent() {
  check::Random random(12);
  simulate::Load load;
  while (load.end_s() < 40) load.hold(random.exponential(0.2), random.uniform(50, 400));
  Frame frame = simulate::watch_counter(load, {}, kFrom, kTo, random);
  std::vector<uint8_t> bytes;
  encode_frame(frame, bytes);
  Channel channel = simulate::counter_channel({});
  Script script;
  double t = 10.5;
  const uint64_t parent = script.begin(t, "all");
  while (t < 19) {
    const double until = t + random.exponential(0.1);
    script.stage(t, until, random.below(2) == 0 ? "a" : "b", parent);
    t = until;
  }
  script.end(t, parent);
  Account account({channel}, ns(kFrom), ns(kTo), Phase::kTraining);
  account.add_frames(bytes);
  account.add_marks(1, script.bytes());
  const Solved solved{account.solve()};
  const double children = solved.at("all/a").energy_j + solved.at("all/b").energy_j;
  CHECK_NEAR(children / solved.at("all").energy_j, 1, 1e-9);
  CHECK_NEAR(solved.at("all").self_energy_j, 0, 1e-6);
}

void test_series() {
  Script script;
  Account account({channel_named("a"), channel_named("dead")}, ns(kFrom), ns(kTo),
                  Phase::kTraining);
  account.add_frames(constant_counter(0, 100));
  const auto table = account.series(ns(12), ns(14), 20);
  CHECK_EQUAL(table.size(), 20u);
  double sum = 0;
  for (const auto& row : table) {
    CHECK_NEAR(row[0], 10, 0.5);
    CHECK(std::isnan(row[1]));
    sum += row[0];
  }
  CHECK_NEAR(sum, 200, 1);
}

// Stages that begin and end between the sensor's updates, under a load that changes with them: the
// moments cut the time anywhere, and what they cut adds up to what was not cut.
void test_own() {
  simulate::Load load;
  for (int i = 0; i < 100; ++i) load.hold(0.37, i % 2 == 0 ? 300 : 90);
  check::Random random(7);
  simulate::Sensor sensor;
  sensor.period_s = 0.1;
  sensor.unit = 1e-6;
  std::vector<uint8_t> bytes;
  encode_frame(simulate::watch_counter(load, sensor, kFrom, kTo, random), bytes);
  Script script;
  const uint64_t all = script.begin(10.5, "all");
  for (double t_s = 10.73; t_s < 19; t_s += 0.37) script.stage(t_s, t_s + 0.29, "step", all);
  script.end(19.6, all);
  Account account({channel_named("a")}, ns(kFrom), ns(kTo), Phase::kTraining);
  account.add_frames(bytes);
  account.add_marks(1, script.bytes());
  const AccountResult whole = account.solve();
  std::vector<int64_t> times_ns{ns(5)};  // before the run: its start
  for (double t_s = 10.1; t_s < kTo; t_s += random.uniform(0.001, 0.3)) times_ns.push_back(ns(t_s));
  times_ns.push_back(ns(kTo));
  const OwnSeries series = account.own(times_ns);
  CHECK(series.known);
  CHECK_EQUAL(series.rows.size(), whole.stages.size());
  CHECK_EQUAL(series.own_j.size(), times_ns.size());
  for (size_t row = 0; row < series.rows.size(); ++row) {
    CHECK(series.rows[row].path == whole.stages[row].path);
    CHECK_NEAR(series.own_j.front()[row], 0, 1e-12);
    CHECK_NEAR(series.own_j.back()[row], whole.stages[row].self_energy_j, 1e-9);
    for (size_t i = 1; i < times_ns.size(); ++i) {
      CHECK(series.own_j[i][row] >= series.own_j[i - 1][row] - 1e-9);
    }
  }
  Account nothing({channel_named("a")}, ns(kFrom), ns(kTo), Phase::kTraining);
  CHECK(!nothing.own(times_ns).known);
}

// Marks and frames as they may stand in a file that somebody made up.
void test_hostile() {
  check::Random random(13);
  for (int round = 0; round < 300; ++round) {
    MarkFrame frame;
    frame.seq = random.below(3) == 0 ? random.bits() : 0;
    frame.names.emplace_back(random.below(3), "n");
    for (int i = 0; i < 60; ++i) {
      Mark mark;
      mark.kind = random.below(2) == 0 ? Mark::Kind::kBegin : Mark::Kind::kEnd;
      mark.flags = static_cast<uint8_t>(random.below(16));
      mark.phase = static_cast<Phase>(random.below(4));
      mark.t_ns =
          random.below(10) == 0 ? static_cast<int64_t>(random.bits()) : ns(random.uniform(8, 22));
      mark.token = random.below(12);
      mark.parent = random.below(12);
      mark.name = static_cast<uint32_t>(random.below(3));
      frame.marks.push_back(mark);
    }
    std::vector<uint8_t> marks;
    encode_marks(frame, marks);
    Frame changes;
    changes.first_seq = random.below(3) == 0 ? random.bits() : 0;
    changes.pulse = {static_cast<int64_t>(random.bits() >> 4),
                     static_cast<int64_t>(random.below(1ull << 40)),
                     static_cast<int64_t>(random.below(1ull << 40)),
                     static_cast<int64_t>(random.below(1ull << 40))};
    for (int i = 0; i < 20; ++i) {
      const int64_t t = random.below(8) == 0 ? static_cast<int64_t>(random.bits()) >> 5
                                             : ns(random.uniform(8, 22));
      const int64_t width =
          random.below(8) == 0 ? static_cast<int64_t>(random.bits() >> 6) : ns(0.05);
      changes.changes.push_back({t - width, t, t, random.bits() >> random.below(64),
                                 static_cast<uint8_t>(random.below(8))});
    }
    std::vector<uint8_t> bytes;
    encode_frame(changes, bytes);
    Channel channel = channel_named("a");
    channel.kind = static_cast<Kind>(random.below(2));
    channel.window_ns = static_cast<int64_t>(random.below(3)) * 50'000'000 - 1;
    channel.range = random.below(2) == 0 ? 0 : random.bits() >> random.below(60);
    channel.limit_w = random.below(2) == 0 ? 0 : 500;
    Account account({channel}, ns(kFrom), ns(kTo), Phase::kUnset);
    account.add_frames(bytes);
    account.add_frames(bytes);
    account.add_marks(1, marks, static_cast<int64_t>(random.bits()) >> random.below(64));
    account.add_marks(2, marks, 0);
    const AccountResult result = account.solve();
    CHECK(!result.stages.empty());
    if (result.channels[0].known)
      CHECK(result.low_j <= result.energy_j && result.energy_j <= result.high_j);
  }
}

// A loop of `period_s`, half of it at 500 W, seen for 25 ms of each 100 ms.
Solved solve_beat(double period_s, double* truth_j) {
  simulate::Load load;
  Script script;
  load.hold(kFrom + 1, 100);
  for (double t = kFrom + 1; t < kTo - 1.5; t += period_s) {
    load.hold(period_s / 2, 100);
    load.hold(period_s / 2, 500);
    script.stage(t, t + period_s, "step");
    *truth_j = load.energy_j(t + period_s) - load.energy_j(kFrom + 1);
  }
  load.hold(10, 100);
  check::Random random(3);
  simulate::Sensor sensor;
  sensor.unit = 1e-3;
  sensor.window_s = 0.025;
  Channel channel = simulate::counter_channel(sensor, 600);
  channel.kind = Kind::kGauge;
  channel.window_ns = ns(0.025);
  std::vector<uint8_t> bytes;
  encode_frame(simulate::read_blindly(load, sensor, 0.01, kFrom, kTo, true, random), bytes);
  Account account({channel}, ns(kFrom), ns(kTo), Phase::kTraining);
  account.add_frames(bytes);
  account.add_marks(1, script.bytes());
  return {account.solve()};
}

void test_beats() {
  const auto warned = [](const Solved& solved) {
    for (const auto& [channel, event] : solved.result.events) {
      if (event.text.find("near a multiple") != std::string::npos) return true;
    }
    return false;
  };
  for (const double period_s : {0.1, 0.0999, 0.05, 0.1501}) {
    double truth_j = 0;
    const Solved solved = solve_beat(period_s, &truth_j);
    CHECK(warned(solved));
    const StageResult& step = solved.at("step");
    CHECK(step.low_j <= truth_j && truth_j <= step.high_j);
    CHECK(step.bound[kWindow] > 0.1 * step.energy_j);
    CHECK(solved.at("").high_j > 1.1 * solved.at("").energy_j);
  }
  double truth_j = 0;
  const Solved solved = solve_beat(0.137, &truth_j);
  CHECK(!warned(solved));
  CHECK_NEAR(solved.at("step").energy_j, truth_j, 0.1 * truth_j);
}

}  // namespace

int main() {
  test_no_marks();
  test_nested();
  test_concurrent();
  test_closed_between();
  test_outer_closes_first();
  test_generator_comes_back();
  test_same_token_comes_back();
  test_recursion();
  test_outside_cut_and_broken();
  test_names_and_phases();
  test_processes_and_shift();
  test_several_channels();
  test_nothing_known_is_not_zero();
  test_too_short_is_said();
  test_model_range();
  test_conservation();
  test_children_sum_to_parent();
  test_series();
  test_own();
  test_hostile();
  test_beats();
  return check::result();
}
