// One channel's energy over time: wraps, resets, gaps, first and last readings, gauges.
#include <string>

#include "check.h"
#include "core/curve.h"
#include "loads.h"
#include "simulate.h"

using namespace pyprof;
using simulate::ns;

namespace {

Change change(double last_old_s, double first_new_s, uint64_t raw, uint8_t flags = 0) {
  const int64_t low = ns(last_old_s), high = ns(first_new_s);
  return {low, high, (flags & kGap) != 0 ? high : low + (high - low) / 2, raw, flags};
}

Frame frame_of(std::vector<Change> changes, double last_read_s, double period_s,
               double interval_s) {
  Frame frame;
  frame.changes = std::move(changes);
  frame.pulse = {ns(last_read_s), ns(period_s), 0, ns(interval_s)};
  return frame;
}

Channel counter(double unit, uint64_t range, double limit_w) {
  Channel channel;
  channel.unit = unit;
  channel.range = range;
  channel.limit_w = limit_w;
  return channel;
}

Channel gauge(double window_s, double limit_w = 1000) {
  Channel channel;
  channel.kind = Kind::kGauge;
  channel.unit = 1;
  channel.limit_w = limit_w;
  channel.window_ns = window_s < 0 ? -1 : ns(window_s);
  return channel;
}

Curve make_curve(const Channel& channel, std::vector<Frame> frames, double from_s, double to_s) {
  return Curve(channel, std::move(frames), ns(from_s), ns(to_s), {});
}

const CurveEvent* find_event(const Curve& curve, const std::string& kind) {
  for (const CurveEvent& event : curve.events()) {
    if (event.kind == kind) return &event;
  }
  return nullptr;
}

bool holds(const Estimate& estimate, double truth_j) {
  return estimate.energy_j - estimate.down_j <= truth_j &&
         truth_j <= estimate.energy_j + estimate.up_j;
}

// A counter of 100 ms steps that is read 1 ms around each of them.
std::vector<Change> steps(double from_s, double to_s, double power_w, uint64_t range = 0,
                          uint64_t start = 0) {
  std::vector<Change> changes;
  const auto raw = [&](double t_s) {
    const uint64_t counts = start + static_cast<uint64_t>(std::llround(t_s * power_w));
    return range == 0 ? counts : counts % range;
  };
  changes.push_back(change(from_s, from_s, raw(std::floor(from_s * 10) / 10), kFirst));
  for (int i = static_cast<int>(from_s * 10) + 1; i / 10.0 < to_s; ++i) {
    changes.push_back(change(i / 10.0 - 0.0005, i / 10.0 + 0.0005, raw(i / 10.0)));
  }
  return changes;
}

void test_nothing_read_is_unknown() {
  const Curve none = make_curve(counter(1, 0, 100), {}, 0, 10);
  CHECK(none.empty());
  CHECK(std::isnan(none.between(0, ns(10)).energy_j));
  CHECK(std::isnan(none.peak_w()));
  const Curve pulse = make_curve(counter(1, 0, 100), {frame_of({}, 5, 0.1, 0.1)}, 0, 10);
  CHECK(pulse.empty());
}

void test_constant_power() {
  const Curve curve =
      make_curve(counter(1, 0, 400), {frame_of(steps(0.05, 10.3, 200), 10.3, 0.1, 0.1)}, 0.1, 10.1);
  CHECK_NEAR(curve.between(ns(0.1), ns(10.1)).energy_j, 2000, 1.5);
  CHECK_NEAR(curve.between(ns(3.03), ns(4.57)).energy_j, 308, 1.5);
  CHECK(holds(curve.between(ns(3.03), ns(4.57)), 308));
  CHECK_NEAR(curve.coverage(ns(0.1), ns(10.1)), 1, 1e-9);
  CHECK_NEAR(curve.peak_w(), 200, 3);
  CHECK_NEAR(curve.mean_w(ns(0.1), ns(10.1)), 200, 0.3);
  CHECK_EQUAL(curve.update_period_ns(), ns(0.1));
}

void test_wraps_are_counted() {
  // 200 W in joules, range 300: a wrap each 1.5 s.
  const auto changes = steps(0.05, 20.3, 200, 300, 123);
  const Curve curve =
      make_curve(counter(1, 300, 400), {frame_of(changes, 20.3, 0.1, 0.1)}, 0.1, 20.1);
  CHECK_NEAR(curve.between(ns(0.1), ns(20.1)).energy_j, 4000, 2);
  const CurveEvent* wrap = find_event(curve, "wrap");
  CHECK(wrap != nullptr);
  if (wrap != nullptr) CHECK_EQUAL(wrap->count, 13u);
  CHECK_EQUAL(curve.events().size(), 1u);
  CHECK_NEAR(curve.coverage(ns(0.1), ns(20.1)), 1, 1e-9);
}

void test_too_late_for_a_wrap() {
  // Range 300 J, limit 400 W, 3 s without a reading: one wrap or several?
  auto changes = steps(0.05, 5.05, 200, 300);
  changes.push_back(change(5.04, 8.05, 1610 % 300, kGap));
  for (int i = 82; i < 103; ++i) {
    changes.push_back(
        change(i / 10.0 - 0.0005, i / 10.0 + 0.0005, static_cast<uint64_t>(20 * i) % 300));
  }
  const Curve curve =
      make_curve(counter(1, 300, 400), {frame_of(changes, 10.25, 0.1, 0.1)}, 0.1, 10.1);
  CHECK(holds(curve.between(ns(0.1), ns(10.1)), 2000));
  CHECK(curve.coverage(ns(0.1), ns(10.1)) < 0.75);
  CHECK(find_event(curve, "gap") != nullptr);
  CHECK_NEAR(curve.between(ns(1.05), ns(4.05)).energy_j, 600, 2);
  const Estimate within = curve.between(ns(6), ns(7));
  CHECK(holds(within, 200));
}

// 60 W, a range of 150 J, and reads that come 0.2 s late now and then: at the 1500 W that any part
// may draw it could have wrapped meanwhile, at anything near what this one draws it could not.
void test_a_late_read_of_a_small_range_is_no_doubt() {
  std::vector<Change> changes;
  double before_s = 0.1;
  for (int i = 0; before_s < 10.2; ++i) {
    const double t_s = before_s + (i % 100 == 99 ? 0.2 : 0.02);
    const auto raw = static_cast<uint64_t>(std::llround(t_s * 60e3)) % 150'000;
    changes.push_back(change(t_s - 0.001, t_s, raw, i == 0 ? kFirst : 0));
    before_s = t_s;
  }
  const Curve curve =
      make_curve(counter(1e-3, 150'000, 1500), {frame_of(changes, 10.2, 0.001, 0.02)}, 0.2, 10.1);
  const Estimate whole = curve.between(ns(0.2), ns(10.1));
  CHECK_NEAR(whole.energy_j, 594, 0.5);
  CHECK(whole.up_j < 5);
  CHECK(find_event(curve, "gap") == nullptr);
  CHECK(find_event(curve, "wrap") != nullptr);
  CHECK_NEAR(curve.coverage(ns(0.2), ns(10.1)), 1, 1e-9);
}

// A sensor that updates rarely: the limit counts for the time between two updates.
void test_rare_updates_of_a_small_range() {
  const auto changes = steps(0.05, 10.3, 60, 160);
  const Curve curve =
      make_curve(counter(1, 160, 1500), {frame_of(changes, 10.3, 0.1, 0.1)}, 0.1, 10.1);
  CHECK_NEAR(curve.between(ns(0.1), ns(10.1)).energy_j, 600, 1);
  CHECK(find_event(curve, "gap") == nullptr);
}

void test_reset_is_neither_wrap_nor_energy() {
  auto changes = steps(0.05, 5.05, 200);
  for (int i = 51; i < 103; ++i) {
    changes.push_back(
        change(i / 10.0 - 0.0005, i / 10.0 + 0.0005, static_cast<uint64_t>(20 * (i - 51) + 3)));
  }
  const Curve curve =
      make_curve(counter(1, 0, 400), {frame_of(changes, 10.25, 0.1, 0.1)}, 0.1, 10.1);
  const Estimate whole = curve.between(ns(0.1), ns(10.1));
  CHECK_NEAR(whole.energy_j, 2000 - 20, 2);
  CHECK(holds(whole, 2000));
  CHECK(find_event(curve, "wrap") == nullptr);
  const CurveEvent* reset = find_event(curve, "reset");
  CHECK(reset != nullptr);
  if (reset != nullptr) CHECK_NEAR(static_cast<double>(reset->t_ns) * 1e-9, 5.1, 0.01);
  CHECK_NEAR(curve.coverage(ns(0.1), ns(10.1)), 0.99, 0.002);
  CHECK_NEAR(curve.mean_w(ns(0.1), ns(10.1)), 200, 1);
}

void test_counter_bridges_a_gap() {
  auto changes = steps(0.05, 4.05, 200);
  changes.push_back(change(4.05, 7.05, 1400, kGap));
  for (int i = 71; i < 103; ++i) {
    changes.push_back(change(i / 10.0 - 0.0005, i / 10.0 + 0.0005, static_cast<uint64_t>(20 * i)));
  }
  const Curve curve =
      make_curve(counter(1, 0, 400), {frame_of(changes, 10.25, 0.1, 0.1)}, 0.1, 10.1);
  CHECK_NEAR(curve.between(ns(0.1), ns(10.1)).energy_j, 2000, 1.5);
  CHECK_NEAR(curve.coverage(ns(0.1), ns(10.1)), 0.7, 0.001);
  CHECK_EQUAL(curve.events().size(), 1u);
  const CurveEvent* gap = find_event(curve, "gap");
  CHECK(gap != nullptr && gap->text.find("3 s") != std::string::npos);
  // What happened inside is not known: nothing for a second and 400 W in the next would fit.
  const Estimate inside = curve.between(ns(5), ns(6));
  CHECK(inside.down_j > 100 && inside.up_j > 100);
  CHECK(curve.between(ns(1), ns(2)).up_j < 10);
}

void test_held_counter_stands_still() {
  auto changes = steps(0.05, 4.05, 200);
  changes.push_back(change(4.05, 7.05, changes.back().raw, kGap | kHeld));
  for (int i = 71; i < 103; ++i) {
    const auto raw = static_cast<uint64_t>(800 + 20 * (i - 70));
    changes.push_back(change(i / 10.0 - 0.0005, i / 10.0 + 0.0005, raw));
  }
  const Curve curve =
      make_curve(counter(1, 0, 400), {frame_of(changes, 10.25, 0.1, 0.1)}, 0.1, 10.1);
  CHECK_NEAR(curve.between(ns(0.1), ns(10.1)).energy_j, 20 * 70, 3);
  CHECK_NEAR(curve.coverage(ns(0.1), ns(10.1)), 0.7, 0.001);
}

// The first value is older than its reading, by the rest of an update.
void test_first_reading() {
  for (const double from_s : {0.105, 0.15, 0.195}) {
    const auto changes = steps(from_s, 3.3, 200);
    const Curve curve =
        make_curve(counter(1, 0, 400), {frame_of(changes, 3.3, 0.1, 0.1)}, from_s, 3);
    CHECK_NEAR(curve.between(ns(from_s), ns(3)).energy_j, 200 * (3 - from_s), 1);
  }
}

// The same where the second reading comes late: an update's energy is not squeezed into the wait.
void test_gap_after_the_first_reading() {
  for (const double from_s : {0.135, 0.15, 0.175, 0.195}) {
    const double late_s = from_s + 0.068;
    auto changes = steps(late_s, 3.3, 200);
    changes[0] = change(from_s, late_s, changes[0].raw, kGap);
    changes.insert(changes.begin(), change(from_s, from_s, 20, kFirst));
    const Curve curve =
        make_curve(counter(1, 0, 400), {frame_of(changes, 3.3, 0.1, 0.1)}, from_s, 3);
    const Estimate whole = curve.between(ns(from_s), ns(3));
    CHECK_NEAR(whole.energy_j, 200 * (3 - from_s), 10);
    CHECK(holds(whole, 200 * (3 - from_s)));
  }
}

// Before the first and after the last reading: one update at most is carried on, and said.
void test_ends() {
  const Curve curve =
      make_curve(counter(1, 0, 400), {frame_of(steps(2.05, 8.05, 200), 8.05, 0.1, 0.1)}, 0, 10);
  const Estimate whole = curve.between(0, ns(10));
  CHECK(whole.energy_j > 1190 && whole.energy_j < 1300);
  CHECK(holds(whole, 2000));
  CHECK_NEAR(curve.coverage(0, ns(10)), 0.6, 0.01);
  CHECK_NEAR(curve.between(ns(9), ns(10)).energy_j, 0, 1e-9);
  CHECK(holds(curve.between(ns(9), ns(10)), 199));
  // An update that is still to come is part of a report made now.
  const Curve live =
      make_curve(counter(1, 0, 400), {frame_of(steps(0.05, 5.02, 200), 5.07, 0.1, 0.1)}, 0.1, 5.08);
  CHECK_NEAR(live.between(ns(0.1), ns(5.08)).energy_j, 996, 1.5);
}

void test_idle_counter() {
  const Frame frame = frame_of({change(1, 1, 77, kFirst)}, 9, 0, 0.1);
  const Curve curve = make_curve(counter(1e-3, 0, 300), {frame}, 1, 9);
  CHECK(!curve.empty());
  const Estimate whole = curve.between(ns(1), ns(9));
  CHECK_NEAR(whole.energy_j, 0, 1e-12);
  CHECK(whole.up_j > 100);  // its period is not known
  const Frame known = frame_of({change(1, 1, 77, kFirst)}, 9, 0.1, 0.1);
  const Curve sure = make_curve(counter(1e-3, 0, 300), {known}, 1, 9);
  CHECK_NEAR(sure.between(ns(1), ns(9)).up_j, 30, 10);
  CHECK(std::isnan(sure.peak_w()));
}

void test_damage_is_a_gap() {
  auto changes = steps(0.05, 10.3, 200);
  Frame first = frame_of({changes.begin(), changes.begin() + 30}, 2.95, 0.1, 0.1);
  Frame last = frame_of({changes.begin() + 60, changes.end()}, 10.3, 0.1, 0.1);
  last.first_seq = 60;
  const Curve curve = make_curve(counter(1, 0, 400), {last, first}, 0.1, 10.1);
  CHECK_NEAR(curve.between(ns(0.1), ns(10.1)).energy_j, 2000, 1.5);
  CHECK(find_event(curve, "gap") != nullptr);
  CHECK_NEAR(curve.coverage(ns(0.1), ns(10.1)), 0.69, 0.02);
}

void test_frames_twice_and_overlapping() {
  const auto changes = steps(0.05, 10.3, 200, 300);
  Frame whole = frame_of(changes, 10.3, 0.1, 0.1);
  Frame tail = frame_of({changes.begin() + 40, changes.end()}, 10.3, 0.1, 0.1);
  tail.first_seq = 40;
  const Curve curve = make_curve(counter(1, 300, 400), {tail, whole, whole}, 0.1, 10.1);
  CHECK_NEAR(curve.between(ns(0.1), ns(10.1)).energy_j, 2000, 1.5);
  CHECK(find_event(curve, "gap") == nullptr);
}

// Any two neighbours agree, and energy never runs backwards between readings.
void test_additive_and_monotone() {
  check::Random random(5);
  for (int round = 0; round < 40; ++round) {
    simulate::Load load;
    while (load.end_s() < 20) load.hold(random.exponential(0.15), random.uniform(10, 500));
    simulate::Sensor sensor;
    sensor.bracket = random.uniform(0.01, 0.5);
    sensor.jitter = 0.05;
    const Frame frame = simulate::watch_counter(load, sensor, 1, 15, random);
    std::vector<int64_t> marks;
    for (double t = 1; t < 15; t += random.exponential(0.05)) marks.push_back(ns(t));
    const Curve curve(simulate::counter_channel(sensor), {frame}, ns(1), ns(15), marks);
    Curve::Cursor cursor;
    double before = -1e-9;
    double sum = 0;
    for (int i = 0; i <= 300; ++i) {
      const int64_t t = ns(1 + 14 * i / 300.0);
      const double energy_j = curve.at(t, cursor).energy_j;
      CHECK(energy_j >= before - 1e-9);
      before = energy_j;
      if (i > 0) sum += curve.between(ns(1 + 14 * (i - 1) / 300.0), t).energy_j;
    }
    CHECK_NEAR(sum, curve.between(ns(1), ns(15)).energy_j, 1e-6);
    Curve::Cursor back;
    for (int i = 0; i < 200; ++i) {
      const int64_t t = ns(random.uniform(1, 15));
      Curve::Cursor fresh;
      CHECK_NEAR(curve.at(t, back).energy_j, curve.at(t, fresh).energy_j, 1e-9);
    }
  }
}

// A step that falls on a mark, exactly: the energy on each side follows from the counter.
void test_step_at_a_mark() {
  simulate::Load load;
  load.hold(5.237, 100);
  load.hold(5, 600);
  check::Random random(1);
  simulate::Sensor sensor;
  sensor.bracket = 0.01;
  const Frame frame = simulate::watch_counter(load, sensor, 1, 9, random);
  const std::vector<int64_t> marks{ns(5.237)};
  const Curve curve(simulate::counter_channel(sensor), {frame}, ns(1), ns(9), marks);
  CHECK_NEAR(curve.between(ns(1), ns(5.237)).energy_j, 423.7, 0.6);
  CHECK_NEAR(curve.between(ns(5.237), ns(9)).energy_j, 3763 * 0.6, 0.6);
  const Curve unmarked = make_curve(simulate::counter_channel(sensor), {frame}, 1, 9);
  CHECK_NEAR(unmarked.between(ns(1), ns(5.237)).energy_j, 423.7, 1.2);
}

// -- gauges --------------------------------------------------------------------------------------

void test_mean_since_reading() {
  // 100 W until 2 s, 300 W until 3 s, repeated until 4 s, then 50 W.
  const std::vector<Change> changes{change(1, 1, 100, kFirst), change(2, 3, 300), change(4, 5, 50)};
  const Curve curve = make_curve(gauge(-1), {frame_of(changes, 8, 0, 1)}, 1, 8);
  CHECK_NEAR(curve.between(ns(1), ns(8)).energy_j, 100 + 300 + 300 + 50 * 4, 1e-6);
  CHECK_NEAR(curve.between(ns(2), ns(3)).energy_j, 300, 1e-6);
  CHECK_NEAR(curve.between(ns(6), ns(7)).energy_j, 50, 1e-6);
  CHECK_NEAR(curve.peak_w(), 300, 1e-3);
  CHECK_NEAR(curve.coverage(ns(1), ns(8)), 1, 1e-9);
}

void test_gauge_does_not_bridge_a_gap() {
  const std::vector<Change> changes{change(1, 1, 100, kFirst), change(4, 7, 200, kGap)};
  for (const double window_s : {-1.0, 0.0}) {
    const Curve curve = make_curve(gauge(window_s), {frame_of(changes, 9, 0, 0.1)}, 1, 9);
    const Estimate whole = curve.between(ns(1), ns(9));
    CHECK_NEAR(whole.energy_j, 300 + 400, 1e-3);
    CHECK(whole.up_j >= 600 - 1e-3);  // the highest power seen, for three seconds
    CHECK(whole.down_j < 200);
    CHECK_NEAR(curve.coverage(ns(1), ns(9)), 5.0 / 8, 1e-9);
    CHECK_NEAR(curve.mean_w(ns(1), ns(9)), 140, 1e-3);
    CHECK(find_event(curve, "gap") != nullptr);
  }
}

void test_constant_gauge() {
  const Curve curve =
      make_curve(gauge(0.025), {frame_of({change(1, 1, 250, kFirst)}, 61, 0, 0.1)}, 1, 61);
  CHECK_NEAR(curve.between(ns(1), ns(61)).energy_j, 250 * 60, 1e-3);
  CHECK_NEAR(curve.peak_w(), 250, 1e-3);
}

// A value that was repeated is held; only the last update before the change leads to it.
void test_held_gauge() {
  const std::vector<Change> changes{change(1, 1, 100, kFirst), change(9.98, 10.02, 300)};
  const Curve curve = make_curve(gauge(0), {frame_of(changes, 15, 0.1, 0.1)}, 1, 15);
  CHECK_NEAR(curve.between(ns(1), ns(9)).energy_j, 800, 1e-3);
  CHECK_NEAR(curve.between(ns(1), ns(15)).energy_j, 890 + 20 + 1500, 1e-3);
}

void test_ramp_gauge_is_exact() {
  // A sensor of the moment on a straight rise: trapezoids are the truth.
  std::vector<Change> changes{change(0, 0, 0, kFirst)};
  for (int i = 1; i <= 100; ++i)
    changes.push_back(change(i / 10.0, i / 10.0, static_cast<uint64_t>(10 * i)));
  const Curve curve = make_curve(gauge(0, 2000), {frame_of(changes, 10, 0.1, 0.1)}, 0, 10);
  for (const double t : {1.0, 2.55, 7.03, 9.5}) {
    CHECK_NEAR(curve.between(0, ns(t)).energy_j, 50 * t * t, 1e-3);
  }
}

void test_late_channel() {
  // A GPU that appears three seconds into the run.
  const Curve curve =
      make_curve(counter(1, 0, 400), {frame_of(steps(3.05, 10.3, 200), 10.3, 0.1, 0.1)}, 0, 10);
  CHECK_NEAR(curve.coverage(0, ns(10)), 0.7, 0.01);
  CHECK_NEAR(curve.between(0, ns(10)).energy_j, 1420, 30);
  CHECK(holds(curve.between(0, ns(10)), 2000));
  CHECK_NEAR(curve.between(ns(5), ns(6)).energy_j, 200, 2);
}

// A mean over 1 s each 100 ms: the powers behind it are found, also where its width is not as
// documented.
void test_trailing_mean() {
  simulate::Load load;
  check::Random random(5);
  std::vector<int64_t> marks;
  while (load.end_s() < 70) {
    load.hold(random.uniform(0.4, 2), 100);
    load.hold(random.uniform(0.4, 2), 600);
  }
  for (const double corner_s : load.corners_s()) {
    if (corner_s > 12 && corner_s < 55) marks.push_back(ns(corner_s));
  }
  simulate::Sensor sensor;
  sensor.unit = 1e-3;
  sensor.window_s = 1;
  const Frame frame = simulate::read_blindly(load, sensor, 0.01, 5, 60, true, random);
  for (const double said : {1.0, 0.9, 1.1}) {
    Channel channel = gauge(said);
    channel.unit = sensor.unit;
    const Curve curve(channel, {frame}, ns(5), ns(60), marks);
    size_t inside = 0, count = 0;
    for (size_t i = 0; i + 1 < marks.size(); ++i) {
      const double truth = load.between(static_cast<double>(marks[i]) * 1e-9,
                                        static_cast<double>(marks[i + 1]) * 1e-9);
      const Estimate found = curve.between(marks[i], marks[i + 1]);
      CHECK_NEAR(found.energy_j, truth, 25);  // of some 500 W over 1 s
      inside += holds(found, truth);
      ++count;
    }
    CHECK(10 * inside >= 9 * count);
    CHECK_NEAR(curve.between(ns(10), ns(55)).energy_j, load.between(10, 55),
               0.002 * load.between(10, 55));
  }
}

// A value that is no such mean is left as it was: a wide interval and no bias.
void test_no_trailing_mean() {
  simulate::Load load;
  check::Random random(6);
  while (load.end_s() < 70) {
    load.hold(random.uniform(0.4, 2), 100);
    load.hold(random.uniform(0.4, 2), 600);
  }
  simulate::Sensor sensor;
  sensor.unit = 1e-3;
  sensor.window_s = 0.1;
  const Frame frame = simulate::read_blindly(load, sensor, 0.01, 5, 60, true, random);
  Channel channel = gauge(1);
  channel.unit = sensor.unit;
  const Curve curve(channel, {frame}, ns(5), ns(60), {});
  const Estimate found = curve.between(ns(10), ns(50));
  CHECK(holds(found, load.between(10, 50)));
}

// A loop of one and a half updates is told of, one whose steps vary is not; nor is a constant
// power.
void test_a_load_in_step_is_told_of() {
  const auto told = [](const char* kind, bool marked) {
    check::Random random(5);
    const simulate::Load load = simulate::make_load(kind, 70, 0.1, random);
    simulate::Sensor sensor;
    sensor.jitter = 0.01;
    sensor.on_grid = true;
    const Frame frame = simulate::watch_counter(load, sensor, 5, 60, random);
    std::vector<int64_t> marks;
    for (double at_s = 0.03; marked && at_s < load.end_s(); at_s += 0.1) marks.push_back(ns(at_s));
    const Curve curve(simulate::counter_channel(sensor), {frame}, ns(5), ns(60), marks);
    std::string notes;
    for (const CurveEvent& event : curve.events()) {
      if (event.text.find("in step") != std::string::npos) notes += event.text;
    }
    return notes;
  };
  CHECK(told("square of 1.5", false).find("the load repeats in step") == 0);
  CHECK(told("training of 4", false).find("the load repeats in step") == 0);
  for (const char* const kind : {"constant", "telegraph", "levels", "square of 1"}) {
    CHECK(told(kind, false).empty());
  }
  // The power looks constant: only marks can tell that it may not be.
  CHECK(told("square of 1", true).find("stages begin and end in step") == 0);
  CHECK(told("square of 1.5", true).find("the load repeats in step") == 0);
}

}  // namespace

int main() {
  test_nothing_read_is_unknown();
  test_constant_power();
  test_wraps_are_counted();
  test_too_late_for_a_wrap();
  test_a_late_read_of_a_small_range_is_no_doubt();
  test_rare_updates_of_a_small_range();
  test_reset_is_neither_wrap_nor_energy();
  test_counter_bridges_a_gap();
  test_held_counter_stands_still();
  test_first_reading();
  test_gap_after_the_first_reading();
  test_ends();
  test_idle_counter();
  test_damage_is_a_gap();
  test_frames_twice_and_overlapping();
  test_additive_and_monotone();
  test_step_at_a_mark();
  test_mean_since_reading();
  test_gauge_does_not_bridge_a_gap();
  test_constant_gauge();
  test_held_gauge();
  test_ramp_gauge_is_exact();
  test_late_channel();
  test_trailing_mean();
  test_no_trailing_mean();
  test_a_load_in_step_is_told_of();
  return check::result();
}
