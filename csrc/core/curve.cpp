#include "core/curve.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/clock.h"
#include "core/deconvolve.h"
#include "core/repeats.h"
#include "core/roll.h"
#include "core/track.h"
#include "core/unfold.h"

namespace pyprof {
namespace {

// The rules and their constants come from simulation with a known truth.
constexpr double kLevel = 0.02;       // powers closer than this are one level
constexpr double kBeyondBoth = 0.06;  // a peak or dip stands out by this much
constexpr double kFineBracket = 0.3;  // of the interval: wider brackets allow a straight line only
constexpr double kMarkReach = 2.5;    // brackets between a step's place and the mark that made it
constexpr double kClearly = 1.5;      // so many times as well explains a power clearly better
constexpr double kQuietU = 0.4;
constexpr double kLevelU = 0.05;
constexpr double kStepU = 0.2;
constexpr double kMatchedU = 0.05;    // the same where a stage's mark is the step
constexpr double kMatchedBlur = 1.3;  // the powers beside it are known through brackets, too
constexpr double kCoarseU = 4;        // the least of these, x (bracket / interval)^1.5
constexpr double kRepeatedU = 0.05;   // of the highest power of states that were solved
constexpr double kMixedU = 3.2;
constexpr double kMixedLeast = 0.1;
constexpr double kBlurU = 1.1;         // two ends' brackets, each with any place as good, to 95 %
constexpr double kWithin = 0.95;       // 95 % of a range in which any place is as good
constexpr double kUnseenU = 1.32;      // half-width per root of the variance of what was not seen
constexpr double kSampleU = 0.5;       // a gauge's edge, in periods x spread
constexpr double kWindowU = 0.3;       // the same where the averaging window is longer
constexpr double kUnfoldedU = 0.03;    // the same where the powers behind it were found
constexpr double kWindowLeast = 0.15;  // of the power: what such a window may have levelled out
constexpr double kUnvaried = 0.2;  // of the power: a gauge that saw less tells nothing of a beat
constexpr size_t kMostShares = 8;  // marks in one interval: with more of them any course is likely
constexpr double kShort = 2;       // updates: a shorter stretch is not resolved

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

bool has_power(const Knot& knot) {
  return knot.kind == Knot::Kind::kPlain || knot.kind == Knot::Kind::kRamp ||
         knot.kind == Knot::Kind::kBridged;
}

double squared(double x) { return x * x; }

}  // namespace

const char* cause_name(Cause cause) {
  constexpr const char* kNames[] = {"edges", "quantum", "gaps", "window", "repeats", "model"};
  return kNames[cause];
}

double Shape::at(double into_s) const {
  if (into_s <= 0) return 0;
  if (into_s >= width_s) return energy_j;
  if (kind == Class::kRamp) return into_s * (start_w + 0.5 * slope_w * into_s / width_s);
  double from_s = 0, from_j = 0, to_s = width_s, to_j = energy_j;
  for (const Corner& corner : corners) {
    if (into_s >= corner.into_s) {
      from_s = corner.into_s;
      from_j = corner.energy_j;
    } else {
      to_s = corner.into_s;
      to_j = corner.energy_j;
      break;
    }
  }
  return from_j + (to_j - from_j) * (into_s - from_s) / (to_s - from_s);
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

// -- one interval --------------------------------------------------------------------------------

// Powers of the interval and of two on each side, as far as they are known without a break.
struct Around {
  double power_w[5] = {};
  double noise_w[5] = {};  // what the brackets of its two changes may make of a power
  int from = 2, to = 2;    // inclusive
  bool has(int offset) const { return from <= 2 + offset && 2 + offset <= to; }
  double at(int offset) const { return power_w[2 + offset]; }
  bool alike(int a, int b) const {
    return std::abs(at(a) - at(b)) < noise_w[2 + a] + noise_w[2 + b];
  }
};

static Around look_around(const std::vector<Knot>& knots, size_t interval) {
  Around around;
  const auto take = [&](size_t i, int place) {
    const double width_s = seconds(knots[i + 1].t_ns - knots[i].t_ns);
    const double power_w = (knots[i + 1].energy_j - knots[i].energy_j) / width_s;
    around.power_w[place] = power_w;
    around.noise_w[place] = power_w * (knots[i].half_s + knots[i + 1].half_s) / width_s;
  };
  take(interval, 2);
  for (size_t i = interval; around.from > 0 && i > 0 && has_power(knots[i - 1]); --i) {
    take(i - 1, --around.from);
  }
  for (size_t i = interval + 1; around.to < 4 && i + 1 < knots.size() && has_power(knots[i]); ++i) {
    take(i, ++around.to);
  }
  return around;
}

// Where within one interval the power changed: at most one step, or a peak or dip between marks.
void Curve::bend(Shape& shape) const {
  const Around around = look_around(track_->knots, shape.interval);
  const double half = std::max(shape.half_start_s, shape.half_end_s);
  const double w = shape.width_s, e = shape.energy_j;
  if (!around.has(-1) || !around.has(1) || 2 * half >= kFineBracket * w) return;
  const double left = around.at(-1), power = around.at(0), right = around.at(1);
  const auto first = std::upper_bound(marks_.begin(), marks_.end(), shape.start_ns);
  const auto last = std::lower_bound(first, marks_.end(), shape.end_ns);
  const auto into = [&](auto mark) { return seconds(*mark - shape.start_ns); };
  const auto turn = [&](double at_s, double at_j) {
    if (!(at_s > 0 && at_s < w && at_j >= 0 && at_j <= e)) return;
    shape.corners.push_back({at_s, at_j});
  };

  if (std::abs(left - right) > kLevel * power && (power - left) * (power - right) <= 0) {
    // One step explains the interval; its place follows from the energy.
    double at_s = (e - right * w) / (left - right);
    if (first != last) {
      const int64_t place_ns = shape.start_ns + std::llround(at_s * 1e9);
      auto mark = std::lower_bound(first, last, place_ns);
      if (mark == last || (mark != first && place_ns - *(mark - 1) < *mark - place_ns)) --mark;
      const double reach =
          kMarkReach * half * std::max({left, power, right}) / std::abs(left - right);
      if (std::abs(at_s - into(mark)) <= reach) {
        // The mark is that step. Its own place has no error, so what two sides say of it differs by
        // the stamps' errors: the side that is known better counts more.
        at_s = into(mark);
        const double rest_s = w - at_s;
        const double before = squared(left * shape.half_start_s * (1 + at_s / w));
        const double after = squared(right * shape.half_end_s * (1 + rest_s / w));
        const double both = before + after, share = both > 0 ? after / both : 0.5;
        shape.matched = true;
        shape.blur_start_j = left * shape.half_start_s;
        shape.blur_mark_j = both > 0 ? kMatchedBlur * std::sqrt(before * after / both) : 0;
        shape.blur_end_j = right * shape.half_end_s;
        turn(at_s, share * left * at_s + (1 - share) * (e - right * rest_s));
        return;
      }
    }
    turn(at_s, left * at_s);
    return;
  }
  const bool peak = power > (1 + kBeyondBoth) * std::max(left, right);
  const bool dip = power < (1 - kBeyondBoth) * std::min(left, right);
  if (first == last || !(peak || dip)) return;
  const auto plausible = [&](double power_w) {
    return power_w >= track_->low_w && power_w <= track_->high_w;
  };
  const double a = into(first), z = into(last - 1);
  if (z - a > std::max(2 * half, kLevel * w)) {
    const double inner_j = e - left * a - right * (w - z);
    if (!plausible(inner_j / (z - a))) return;
    turn(a, left * a);
    turn(z, e - right * (w - z));
    if (shape.corners.size() == 2 && shape.corners[1].energy_j < shape.corners[0].energy_j) {
      shape.corners.clear();
    }
    return;
  }
  // A peak or dip begins or ends here: before the mark as in the interval before, or after it as
  // in the one after.
  const double before_j = left * a, after_j = e - right * (w - a);
  const bool before_ok = plausible((e - before_j) / (w - a)), after_ok = plausible(after_j / a);
  if (before_ok && after_ok) {
    turn(a, (before_j * a + after_j * (w - a)) / w);
  } else if (before_ok) {
    turn(a, before_j);
  } else if (after_ok) {
    turn(a, after_j);
  }
}

// The same where the neighbours are not settled and a mark lies within: all that is near counts.
bool Curve::sharpen(Shape& shape) const {
  const double half = std::max(shape.half_start_s, shape.half_end_s);
  if (2 * half >= kFineBracket * shape.width_s) return false;
  const auto mark = std::upper_bound(marks_.begin(), marks_.end(), shape.start_ns);
  if (mark == marks_.end() || *mark >= shape.end_ns) return false;
  const auto& knots = track_->knots;
  size_t from = shape.interval, to = from + 1;
  for (int i = 0; i < 3 && from > 0 && knots[from - 1].kind == Knot::Kind::kPlain; ++i) --from;
  for (int i = 0; i < 3 && to + 1 < knots.size() && knots[to].kind == Knot::Kind::kPlain; ++i) ++to;
  Window window;
  for (size_t i = from; i <= to; ++i) {
    window.t_ns[window.count] = knots[i].t_ns;
    window.energy_j[window.count] = knots[i].energy_j;
    window.half_s[window.count++] = knots[i].half_s;
  }
  window.wanted = shape.interval - from;
  window.quantum_j = track_->quantum_j;
  window.limit_w = std::max(track_->limit_w, shape.most_w);
  Course course;
  if (!deconvolve(window, marks_, course)) return false;
  double energy_j = 0;
  shape.corners.clear();
  for (size_t i = 0; i + 1 < Course::kCells; ++i) {
    energy_j += course.power_w[i] * (course.border_s[i + 1] - course.border_s[i]);
    shape.corners.push_back({course.border_s[i + 1], energy_j});
  }
  return true;
}

// The power is that of one neighbour, and the other one holds the step that leads to it. Whatever
// marks lie in the interval, `shares` of it: none of them explains the power as well.
static bool is_level(const Around& around, std::span<const double> shares) {
  const double p = around.at(0);
  const auto level = [&](int like, int other) {
    if (!around.alike(0, like)) return false;
    const double through = around.at(other), from = around.at(2 * other);
    double to = around.at(like);
    if (around.alike(like, 2 * like)) to = 0.5 * (to + around.at(2 * like));
    const bool settled = around.alike(0, other) || around.alike(other, 2 * other);
    if (!settled && (through - p) * (through - from) > 0) return false;
    return std::all_of(shares.begin(), shares.end(), [&](double share) {
      const double before = other < 0 ? share : 1 - share;
      return kClearly * std::abs(p - to) <= std::abs(p - (from * before + to * (1 - before)));
    });
  };
  return level(-1, 1) || level(1, -1);
}

Shape::Class Curve::classify(const Around& around, const Shape& shape) const {
  if (shape.spread_w < 2 * *std::max_element(around.noise_w, around.noise_w + 5)) {
    return Shape::Class::kQuiet;
  }
  if (around.from > 0 || around.to < 4) return Shape::Class::kMixed;
  double shares[kMostShares];
  size_t count = 0;
  auto mark = std::upper_bound(marks_.begin(), marks_.end(), shape.start_ns);
  for (; mark != marks_.end() && *mark < shape.end_ns && count < kMostShares; ++mark) {
    shares[count++] = seconds(*mark - shape.start_ns) / shape.width_s;
  }
  if (count < kMostShares && is_level(around, std::span(shares, count))) {
    return Shape::Class::kLevel;
  }
  const double p = around.at(0), left = around.at(-1), right = around.at(1);
  const bool between = (p - left) * (p - right) <= 0;
  const bool settled = around.alike(-2, -1) && around.alike(2, 1);
  return between && settled ? Shape::Class::kStep : Shape::Class::kMixed;
}

// A gauge that averages over more than its period: how far its values differ within one window.
static double spread_in_window(const Track& track, size_t interval) {
  const auto& knots = track.knots;
  float low = knots[interval].power_w, high = low;
  const auto take = [&](size_t i) {
    low = std::min(low, knots[i].power_w);
    high = std::max(high, knots[i].power_w);
  };
  const int64_t from_ns = knots[interval].t_ns - track.window_ns;
  const int64_t to_ns = knots[interval + 1].t_ns + track.window_ns;
  constexpr size_t kMost = 64;  // on each side
  for (size_t i = interval, n = 0; i > 0 && n < kMost && knots[i].t_ns > from_ns; ++n) take(--i);
  for (size_t i = interval, n = 0; i + 1 < knots.size() && n < kMost && knots[i].t_ns < to_ns; ++n)
    take(++i);
  return double{high} - low;
}

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

static bool covered(const Repeats& repeats, size_t interval) {
  return interval < repeats.covers.size() && repeats.covers[interval];
}

// The powers of the states that were solved, and for states that were not what is left of the
// energy.
void Curve::repeat(Shape& shape) const {
  shape.kind = Shape::Class::kRepeated;
  const auto lag_ns = static_cast<int64_t>(std::llround(repeats_->fit.lag_s * 1e9));
  const auto begin = std::upper_bound(marks_.begin(), marks_.end(), shape.start_ns - lag_ns);
  auto slice = static_cast<size_t>(begin - marks_.begin());
  slice -= slice > 0;
  double known_j = 0, unknown_s = 0, at_s = 0;
  std::vector<double> powers;
  for (; at_s < shape.width_s && slice < states_->of.size(); ++slice) {
    const double to_s =
        std::clamp(seconds(marks_[slice + 1] + lag_ns - shape.start_ns), at_s, shape.width_s);
    const uint32_t place = repeats_->place_of[states_->of[slice]];
    const double power_w = place == Repeats::kNone ? kUnknown : repeats_->fit.power_w[place];
    (std::isnan(power_w) ? unknown_s : known_j) +=
        (to_s - at_s) * (std::isnan(power_w) ? 1 : power_w);
    powers.push_back(power_w);
    shape.corners.push_back({to_s, 0});
    at_s = to_s;
  }
  const double left_w = unknown_s > 0 ? std::max(shape.energy_j - known_j, 0.0) / unknown_s : 0;
  const double all_j = known_j + left_w * unknown_s;
  if (!(all_j > 0)) {
    shape.corners.clear();
    return;
  }
  double from_s = 0, sum_j = 0;
  for (size_t i = 0; i < powers.size(); ++i) {
    const double power_w = std::isnan(powers[i]) ? left_w : powers[i];
    sum_j += power_w * (shape.corners[i].into_s - from_s);
    from_s = shape.corners[i].into_s;
    shape.corners[i].energy_j = shape.energy_j * std::min(sum_j / all_j, 1.0);
    shape.spread_w = std::max(shape.spread_w, power_w);
  }
}

// Where the power follows its marks, the time at which the energy up to a mark was used.
int64_t Curve::delayed(int64_t t_ns, size_t guess) const {
  const double lag_s = repeats_->fit.lag_s;
  if (lag_s == 0 || t_ns <= start_ns_ || t_ns >= end_ns_) return t_ns;
  const auto& knots = track_->knots;
  const size_t own = interval_of(knots, t_ns, guess);
  if (!covered(*repeats_, own)) return t_ns;
  const int64_t then_ns = t_ns + std::llround(lag_s * 1e9);
  size_t at = own;
  while (at + 2 < knots.size() && then_ns >= knots[at + 1].t_ns) {
    if (!covered(*repeats_, at + 1)) return knots[at + 1].t_ns - 1;
    ++at;
  }
  while (at > 0 && then_ns < knots[at].t_ns) {
    if (!covered(*repeats_, at - 1)) return knots[at].t_ns;
    --at;
  }
  return then_ns;
}

bool Curve::repeated(int64_t from_ns, int64_t to_ns, Cursor& cursor) const {
  if (!repeats_->solved()) return false;
  const auto& knots = track_->knots;
  cursor.at = interval_of(knots, from_ns, cursor.at);
  for (size_t at = cursor.at; at + 1 < knots.size() && knots[at].t_ns < to_ns; ++at) {
    if (!covered(*repeats_, at)) return false;
  }
  return true;
}

Shape Curve::shape(size_t interval) const {
  const auto& knots = track_->knots;
  const Knot& from = knots[interval];
  const Knot& to = knots[interval + 1];
  Shape shape;
  shape.interval = static_cast<uint32_t>(interval);
  shape.start_ns = from.t_ns;
  shape.end_ns = to.t_ns;
  shape.width_s = seconds(to.t_ns - from.t_ns);
  shape.before_j = from.energy_j;
  shape.energy_j = to.energy_j - from.energy_j;
  shape.half_start_s = from.half_s;
  shape.half_end_s = to.half_s;
  const Around around = look_around(knots, interval);
  const auto [low, high] =
      std::minmax_element(around.power_w + around.from, around.power_w + around.to + 1);
  shape.spread_w = *high - *low;
  shape.most_w = around.at(0);
  if (around.has(-1)) shape.most_w = std::max(shape.most_w, around.at(-1));
  if (around.has(1)) shape.most_w = std::max(shape.most_w, around.at(1));
  switch (from.kind) {
    case Knot::Kind::kBeyond:
      shape.kind = Shape::Class::kBeyond;
      return shape;
    case Knot::Kind::kBridged:
    case Knot::Kind::kFlat:
      shape.kind = Shape::Class::kBridged;
      return shape;
    case Knot::Kind::kUnfolded:
      shape.kind = Shape::Class::kUnfolded;
      shape.spread_w = spread_in_window(*track_, interval);
      return shape;
    case Knot::Kind::kRamp:
      shape.kind = Shape::Class::kRamp;
      shape.start_w = from.power_w;
      shape.slope_w = double{to.power_w} - from.power_w;
      if (track_->window_ns > track_->period_ns) {
        shape.spread_w = std::max(spread_in_window(*track_, interval), kWindowLeast * shape.most_w);
      }
      return shape;
    case Knot::Kind::kPlain:
      break;
  }
  if (covered(*repeats_, interval)) {
    repeat(shape);
    return shape;
  }
  // A mean that many readings gave again and again runs straight.
  if (track_->window_ns < 0 && to.t_ns - from.t_ns > 2 * track_->interval_ns) return shape;
  shape.kind = classify(around, shape);
  if (shape.kind == Shape::Class::kQuiet || shape.kind == Shape::Class::kLevel) return shape;
  if (shape.kind != Shape::Class::kMixed || !sharpen(shape)) bend(shape);
  return shape;
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
  const bool straight = shape.kind == Shape::Class::kQuiet || shape.kind == Shape::Class::kLevel;
  return power_w * (straight ? std::hypot(from_start, from_end) : from_start + from_end);
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
  switch (shape.kind) {
    case Shape::Class::kQuiet:
      down = up = std::max(kQuietU, coarse) * shape.spread_w * h;
      break;
    case Shape::Class::kLevel:
      down = up = std::max(kLevelU, coarse) * shape.spread_w * h;
      break;
    case Shape::Class::kStep:
      down = up = std::max(step_u, coarse) * shape.spread_w * h;
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
    case Shape::Class::kUnfolded:
      down = up = seconds(track.window_ns) * kUnfoldedU * shape.spread_w;
      hard_down = hard_up = seconds(track.window_ns) * limit;
      break;
    case Shape::Class::kRamp: {
      const double period_s = seconds(track.period_ns), window_s = seconds(track.window_ns);
      const double reach =
          window_s > period_s ? kWindowU * window_s : kSampleU * std::max(period_s, 1e-9);
      down = up = reach * shape.spread_w;
      hard_down = hard_up = std::max(window_s, period_s) * limit;
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

Stretch Curve::stretch(const Edge& from, const Edge& to, double duration_s) const {
  const Track& track = *track_;
  Stretch result;
  result.energy_j = to.energy_j - from.energy_j;
  result.lost_j = to.lost_j - from.lost_j;
  if (!track.variance_j2.empty()) {
    result.variance_j2 = std::max(variance_at(to) - variance_at(from), 0.0);
  }
  const bool same = from.interval == to.interval;
  // Where a peak lies within an interval is all or nothing, so the doubts of two edges add; the
  // changes' own brackets do not, but within one interval.
  const bool hard = duration_s < kShort * seconds(std::max(track.period_ns, track.interval_ns));
  const double blur = double{from.blur_j} + to.blur_j;
  const double quantum_j = track.step_w * duration_s;  // a reading's own, all to one side
  result.quantum_j = quantum_j + std::sqrt(2.0) * track.quantum_j;
  if (!hard) {
    const double blur_j = same ? blur : std::hypot(from.blur_j, to.blur_j);
    result.down_j = std::hypot(double{to.down_j} + from.up_j, blur_j) + quantum_j;
    result.up_j = std::hypot(double{to.up_j} + from.down_j, blur_j) + quantum_j;
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
