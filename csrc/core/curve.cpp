#include "core/curve.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/clock.h"
#include "core/echo.h"
#include "core/lag.h"
#include "core/levels.h"
#include "core/lines.h"
#include "core/repeats.h"
#include "core/roll.h"
#include "core/track.h"
#include "core/unfold.h"

namespace pyprof {
namespace {

// The rules and their constants come from simulation with a known truth.
constexpr double kQuietU = 0.4;
constexpr double kLevelU = 0.05;
constexpr double kStepU = 0.2;
constexpr double kMatchedU = 0.02;   // the same where a stage's mark is the step
constexpr double kCoarseU = 4;       // the least of these, x (bracket / interval)^1.5
constexpr double kRepeatedU = 0.05;  // of the highest power of states that were solved
constexpr double kMixedU = 3.2;
constexpr double kDrawnLeast = 0.05;  // of the spread of powers, beside the range that was drawn
constexpr double kMixedLeast = 0.1;
constexpr double kEchoU = 2;    // of the spread: powers that no reading shows may lie so far beyond
constexpr double kBlurU = 1.1;  // two ends' brackets, each with any place as good, to 95 %
constexpr double kWithin = 0.95;     // 95 % of a range in which any place is as good
constexpr double kUnseenU = 1.32;    // half-width per root of the variance of what was not seen
constexpr double kSampleU = 0.5;     // a gauge's edge, in periods x spread
constexpr double kWindowU = 0.3;     // the same where the averaging window is longer
constexpr double kUnfoldedU = 0.03;  // the same where the powers behind it were found
constexpr double kUnvaried = 0.2;    // of the power: a gauge that saw less tells nothing of a beat
constexpr double kShort = 2;         // updates: a shorter stretch is not resolved

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

double squared(double x) { return x * x; }

}  // namespace

const char* cause_name(Cause cause) {
  constexpr const char* kNames[] = {"edges", "quantum", "gaps", "window", "repeats", "model"};
  return kNames[cause];
}

Curve::Curve(const Channel& channel, std::vector<Frame> frames, int64_t start_ns, int64_t end_ns,
             std::span<const int64_t> marks, std::span<const Roll> rolls)
    : track_(
          std::make_unique<Track>(make_track(channel, std::move(frames), rolls, start_ns, end_ns))),
      repeats_(std::make_unique<Repeats>()),
      marks_(marks),
      start_ns_(start_ns),
      end_ns_(std::max(start_ns, end_ns)) {
  unfold(*track_, marks_);
  settle_lag(*track_, rolls.empty());
  hold_to_lines(*track_, marks_);
  find_echoes(*track_, marks_);
  levels_ = std::make_unique<Levels>(*track_, marks_);
  if (!empty()) start_j_ = energy_at(start_ns);
}

void Curve::solve(const States& states) {
  if (empty()) return;
  *repeats_ = solve_repeats(*track_, marks_, states);
  states_ = &states;
  start_j_ = energy_at(start_ns_);
}

Curve::Curve(Curve&&) noexcept = default;
Curve& Curve::operator=(Curve&&) noexcept = default;
Curve::~Curve() = default;

bool Curve::empty() const { return track_->knots.size() < 2; }
double Curve::peak_w() const { return track_->peak_w; }
int64_t Curve::update_period_ns() const { return track_->period_ns; }
int64_t Curve::read_interval_ns() const { return track_->interval_ns; }
const std::vector<CurveEvent>& Curve::events() const { return track_->events; }

static size_t interval_of(const std::vector<Knot>& knots, int64_t t_ns, size_t guess) {
  const size_t last = knots.size() - 2;
  size_t at = std::min(guess, last);
  for (int step = 0; step < 8 && knots[at].t_ns <= t_ns; ++step, ++at) {
    if (at == last || t_ns < knots[at + 1].t_ns) return at;
  }
  const auto after = std::upper_bound(knots.begin(), knots.end(), t_ns,
                                      [](int64_t t, const Knot& knot) { return t < knot.t_ns; });
  const auto index = static_cast<size_t>(after - knots.begin());
  return std::min(index == 0 ? 0 : index - 1, last);
}

// Where the power follows its marks, the time at which the energy up to a mark was used.
int64_t Curve::delayed(int64_t t_ns, size_t guess) const {
  const double lag_s = repeats_->fit.lag_s;
  if (lag_s == 0 || t_ns <= start_ns_ || t_ns >= end_ns_) return t_ns;
  const auto& knots = track_->knots;
  const size_t own = interval_of(knots, t_ns, guess);
  if (!repeats_->describes(own)) return t_ns;
  const int64_t then_ns = t_ns + std::llround(lag_s * 1e9);
  size_t at = own;
  while (at + 2 < knots.size() && then_ns >= knots[at + 1].t_ns) {
    if (!repeats_->describes(at + 1)) return knots[at + 1].t_ns - 1;
    ++at;
  }
  while (at > 0 && then_ns < knots[at].t_ns) {
    if (!repeats_->describes(at - 1)) return knots[at].t_ns;
    --at;
  }
  return then_ns;
}

bool Curve::repeated(int64_t from_ns, int64_t to_ns, Cursor& cursor) const {
  if (!repeats_->solved()) return false;
  const auto& knots = track_->knots;
  cursor.at = interval_of(knots, from_ns, cursor.at);
  for (size_t at = cursor.at; at + 1 < knots.size() && knots[at].t_ns < to_ns; ++at) {
    if (!repeats_->describes(at)) return false;
  }
  return true;
}

// -- one instant ---------------------------------------------------------------------------------

// What the brackets of the interval's two changes leave open at a place within it.
static double blur_at(const Shape& shape, double a, double power_w) {
  const double w = shape.width_s;
  if (shape.matched && shape.corners.size() == 1) {
    const double mark_s = shape.corners[0].into_s;
    const auto between = [](double from, double to, double share) {
      return from + (to - from) * share;
    };
    return a < mark_s ? between(shape.blur_start_j, shape.blur_mark_j, a / mark_s)
                      : between(shape.blur_mark_j, shape.blur_end_j, (a - mark_s) / (w - mark_s));
  }
  const double from_start = shape.half_start_s * (w - a) / w, from_end = shape.half_end_s * a / w;
  const bool straight = shape.kind == Shape::Class::kQuiet || shape.kind == Shape::Class::kLevel ||
                        shape.kind == Shape::Class::kDrawn;
  if (!straight) return power_w * (from_start + from_end);
  return power_w * std::sqrt(squared(from_start) + squared(from_end) +
                             2 * shape.tied * from_start * from_end);
}

// Between the corners of a course that was drawn.
static std::pair<double, double> drawn_doubt(const Shape& shape, double a) {
  Shape::Corner from{0, 0}, to{shape.width_s, shape.energy_j};
  for (const Shape::Corner& corner : shape.corners) {
    if (a >= corner.into_s) from = corner;
    if (a < corner.into_s) {
      to = corner;
      break;
    }
  }
  const double share = (a - from.into_s) / (to.into_s - from.into_s);
  return {from.down_j + (to.down_j - from.down_j) * share,
          from.up_j + (to.up_j - from.up_j) * share};
}

// Widens an edge by what its interval leaves open.
void Curve::bound(Edge& edge, const Shape& shape) const {
  const Track& track = *track_;
  const bool model = track.window_ns < 0;
  const double a = edge.into_s, w = shape.width_s, e = shape.energy_j, power = e / w;
  const double rest = w - a;
  const double most_s = model ? std::min(w, seconds(track.interval_ns)) : w;
  const double h = std::min(a * rest / w, most_s / 4);
  const double value = edge.energy_j - (shape.before_j - start_j_);
  const double limit = std::max(track.limit_w, power);
  const double low = std::max(0.0, e - limit * rest), high = std::min(limit * a, e);
  double down = 0, up = 0, hard_down = value - low, hard_up = high - value;
  const double half = std::max(shape.half_start_s, shape.half_end_s);
  const double coarse = kCoarseU * std::pow(std::min(2 * half / w, 1.0), 1.5);
  const double step_u = shape.matched ? kMatchedU : kStepU;
  // A lag holds back what the power has changed by, half of it at each end of a stretch at most.
  const double lag_j = track.lag_s * (track.high_w - track.low_w) / 2;
  switch (shape.kind) {
    case Shape::Class::kQuiet:
      down = up = (std::max(kQuietU, coarse) * shape.spread_w + 2 * shape.varies_w) * h;
      break;
    case Shape::Class::kLevel:
      down = up = std::max(std::max(kLevelU, coarse) * shape.spread_w, 2 * shape.varies_w) * h;
      break;
    case Shape::Class::kStep:
      down = up = std::max(step_u, coarse) * shape.spread_w * h + shape.torn_j;
      break;
    case Shape::Class::kMixed: {
      const double most = std::max(track.most_w, shape.most_w);
      const double lo = std::max(track.least_w * a, e - most * rest);
      const double hi = std::min(most * a, e - track.least_w * rest);
      const double cap =
          (kMixedU + coarse) * std::max(shape.spread_w, kMixedLeast * shape.most_w) * h;
      down = std::clamp(kWithin * (value - lo), 0.0, cap);
      up = std::clamp(kWithin * (hi - value), 0.0, cap);
      break;
    }
    case Shape::Class::kDrawn: {
      const auto [drawn_down, drawn_up] = drawn_doubt(shape, a);
      const double least = std::max(kDrawnLeast, coarse) * shape.spread_w * h;
      down = std::hypot(drawn_down, least);
      up = std::hypot(drawn_up, least);
      break;
    }
    case Shape::Class::kEcho: {
      // The same each time, so no run tells it: any course of powers the device may have taken.
      const double beyond_w = kEchoU * shape.spread_w;
      const double least = shape.bland ? 0 : std::max(shape.least_w - beyond_w, 0.0);
      const double most = shape.bland ? limit : std::min(shape.most_w + beyond_w, limit);
      const double lo = std::max(least * a, e - most * rest);
      const double hi = std::min(most * a, e - least * rest);
      down = kWithin * std::max(value - lo, 0.0);
      up = kWithin * std::max(hi - value, 0.0);
      break;
    }
    case Shape::Class::kBridged:
      down = kWithin * hard_down;
      up = kWithin * hard_up;
      break;
    case Shape::Class::kBeyond: {
      // Known at one end only: the further from it, the less.
      const bool front = shape.interval == 0;
      const double away = front ? rest : a;
      down = std::max(power - track.low_w, 0.0) * away;
      up = std::max(track.high_w - power, 0.0) * away;
      hard_down = power * away;
      hard_up = std::max(limit - power, 0.0) * away;
      if (front) {
        std::swap(down, up);
        std::swap(hard_down, hard_up);
      }
      break;
    }
    case Shape::Class::kRepeated:
      down = up = kRepeatedU * shape.spread_w * h + repeats_->fit.noise * e;
      break;
    case Shape::Class::kUnfolded: {
      // What a lag hides is found without the course between two readings.
      const double between_s = track.lag_s > 0 ? kSampleU * seconds(track.period_ns) : 0;
      const double hidden_s = seconds(track.window_ns) * kUnfoldedU + between_s;
      down = up = hidden_s * shape.spread_w + kUnfoldedU * lag_j;
      hard_down = hard_up = (seconds(track.window_ns) + between_s + track.lag_s) * limit;
      break;
    }
    case Shape::Class::kRamp: {
      const double period_s = seconds(track.period_ns), window_s = seconds(track.window_ns);
      const double reach =
          window_s > period_s ? kWindowU * window_s : kSampleU * std::max(period_s, 1e-9);
      down = up = reach * shape.spread_w + lag_j;
      hard_down = hard_up = (std::max(window_s, period_s) + track.lag_s) * limit;
      break;
    }
  }
  // A counter's change that is misplaced takes its energy along, a power only what differs.
  const double blur_j = kBlurU * blur_at(shape, a, model ? shape.spread_w : shape.most_w);
  if (model && shape.spread_w == 0) hard_down = hard_up = 0;
  edge.down_j = static_cast<float>(down);
  edge.up_j = static_cast<float>(up);
  edge.hard_down_j = static_cast<float>(hard_down);
  edge.hard_up_j = static_cast<float>(hard_up);
  edge.blur_j = static_cast<float>(std::sqrt(squared(blur_j) + squared(track.quantum_j)));
}

static double lost_at(const std::vector<Blank>& blanks, int64_t t_ns, size_t& at) {
  if (blanks.empty()) return 0;
  if (at >= blanks.size() || blanks[at].from_ns > t_ns) at = 0;
  while (at + 1 < blanks.size() && blanks[at + 1].from_ns <= t_ns) ++at;
  const Blank& blank = blanks[at];
  if (t_ns <= blank.from_ns) return blank.before_j;
  const int64_t into = std::min(t_ns, blank.to_ns) - blank.from_ns;
  return blank.before_j + blank.lost_j * seconds(into) / seconds(blank.to_ns - blank.from_ns);
}

Edge Curve::edge(int64_t t_ns, Cursor& cursor) const {
  if (empty()) return {};
  t_ns = delayed(std::clamp(t_ns, start_ns_, end_ns_), cursor.at);
  cursor.at = interval_of(track_->knots, t_ns, cursor.at);
  if (cursor.shape.interval != cursor.at) cursor.shape = shape(cursor.at);
  const Shape& shape = cursor.shape;
  const double into = std::clamp(seconds(t_ns - shape.start_ns), 0.0, shape.width_s);
  Edge edge;
  edge.interval = shape.interval;
  edge.echo = shape.kind == Shape::Class::kEcho;
  edge.into_s = static_cast<float>(into);
  edge.energy_j = shape.before_j - start_j_ + shape.at(into);
  edge.lost_j = lost_at(track_->blanks, t_ns, cursor.blank);
  bound(edge, shape);
  return edge;
}

double Curve::energy_at(int64_t t_ns) const {
  const size_t interval = interval_of(track_->knots, t_ns, 0);
  const Shape found = shape(interval);
  return found.before_j + found.at(seconds(t_ns - found.start_ns));
}

Estimate Curve::at(int64_t t_ns, Cursor& cursor) const {
  const Edge found = edge(t_ns, cursor);
  const double blur2 = squared(found.blur_j);
  return {found.energy_j, std::sqrt(squared(found.down_j) + blur2),
          std::sqrt(squared(found.up_j) + blur2) + found.lost_j};
}

// -- stretches -----------------------------------------------------------------------------------

double Curve::variance_at(const Edge& edge) const {
  const auto& sums = track_->variance_j2;
  const auto& knots = track_->knots;
  const double width_s = seconds(knots[edge.interval + 1].t_ns - knots[edge.interval].t_ns);
  const double step = sums[edge.interval + 1] - sums[edge.interval];
  return sums[edge.interval] + step * edge.into_s / width_s;
}

// Of two edges, squared. Within one interval, and in means over time, what is inside at one edge is
// missing at the other, and in a loop in step the same happens at both; else half of it has a
// common cause, the powers that the run takes.
static double doubt(double one_j, double other_j, bool common) {
  return squared(one_j) + squared(other_j) + (common ? 2 : 1) * one_j * other_j;
}

Stretch Curve::stretch(const Edge& from, const Edge& to, double duration_s) const {
  const Track& track = *track_;
  Stretch result;
  result.energy_j = to.energy_j - from.energy_j;
  result.lost_j = to.lost_j - from.lost_j;
  if (!track.variance_j2.empty()) {
    result.variance_j2 = std::max(variance_at(to) - variance_at(from), 0.0);
  }
  const bool same = from.interval == to.interval;
  const bool common = same || !(track.quantum_j > 0) || from.echo || to.echo;
  // Where a peak lies within an interval is all or nothing, so the doubts of two edges add; the
  // changes' own brackets do not, but within one interval.
  const bool hard = duration_s < kShort * seconds(std::max(track.period_ns, track.interval_ns));
  const double blur = double{from.blur_j} + to.blur_j;
  const double quantum_j = track.step_w * duration_s;  // a reading's own, all to one side
  result.quantum_j = quantum_j + std::sqrt(2.0) * track.quantum_j;
  if (!hard) {
    const double blur_j = same ? blur : std::hypot(from.blur_j, to.blur_j);
    result.down_j = std::sqrt(doubt(to.down_j, from.up_j, common) + squared(blur_j)) + quantum_j;
    result.up_j = std::sqrt(doubt(to.up_j, from.down_j, common) + squared(blur_j)) + quantum_j;
    return result;
  }
  // Too short to be seen: any power that the device can reach, as far as the readings allow it.
  result.down_j = to.hard_down_j + from.hard_up_j + blur;
  result.up_j = to.hard_up_j + from.hard_down_j + blur;
  const Knot& knot = track.knots[from.interval];
  if (same && (knot.kind == Knot::Kind::kPlain || knot.kind == Knot::Kind::kBridged)) {
    const Knot& next = track.knots[from.interval + 1];
    const double rest_s = std::max(seconds(next.t_ns - knot.t_ns) - duration_s, 0.0);
    const double all_j = next.energy_j - knot.energy_j;
    const double low = std::max(0.0, all_j - track.limit_w * rest_s);
    result.down_j = std::min(result.down_j, std::max(result.energy_j - low, 0.0) + blur);
    result.up_j = std::min(result.up_j, all_j - result.energy_j + blur);
  }
  const double room_j = std::max(track.limit_w * duration_s - result.energy_j, 0.0);
  result.down_j = std::min(result.down_j, std::max(result.energy_j, 0.0));
  result.up_j = std::min(result.up_j, std::max<double>(room_j, 0));
  return result;
}

Estimate Curve::settle(const Stretch& sum, double duration_s) const {
  const double unseen_j = kUnseenU * std::sqrt(sum.variance_j2);
  const double down = std::hypot(sum.down_j, unseen_j);
  double up = std::hypot(sum.up_j, unseen_j) + sum.lost_j;
  // A limit that the energy itself exceeds is not the device's.
  const double room_j = track_->limit_w * duration_s - sum.energy_j;
  if (room_j > 0) up = std::min(up, room_j);
  Estimate estimate{sum.energy_j, std::clamp(down, 0.0, std::max(sum.energy_j, 0.0)),
                    std::max(up, 0.0)};
  const double edges_j = (sum.down_j + sum.up_j) / 2;
  const bool averages = track_->window_ns > track_->period_ns;
  estimate.causes[kQuantum] = std::min(sum.quantum_j, edges_j);
  estimate.causes[averages ? kWindow : kEdges] =
      std::sqrt(squared(edges_j) - squared(estimate.causes[kQuantum]));
  if (!averages) estimate.causes[kWindow] = unseen_j;
  estimate.causes[kGaps] = std::max(up - std::hypot(sum.up_j, unseen_j), 0.0) / 2;
  return estimate;
}

Estimate Curve::between(int64_t from_ns, int64_t to_ns) const {
  if (empty()) return {kUnknown, kUnknown, kUnknown};
  const double duration_s =
      seconds(std::clamp(to_ns, start_ns_, end_ns_) - std::clamp(from_ns, start_ns_, end_ns_));
  Cursor cursor;
  const Edge from = edge(from_ns, cursor);
  const Edge to = edge(to_ns, cursor);
  return settle(stretch(from, to, duration_s), duration_s);
}

double Curve::window_s() const {
  return track_->step_w > 0 && track_->window_ns >= 0 ? seconds(track_->window_ns) : -1;
}

void Curve::blind(Estimate& estimate, double duration_s, double blind_s) const {
  if (!(duration_s > 0)) return;
  const double mean_w = estimate.energy_j / duration_s;
  double low_w = std::min(track_->low_w, mean_w), high_w = std::max(track_->high_w, mean_w);
  if (high_w - low_w < kUnvaried * mean_w) {
    low_w = 0;
    high_w = std::max(track_->limit_w, mean_w);
  }
  const double down_j = (mean_w - low_w) * blind_s, up_j = (high_w - mean_w) * blind_s;
  estimate.down_j = std::min(std::hypot(estimate.down_j, down_j), std::max(estimate.energy_j, 0.0));
  estimate.up_j = std::hypot(estimate.up_j, up_j);
  estimate.causes[kWindow] = std::hypot(estimate.causes[kWindow], (down_j + up_j) / 2);
}

// -- covered time --------------------------------------------------------------------------------

static int64_t uncovered_until(const std::vector<Blank>& blanks, int64_t t_ns) {
  const auto after =
      std::upper_bound(blanks.begin(), blanks.end(), t_ns,
                       [](int64_t t, const Blank& blank) { return t < blank.from_ns; });
  if (after == blanks.begin()) return 0;
  const Blank& blank = *(after - 1);
  return blank.before_ns + (blank.covered ? 0 : std::min(t_ns, blank.to_ns) - blank.from_ns);
}

double Curve::coverage(int64_t from_ns, int64_t to_ns) const {
  if (empty() || to_ns <= from_ns) return kUnknown;
  const int64_t missing =
      uncovered_until(track_->blanks, to_ns) - uncovered_until(track_->blanks, from_ns);
  return 1 - seconds(missing) / seconds(to_ns - from_ns);
}

double Curve::mean_w(int64_t from_ns, int64_t to_ns) const {
  const double covered_s = coverage(from_ns, to_ns) * seconds(to_ns - from_ns);
  if (!(covered_s > 1e-9)) return kUnknown;
  Cursor cursor;
  double sum_j = 0;
  int64_t at_ns = from_ns;
  const auto take_until = [&](int64_t until_ns) {
    if (until_ns <= at_ns) return;
    const double before_j = edge(at_ns, cursor).energy_j;
    sum_j += edge(until_ns, cursor).energy_j - before_j;
  };
  for (const Blank& blank : track_->blanks) {
    if (blank.covered || blank.to_ns <= at_ns) continue;
    if (blank.from_ns >= to_ns) break;
    take_until(blank.from_ns);
    at_ns = std::max(at_ns, blank.to_ns);
  }
  take_until(to_ns);
  return sum_j / covered_s;
}

}  // namespace pyprof
