// How the energy runs within one interval between two changes.
#include <algorithm>
#include <cmath>

#include "core/curve.h"
#include "core/levels.h"
#include "core/repeats.h"
#include "core/track.h"

namespace pyprof {
namespace {

// The rules and their constants come from simulation with a known truth.
constexpr double kLevel = 0.02;        // powers closer than this are one level
constexpr double kBeyondBoth = 0.06;   // a peak or dip stands out by this much
constexpr double kFineBracket = 0.3;   // of the interval: wider brackets allow a straight line only
constexpr double kPlaceError = 0.75;   // standard error of a step's place, in half brackets
constexpr size_t kMostTried = 500;     // steps that tell how many marks are changes
constexpr double kSure = 0.9;          // of a mark that it is the step, or that it is not
constexpr double kClearly = 1.5;       // so many times as well explains a power clearly better
constexpr double kMatchedBlur = 0.85;  // the powers beside it are known through brackets, too
constexpr double kWindowLeast = 0.15;  // of the power: what such a window may have levelled out
constexpr double kHidden = 2.75;       // changes at marks that pass for none are the smaller ones
constexpr double kOften = 0.5;         // changes in an interval with a mark
constexpr size_t kMostShares = 8;  // marks in one interval: with more of them any course is likely

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

bool has_power(const Knot& knot) {
  return knot.kind == Knot::Kind::kPlain || knot.kind == Knot::Kind::kRamp ||
         knot.kind == Knot::Kind::kBridged;
}

double squared(double x) { return x * x; }

}  // namespace

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

// Powers of the interval and of two on each side, as far as they are known without a break.
struct Around {
  double power_w[5] = {};
  double noise_w[5] = {};  // what brackets of its two changes may make of a power that lasts
  int from = 2, to = 2;    // inclusive
  bool has(int offset) const { return from <= 2 + offset && 2 + offset <= to; }
  double at(int offset) const { return power_w[2 + offset]; }
  // The power of a neighbour, and of the one behind it where they share it.
  double level(int offset) const {
    return has(2 * offset) && alike(offset, 2 * offset) ? 0.5 * (at(offset) + at(2 * offset))
                                                        : at(offset);
  }
  bool alike(int a, int b) const {
    return std::abs(at(a) - at(b)) < noise_w[2 + a] + noise_w[2 + b];
  }
};

static Around look_around(const Track& track, size_t interval) {
  const auto& knots = track.knots;
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

// What is known of an interval before anything is told of its course.
static std::pair<Shape, Around> plain_shape(const Track& track, size_t interval) {
  const auto& knots = track.knots;
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
  shape.tied = from.tied / 255.0;
  const Around around = look_around(track, interval);
  const auto [low, high] =
      std::minmax_element(around.power_w + around.from, around.power_w + around.to + 1);
  shape.spread_w = *high - *low;
  shape.least_w = *low;
  const double varies = track.flicker.variance(around.at(0)) + kHidden * track.kink;
  shape.varies_w = around.at(0) * std::sqrt(varies);
  shape.most_w = around.at(0);
  if (around.has(-1)) shape.most_w = std::max(shape.most_w, around.at(-1));
  if (around.has(1)) shape.most_w = std::max(shape.most_w, around.at(1));
  return {shape, around};
}

// One step explains the interval: its place follows from the energy. The nearest mark may be it.
Curve::Step Curve::find_step(const Shape& shape, double left_w, double right_w) const {
  const double w = shape.width_s, between_w = std::abs(left_w - right_w);
  Step step;
  step.at_s = std::clamp((shape.energy_j - right_w * w) / (left_w - right_w), 0.0, w);
  const auto first = std::upper_bound(marks_.begin(), marks_.end(), shape.start_ns);
  const auto last = std::lower_bound(first, marks_.end(), shape.end_ns);
  if (first == last) return step;
  const int64_t place_ns = shape.start_ns + std::llround(step.at_s * 1e9);
  auto mark = std::lower_bound(first, last, place_ns);
  if (mark == last || (mark != first && place_ns - *(mark - 1) < *mark - place_ns)) --mark;
  step.mark_s = seconds(*mark - shape.start_ns);
  const double half_s = std::max(shape.half_start_s, shape.half_end_s);
  const double error_s = kPlaceError * half_s * std::hypot(left_w, right_w) / between_w + 1e-6;
  const double off = (step.mark_s - step.at_s) / error_s;
  // Against marks that lie anywhere.
  const auto marks = static_cast<double>(last - first);
  step.evidence = w / (marks * error_s * std::sqrt(2 * M_PI)) * std::exp(-0.5 * off * off);
  return step;
}

// How many marks are changes of power, by the steps whose place is known without them.
double Curve::mark_share() const {
  if (mark_share_ >= 0) return mark_share_;
  std::vector<double> evidence;
  const auto& knots = track_->knots;
  const size_t stride = 1 + marks_.size() / (4 * kMostTried);
  size_t before = SIZE_MAX;
  for (size_t i = 0; i < marks_.size() && evidence.size() < kMostTried; i += stride) {
    const auto after = std::upper_bound(knots.begin(), knots.end(), marks_[i],
                                        [](int64_t t, const Knot& knot) { return t < knot.t_ns; });
    if (after == knots.begin() || after == knots.end()) continue;
    const auto interval = static_cast<size_t>(after - knots.begin()) - 1;
    if (interval == before || knots[interval].kind != Knot::Kind::kPlain) continue;
    before = interval;
    const auto [found, around] = plain_shape(*track_, interval);
    if (classify(around, found) != Shape::Class::kStep) continue;
    const double left = around.level(-1), right = around.level(1);
    if (std::abs(left - right) <= kLevel * around.at(0)) continue;
    evidence.push_back(find_step(found, left, right).evidence);
  }
  double share = 0.5;
  for (int round = 0; round < 10; ++round) {
    double sum = 1;
    for (const double each : evidence) sum += share * each / (share * each + 1 - share);
    share = sum / (static_cast<double>(evidence.size()) + 2);
  }
  return mark_share_ = share;
}

// Where within one interval the power changed: at most one step, or a peak or dip between marks.
void Curve::bend(Shape& shape) const {
  const Around around = look_around(*track_, shape.interval);
  const double half = std::max(shape.half_start_s, shape.half_end_s);
  const double w = shape.width_s, e = shape.energy_j;
  if (!around.has(-1) || !around.has(1) || 2 * half >= kFineBracket * w) return;
  const double power = around.at(0);
  const double left = around.level(-1), right = around.level(1);
  const auto first = std::upper_bound(marks_.begin(), marks_.end(), shape.start_ns);
  const auto last = std::lower_bound(first, marks_.end(), shape.end_ns);
  const auto into = [&](auto mark) { return seconds(*mark - shape.start_ns); };
  const auto turn = [&](double at_s, double at_j) {
    if (!(at_s > 0 && at_s < w && at_j >= 0 && at_j <= e)) return;
    shape.corners.push_back({at_s, at_j});
  };

  if (std::abs(left - right) > kLevel * power && (power - left) * (power - right) <= 0) {
    const Step step = find_step(shape, left, right);
    if (step.mark_s < 0) {
      turn(step.at_s, left * step.at_s);
      return;
    }
    const double share = mark_share();
    const double odds = share / (1 - share) * step.evidence;
    const double sure = odds / (1 + odds);
    // Where the mark is that step, its own place has no error, so what two sides say of it differs
    // by the stamps' errors: the side that is known better counts more.
    const double mark_s = step.mark_s, rest_s = w - mark_s;
    const double before = squared(left * shape.half_start_s * (1 + mark_s / w));
    const double after = squared(right * shape.half_end_s * (1 + rest_s / w));
    const double both = before + after, weight = both > 0 ? after / both : 0.5;
    const double mark_j = weight * left * mark_s + (1 - weight) * (e - right * rest_s);
    if (sure > kSure) {
      shape.matched = true;
      shape.blur_start_j = left * shape.half_start_s;
      shape.blur_mark_j = both > 0 ? kMatchedBlur * std::sqrt(before * after / both) : 0;
      shape.blur_end_j = right * shape.half_end_s;
      turn(mark_s, mark_j);
      return;
    }
    if (sure < 1 - kSure) {
      turn(step.at_s, left * step.at_s);
      return;
    }
    // Either may be true: the mean of both courses, and a doubt of what they differ by.
    Shape at_place = shape, at_mark = shape;
    at_place.corners = {{step.at_s, left * step.at_s}};
    at_mark.corners = {{mark_s, mark_j}};
    for (const double at_s : {std::min(mark_s, step.at_s), std::max(mark_s, step.at_s)}) {
      turn(at_s, sure * at_mark.at(at_s) + (1 - sure) * at_place.at(at_s));
    }
    shape.torn_j = std::abs(at_mark.at(mark_s) - at_place.at(mark_s));
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

// The same where the neighbours are not settled and a mark lies within: what the whole run is like
// counts.
bool Curve::draw(Shape& shape) const {
  const auto mark = std::upper_bound(marks_.begin(), marks_.end(), shape.start_ns);
  if (mark == marks_.end() || *mark >= shape.end_ns) return false;
  // Powers that look steady say little where they change so often, as in a loop that is for a while
  // in step with updates.
  if (shape.kind != Shape::Class::kMixed && levels_->changes() < kOften) return false;
  Course course;
  if (!levels_->draw(shape.interval, course)) return false;
  shape.kind = Shape::Class::kDrawn;
  shape.matched = false;
  shape.corners.clear();
  for (const auto& border : course.borders) {
    shape.corners.push_back({border.into_s, border.energy_j, border.down_j, border.up_j});
  }
  return true;
}

// The power is that of one neighbour, and the other one holds the step that leads to it. Whatever
// marks lie in the interval, `shares` of it: none of them explains the power as well.
static bool is_level(const Around& around, std::span<const double> shares) {
  const double p = around.at(0);
  const auto level = [&](int like, int other) {
    // Two that are alike may be two halves of one burst.
    if (!around.alike(0, like) || !around.alike(like, 2 * like)) return false;
    const double through = around.at(other), from = around.at(2 * other);
    const bool settled = around.alike(0, other) || around.alike(other, 2 * other);
    if (!settled && (through - p) * (through - from) > 0) return false;
    // It may glide, too, as powers do that wane after a jump.
    const double gliding = 2 * around.at(like) - around.at(2 * like);
    return std::all_of(shares.begin(), shares.end(), [&](double share) {
      const double before = other < 0 ? share : 1 - share;
      const auto clearly = [&](double to) {
        return kClearly * std::abs(p - to) <= std::abs(p - (from * before + to * (1 - before)));
      };
      return clearly(around.level(like)) && clearly(gliding);
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
  const auto take_until = [&](double to_s, double power_w) {
    to_s = std::clamp(to_s, at_s, shape.width_s);
    if (std::isnan(power_w)) {
      unknown_s += to_s - at_s;
    } else {
      known_j += (to_s - at_s) * power_w;
    }
    powers.push_back(power_w);
    shape.corners.push_back({to_s, 0});
    at_s = to_s;
  };
  // An interval may begin before the run and end after it: what was done then has no marks.
  take_until(seconds(marks_[slice] + lag_ns - shape.start_ns), kUnknown);
  for (; at_s < shape.width_s && slice < states_->of.size(); ++slice) {
    const uint32_t place = repeats_->place_of[states_->of[slice]];
    take_until(seconds(marks_[slice + 1] + lag_ns - shape.start_ns),
               place == Repeats::kNone ? kUnknown : repeats_->fit.power_w[place]);
  }
  take_until(shape.width_s, kUnknown);
  const double left_j = std::max(shape.energy_j - known_j, 0.0);
  const double left_w = unknown_s > 0 ? std::min(left_j / unknown_s, track_->limit_w) : 0;
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

// Where the same comes again and again, what else is known of the run says nothing more of it.
static void echo(Shape& shape, Knot::Echo echo) {
  using Class = Shape::Class;
  const bool untold = shape.kind == Class::kMixed || shape.kind == Class::kDrawn;
  // Marks in step under a power that looks constant: what it does between two of them is not seen.
  const bool bland = echo == Knot::Echo::kQuietMarks;
  if (echo == Knot::Echo::kNone || !(untold || (bland && shape.kind == Class::kQuiet))) return;
  shape.bland = bland;
  shape.kind = Class::kEcho;
}

Shape Curve::shape(size_t interval) const {
  const auto& knots = track_->knots;
  const Knot& from = knots[interval];
  const Knot& to = knots[interval + 1];
  auto [shape, around] = plain_shape(*track_, interval);
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
  if (repeats_->describes(interval)) {
    repeat(shape);
    return shape;
  }
  // A mean that many readings gave again and again runs straight.
  if (track_->window_ns < 0 && to.t_ns - from.t_ns > 2 * track_->interval_ns) return shape;
  shape.kind = classify(around, shape);
  if (shape.kind != Shape::Class::kQuiet) bend(shape);
  if (!shape.matched || shape.kind == Shape::Class::kMixed) draw(shape);
  echo(shape, from.echo);
  return shape;
}

}  // namespace pyprof
