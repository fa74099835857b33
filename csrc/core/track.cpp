#include "core/track.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "core/clock.h"
#include "core/counter.h"
#include "core/powers.h"
#include "core/prior.h"
#include "core/stamps.h"

namespace pyprof {
namespace {

constexpr double kSecond = 1e-9;
constexpr uint64_t kMostEvents = 100;  // of one kind and channel; the last one stands for the rest
constexpr size_t kSteadyKnots = 32;
constexpr int64_t kFirstUpdates = 5;  // after which the first change still tells the one before it,
constexpr double kFirstStray = 0.05;  // give or take so much of the period for each
constexpr double kReadBlurS = 100e-6;  // a stamp is the middle of a read, the value from within it
constexpr double kSigmasPerSpread = 1.0 / 1.349;  // interquartile range of a normal distribution

double seconds(int64_t ns) { return static_cast<double>(ns) * kSecond; }

std::string describe(const char* format, double number) {
  char text[96];
  std::snprintf(text, sizeof text, format, number);
  return text;
}

class Builder {
 public:
  Builder(const Channel& channel, Stamps stamps, int64_t period_ns, double likely_w,
          int64_t start_ns, int64_t end_ns)
      : channel_(channel),
        start_ns_(start_ns),
        end_ns_(end_ns),
        likely_w_(likely_w),
        stamps_(std::move(stamps)) {
    track_.period_ns = period_ns;
    track_.window_ns = channel.window_ns;
    track_.limit_w = channel.limit_w > 0 ? channel.limit_w : kAssumedLimitW;
    (channel.kind == Kind::kCounter ? track_.quantum_j : track_.step_w) = channel.unit;
  }
  void add(const Frame& frame);
  Track finish();

 private:
  void add_change(Change change);
  void add_count(const Change& change);
  void add_mean(const Change& change);
  void add_power(const Change& change);
  uint64_t most_counts(double most_j) const;
  double elapsed(const Change& change) const;
  struct Place {
    int64_t at_ns;
    double half_s;
    double apart_s;
  };
  void add_step(const Change& change, const Place& place, bool gap);
  void knot(int64_t t_ns, double step_j, double half_s, double power_w, Knot::Kind before);
  void blank(int64_t from_ns, int64_t to_ns, double lost_j, bool covered);
  void note(int64_t t_ns, const char* kind, uint64_t& seen, std::string text);
  void end_count();
  void end_mean();
  void end_power();
  double steady_w(bool from_end) const;
  void extend_front();
  void add_ends();
  void fill_blanks();
  double watts(uint64_t raw) const { return static_cast<double>(raw) * channel_.unit; }
  int64_t reach_ns() const { return std::max(track_.period_ns, 2 * track_.interval_ns); }
  Place place(const Change& change);

  const Channel& channel_;
  const int64_t start_ns_, end_ns_;
  const double likely_w_;  // as the limit, from the powers seen
  Stamps stamps_;
  Track track_;
  uint64_t next_seq_ = 0;
  bool started_ = false;
  bool holed_ = false;  // changes are missing, or a held gap lies in the present interval
  Change last_;
  int64_t last_read_ns_ = 0;
  int64_t spread_ns_ = 0;
  int64_t cover_from_ns_ = 0, cover_to_ns_ = 0;
  uint64_t gaps_ = 0, resets_ = 0, doubts_ = 0;
  size_t wrap_event_ = SIZE_MAX;
};

void Builder::note(int64_t t_ns, const char* kind, uint64_t& seen, std::string text) {
  if (++seen <= kMostEvents) {
    track_.events.push_back({t_ns, kind, 1, std::move(text)});
    return;
  }
  for (auto event = track_.events.rbegin(); event != track_.events.rend(); ++event) {
    if (event->kind != kind) continue;
    ++event->count;
    return;
  }
}

void Builder::knot(int64_t t_ns, double step_j, double half_s, double power_w, Knot::Kind before) {
  auto& knots = track_.knots;
  Knot next{t_ns, step_j, static_cast<float>(half_s), static_cast<float>(power_w),
            Knot::Kind::kPlain};
  if (knots.empty()) {
    knots.push_back(next);
    return;
  }
  next.energy_j += knots.back().energy_j;
  if (t_ns <= knots.back().t_ns) {
    // Two changes in one instant: one knot, with the energy of both.
    next.t_ns = knots.back().t_ns;
    knots.back() = next;
    return;
  }
  knots.back().kind = before;
  knots.push_back(next);
}

void Builder::blank(int64_t from_ns, int64_t to_ns, double lost_j, bool covered) {
  auto& blanks = track_.blanks;
  if (!blanks.empty()) from_ns = std::max(from_ns, blanks.back().to_ns);
  if (to_ns > from_ns) blanks.push_back({from_ns, to_ns, lost_j, 0, 0, covered});
}

// Frames may overlap (a salvaged file has some twice) and may be missing.
void Builder::add(const Frame& frame) {
  size_t skip = 0;
  if (frame.first_seq < next_seq_) {
    skip = std::min<uint64_t>(next_seq_ - frame.first_seq, frame.changes.size());
  } else if (frame.first_seq > next_seq_ && started_) {
    holed_ = true;
  }
  spread_ns_ = frame.pulse.spread_ns;
  if (frame.pulse.interval_ns > 0) track_.interval_ns = frame.pulse.interval_ns;
  for (size_t i = skip; i < frame.changes.size(); ++i) add_change(frame.changes[i]);
  next_seq_ = std::max(next_seq_, frame.first_seq + frame.changes.size());
  if (started_) last_read_ns_ = std::max(last_read_ns_, frame.pulse.last_read_ns);
}

void Builder::add_change(Change change) {
  if (started_ && change.first_new_ns <= last_.first_new_ns) return;  // not in order: damaged
  change.at_ns = std::clamp(change.at_ns, change.last_old_ns, change.first_new_ns);
  if (started_ && (holed_ || (change.flags & kFirst) != 0)) {
    // What was between is not there: whatever this change says, it follows a gap.
    if (change.last_old_ns > last_read_ns_) change.last_old_ns = last_read_ns_;
    change.flags = static_cast<uint8_t>((change.flags & ~kFirst & ~kHeld) | kGap);
    holed_ = false;
  }
  if (started_ && (change.flags & kGap) != 0) {
    const double length = seconds(change.first_new_ns - change.last_old_ns);
    note(change.last_old_ns, "gap", gaps_, describe("no reading for %.3g s", length));
  }
  if (channel_.kind == Kind::kCounter) {
    add_count(change);
  } else if (channel_.window_ns < 0) {
    add_mean(change);
  } else {
    add_power(change);
  }
  last_ = change;
  last_read_ns_ = std::max(last_read_ns_, change.first_new_ns);
  started_ = true;
}

// When the sensor changed, and half the width of the window in which it did so.
Builder::Place Builder::place(const Change& change) {
  if ((change.flags & kGap) == 0) {
    if (const Stamp* const stamp = stamps_.at(change.first_new_ns); stamp != nullptr) {
      const int64_t at = std::clamp(stamp->at_ns, change.last_old_ns, change.first_new_ns);
      return {at, stamp->half_s, stamp->apart_s};
    }
  }
  const int64_t period = track_.period_ns;
  int64_t low = change.last_old_ns;
  int64_t at = change.at_ns;
  if (period > 0) {
    // Where updates were missed the value that was read is the last one's, at most a period old.
    low = std::max(low, change.first_new_ns - period);
    if (at < low || (change.flags & kGap) != 0) at = low + (change.first_new_ns - low) / 2;
  }
  const double after = seconds(change.first_new_ns - at);
  double before = seconds(at - low);
  // After a gap no prediction says where in its window the change lies.
  if (spread_ns_ > 0 && (change.flags & kGap) == 0) {
    // A change that came before it was expected lies in the tail of what was predicted, whose mean
    // is the estimate: 95 % of it lie within three times its distance from the end.
    const double sigma = kSigmasPerSpread * seconds(spread_ns_);
    before = std::min({before, std::max(2 * after, 0.5 * sigma), 2 * sigma});
    return {at, std::max(before, std::min(after, 2 * sigma)), 0};
  }
  return {at, std::max(before, after), 0};
}

// What `step` takes as the highest plausible difference; 0 where no limit is known.
uint64_t Builder::most_counts(double most_j) const {
  const double counts = most_j / channel_.unit;
  if (!(counts > 0)) return 0;
  return counts < 9e18 ? static_cast<uint64_t>(counts) + 1 : uint64_t{9'000'000'000'000'000'000};
}

// -- counters ------------------------------------------------------------------------------------

void Builder::add_count(const Change& change) {
  const bool gap = (change.flags & kGap) != 0;
  if (!started_) {
    cover_from_ns_ = change.first_new_ns;
    const auto [at, half, own] = place(change);
    knot((change.flags & kFirst) != 0 ? change.first_new_ns : at, 0, half, 0, Knot::Kind::kPlain);
    return;
  }
  if ((change.flags & kHeld) != 0 && change.raw == last_.raw) {
    blank(change.last_old_ns, change.first_new_ns, 0, false);
    track_.knots.back().kind = Knot::Kind::kBridged;
    return;
  }
  const Place place = this->place(change);
  const auto [at, half, own] = place;
  if (track_.knots.size() == 1 && (last_.flags & kFirst) != 0) {
    // The first value was made up to one update before it was read.
    Knot& first = track_.knots.front();
    const int64_t period = track_.period_ns;
    const int64_t since = at - first.t_ns;
    if (period > 0) {
      const int64_t updates = std::max<int64_t>((since + period - period / 5 - 1) / period, 1);
      const bool near = updates <= kFirstUpdates;
      const int64_t made = near ? at - updates * period : first.t_ns - period / 2;
      const double strays = kFirstStray * static_cast<double>(updates);
      first.half_s =
          static_cast<float>(near ? half + strays * seconds(period) : seconds(period) / 2);
      first.t_ns = std::clamp(made, first.t_ns - period, first.t_ns);
    } else {
      first.half_s = static_cast<float>(seconds(since) / 2);
    }
    cover_from_ns_ = first.t_ns;
  }
  add_step(change, place, gap);
}

// The longest time in which the difference to the change before can have been used.
double Builder::elapsed(const Change& change) const {
  const Knot& before = track_.knots.back();
  const int64_t oldest = before.t_ns - std::llround(before.half_s / kSecond);
  const int64_t since = std::max(std::min(last_.last_old_ns, before.t_ns), oldest);
  return seconds(std::max(change.first_new_ns - since, track_.period_ns));
}

void Builder::add_step(const Change& change, const Place& place, bool gap) {
  const auto [at_ns, half_s, apart_s] = place;
  const int64_t from_ns = track_.knots.back().t_ns;
  const double elapsed_s = elapsed(change);
  const double most_j = channel_.limit_w > 0 ? channel_.limit_w * elapsed_s : 0;
  Step found = step(last_.raw, change.raw, channel_.range, most_counts(most_j));
  if (found.kind == Step::Kind::kUnknowable) {
    const uint64_t likely = most_counts(likely_w_ * elapsed_s);
    const Step again = step(last_.raw, change.raw, channel_.range, likely);
    if (again.kind != Step::Kind::kReset) found = again;
  }
  const double step_j = static_cast<double>(found.counts) * channel_.unit;
  const bool bridged = gap || track_.knots.back().kind == Knot::Kind::kBridged;
  switch (found.kind) {
    case Step::Kind::kWrapped:
      if (wrap_event_ == SIZE_MAX) {
        wrap_event_ = track_.events.size();
        track_.events.push_back({at_ns, "wrap", 0, "the counter started again at 0, energy kept"});
      }
      ++track_.events[wrap_event_].count;
      [[fallthrough]];
    case Step::Kind::kDifference:
      if (gap) blank(change.last_old_ns, change.first_new_ns, 0, false);
      knot(at_ns, step_j, half_s, 0, bridged ? Knot::Kind::kBridged : Knot::Kind::kPlain);
      track_.knots.back().apart_s = static_cast<float>(apart_s);
      return;
    case Step::Kind::kReset:
    case Step::Kind::kImplausible:
      note(at_ns, "reset", resets_,
           found.kind == Step::Kind::kReset
               ? "the counter fell: the energy since its last update is not known"
               : "the counter rose by more than the device can use: that is not counted, and the "
                 "energy since its last update is not known");
      blank(from_ns, at_ns, kUnknown, false);
      knot(at_ns, 0, half_s, 0, Knot::Kind::kFlat);
      return;
    case Step::Kind::kUnknowable: {
      const double range_j = static_cast<double>(channel_.range) * channel_.unit;
      note(from_ns, "gap", doubts_, "read too late: the counter may have wrapped more than once");
      blank(from_ns, at_ns, std::floor((most_j - step_j) / range_j) * range_j, false);
      knot(at_ns, step_j, half_s, 0, Knot::Kind::kBridged);
      return;
    }
  }
}

// The power at the first or the last knot, by as many intervals from there as one power explains:
// of a single one the places of two changes may tell it badly.
double Builder::steady_w(bool from_end) const {
  const auto& knots = track_.knots;
  const size_t last = knots.size() - 1, end = from_end ? last : 0;
  const auto plain = [&](size_t i) {
    return knots[from_end ? last - i : i - 1].kind == Knot::Kind::kPlain;
  };
  double low_w = 0, high_w = std::numeric_limits<double>::infinity(), power_w = 0;
  for (size_t i = 1; i <= last && i <= kSteadyKnots && (i == 1 || plain(i)); ++i) {
    const Knot& other = knots[from_end ? last - i : i];
    const double joules = std::abs(knots[end].energy_j - other.energy_j);
    const double width_s = std::abs(seconds(knots[end].t_ns - other.t_ns));
    const double blur_s = double{knots[end].half_s} + other.half_s;
    const double least_w = (joules - track_.quantum_j) / (width_s + blur_s);
    if (least_w > high_w) break;
    if (width_s > blur_s) {
      const double most_w = (joules + track_.quantum_j) / (width_s - blur_s);
      if (most_w < low_w) break;
      high_w = std::min(high_w, most_w);
    }
    low_w = std::max(low_w, least_w);
    power_w = joules / width_s;
  }
  return power_w;
}

void Builder::end_count() {
  cover_to_ns_ = last_read_ns_;
  auto& knots = track_.knots;
  const Knot last = knots.back();
  const int64_t silent = last_read_ns_ - last.t_ns;
  if (knots.size() == 1) {
    // It never moved: what it may hold back is at most one update's worth.
    const int64_t hidden = track_.period_ns > 0 ? std::min(track_.period_ns, silent) : silent;
    const double held_j = track_.limit_w * seconds(hidden) + track_.quantum_j;
    blank(last.t_ns, std::max(last_read_ns_, last.t_ns + 1), held_j, true);
    knot(std::max(last_read_ns_, last.t_ns + 1), 0, 0, 0, Knot::Kind::kFlat);
    return;
  }
  const Knot& before = knots[knots.size() - 2];
  const int64_t width = last.t_ns - before.t_ns;
  const int64_t period = track_.period_ns > 0 ? track_.period_ns : width;
  if (silent > 2 * period || before.kind == Knot::Kind::kFlat) {
    const double held_j = track_.limit_w * seconds(std::min(period, silent)) + track_.quantum_j;
    blank(std::max(last.t_ns, last_read_ns_ - period), last_read_ns_, held_j, true);
    knot(last_read_ns_, 0, 0, 0, Knot::Kind::kPlain);
    return;
  }
  const double power_w = steady_w(true);
  const int64_t until = last_read_ns_ + std::max(reach_ns(), period);
  knot(until, power_w * seconds(until - last.t_ns), last.half_s, 0, Knot::Kind::kBeyond);
}

// -- gauges that give the mean since the previous reading ----------------------------------------

void Builder::add_mean(const Change& change) {
  const double power_w = watts(change.raw);
  if (!started_) {
    cover_from_ns_ = change.last_old_ns;
    knot(change.last_old_ns, 0, kReadBlurS, power_w, Knot::Kind::kPlain);
    if (change.first_new_ns > change.last_old_ns) {
      const double width_s = seconds(change.first_new_ns - change.last_old_ns);
      knot(change.first_new_ns, power_w * width_s, kReadBlurS, power_w, Knot::Kind::kPlain);
    }
    return;
  }
  const double before_w = watts(last_.raw);
  const int64_t held_ns = std::max<int64_t>(change.last_old_ns - track_.knots.back().t_ns, 0);
  if (held_ns > 0) {
    knot(change.last_old_ns, before_w * seconds(held_ns), kReadBlurS, before_w, Knot::Kind::kPlain);
  }
  const int64_t from_ns = track_.knots.back().t_ns;
  if ((change.flags & kGap) != 0) {
    blank(from_ns, change.first_new_ns, kUnknown, false);
    knot(change.first_new_ns, 0, kReadBlurS, power_w, Knot::Kind::kFlat);
    return;
  }
  const double step_j = power_w * seconds(change.first_new_ns - from_ns);
  knot(change.first_new_ns, step_j, kReadBlurS, power_w, Knot::Kind::kPlain);
}

void Builder::end_mean() {
  cover_to_ns_ = last_read_ns_;
  const double power_w = watts(last_.raw);
  const int64_t held_ns = last_read_ns_ - track_.knots.back().t_ns;
  if (held_ns > 0)
    knot(last_read_ns_, power_w * seconds(held_ns), kReadBlurS, power_w, Knot::Kind::kPlain);
  knot(last_read_ns_ + reach_ns(), power_w * seconds(reach_ns()), kReadBlurS, power_w,
       Knot::Kind::kBeyond);
}

// -- gauges with a window of their own -----------------------------------------------------------

void Builder::add_power(const Change& change) {
  const auto [at, half, own] = place(change);
  const double power_w = watts(change.raw);
  const int64_t centre = at - channel_.window_ns / 2;
  if (!started_) {
    cover_from_ns_ = change.first_new_ns;
    knot(centre, 0, half, power_w, Knot::Kind::kRamp);
    return;
  }
  const double before_w = watts(last_.raw);
  const int64_t from_ns = track_.knots.back().t_ns;
  if ((change.flags & kGap) != 0) {
    const int64_t held_ns = change.last_old_ns - from_ns;
    if (held_ns > 0)
      knot(change.last_old_ns, before_w * seconds(held_ns), half, before_w, Knot::Kind::kRamp);
    blank(track_.knots.back().t_ns, change.first_new_ns, kUnknown, false);
    knot(change.first_new_ns, 0, half, power_w, Knot::Kind::kFlat);
    return;
  }
  // The value was given again at each update until the one before this change.
  const int64_t bracket = change.first_new_ns - change.last_old_ns;
  const int64_t rise = track_.period_ns > 0 ? track_.period_ns : bracket;
  const int64_t held_ns = centre - rise - from_ns;
  if (held_ns > rise / 2) {
    knot(centre - rise, before_w * seconds(held_ns), half, before_w, Knot::Kind::kRamp);
  }
  const double width_s = seconds(std::max<int64_t>(centre - track_.knots.back().t_ns, 0));
  knot(centre, 0.5 * (before_w + power_w) * width_s, half, power_w, Knot::Kind::kRamp);
}

void Builder::end_power() {
  cover_to_ns_ = last_read_ns_;
  const double power_w = watts(last_.raw);
  const int64_t until = last_read_ns_ + reach_ns();
  const int64_t held_ns = last_read_ns_ - track_.knots.back().t_ns;
  if (held_ns > 0) knot(last_read_ns_, power_w * seconds(held_ns), 0, power_w, Knot::Kind::kRamp);
  knot(until, power_w * seconds(until - track_.knots.back().t_ns), 0, power_w, Knot::Kind::kBeyond);
}

// -- the whole -----------------------------------------------------------------------------------

// The run may begin before the first reading: the power just after it, for one update at most.
void Builder::extend_front() {
  auto& knots = track_.knots;
  const Knot first = knots.front();
  if (first.t_ns <= start_ns_) return;
  const int64_t reach = std::min(reach_ns(), first.t_ns - start_ns_);
  if (reach <= 0) return;
  double power_w = first.power_w;
  if (channel_.kind == Kind::kCounter) {
    if (first.kind != Knot::Kind::kPlain) return;
    power_w = steady_w(false);
  }
  Knot front = first;
  front.t_ns -= reach;
  front.energy_j -= power_w * seconds(reach);
  front.kind = Knot::Kind::kBeyond;
  knots.insert(knots.begin(), front);
}

// Of the run before the first reading and after the last one a little is carried on from the power
// beside it (up to `known`); for the rest nothing is known.
void Builder::add_ends() {
  auto& blanks = track_.blanks;
  std::vector<Blank> front;
  std::swap(front, blanks);
  const int64_t known_from = std::clamp(track_.knots.front().t_ns, start_ns_, end_ns_);
  const int64_t known_to = std::clamp(track_.knots.back().t_ns, start_ns_, end_ns_);
  const int64_t cover_from = std::clamp(cover_from_ns_, known_from, end_ns_);
  const int64_t cover_to = std::clamp(cover_to_ns_, start_ns_, known_to);
  blank(start_ns_, known_from, kUnknown, false);
  blank(known_from, cover_from, 0, false);
  for (const Blank& inner : front) blank(inner.from_ns, inner.to_ns, inner.lost_j, inner.covered);
  blank(cover_to, known_to, 0, false);
  blank(known_to, end_ns_, kUnknown, false);
}

void Builder::fill_blanks() {
  const double most_w = std::isnan(track_.peak_w) ? track_.limit_w : track_.peak_w;
  double sum_j = 0;
  int64_t sum_ns = 0;
  for (Blank& blank : track_.blanks) {
    if (std::isnan(blank.lost_j)) blank.lost_j = most_w * seconds(blank.to_ns - blank.from_ns);
    blank.before_j = sum_j;
    blank.before_ns = sum_ns;
    sum_j += blank.lost_j;
    if (!blank.covered) sum_ns += blank.to_ns - blank.from_ns;
  }
}

Track Builder::finish() {
  if (!started_) return std::move(track_);
  if (channel_.kind == Kind::kCounter) {
    end_count();
  } else if (channel_.window_ns < 0) {
    end_mean();
  } else {
    end_power();
  }
  // The mean since the previous reading is new at each reading, changed or not.
  if (channel_.window_ns < 0 && channel_.kind == Kind::kGauge) {
    if (track_.interval_ns == 0) track_.interval_ns = track_.period_ns;
    track_.period_ns = track_.interval_ns;
  }
  // Even a single reading makes a curve: it is known that there was one.
  if (track_.knots.size() == 1) knot(track_.knots[0].t_ns + 1, 0, 0, 0, Knot::Kind::kFlat);
  find_powers(track_, channel_);
  track_.peak_w = highest_mean_w(track_.knots, 0, track_.knots.size() - 1);
  extend_front();
  find_variance(track_, channel_);
  add_ends();
  fill_blanks();
  return std::move(track_);
}

}  // namespace

Track make_track(const Channel& channel, std::vector<Frame> frames, int64_t start_ns,
                 int64_t end_ns, const Settled& settled) {
  std::sort(frames.begin(), frames.end(), [](const Frame& a, const Frame& b) {
    if (a.first_seq != b.first_seq) return a.first_seq < b.first_seq;
    return a.pulse.last_read_ns < b.pulse.last_read_ns;
  });
  const double likely_w = find_likely_power(frames, channel);
  const int64_t period_ns = find_period(frames, channel);
  Builder builder(channel, Stamps(frames, channel, period_ns, settled), period_ns, likely_w,
                  start_ns, end_ns);
  for (const Frame& frame : frames) builder.add(frame);
  return builder.finish();
}

}  // namespace pyprof
