#include "core/parting.h"

#include <algorithm>
#include <cmath>

namespace pyprof {
namespace {

constexpr double kSigmas = 1.732;  // half of the window as wide in the mean square
constexpr size_t kMostNear = 2;    // usual powers that a line may have
constexpr double kFarLevel = 4;    // standard deviations: further off it has not that one
constexpr double kHardly = 5e-3;   // a line so unlikely is none
constexpr double kLine = 0.5;      // and one so likely is one
constexpr double kTells = 0.1;    // of two intervals: so likely of one line they tell how it varies
constexpr size_t kBeside = 4;     // intervals on each side of a mark that are compared
constexpr size_t kMostApart = 5;  // intervals that are compared with as many after them
constexpr double kNever = -1e300;  // logarithm of what cannot be

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

double squared(double x) { return x * x; }

double add_logs(double a, double b) {
  const double high = std::max(a, b);
  return high == kNever ? kNever : high + std::log1p(std::exp(std::min(a, b) - high));
}

}  // namespace

Parting::Parting(const Track& track, std::span<const int64_t> marks, std::span<const Usual> usual,
                 size_t first, size_t count, double change)
    : track_(track),
      usual_(usual),
      first_(first),
      sites_(count),
      steps_(count),
      log_anew_(count),
      ways_(count),
      places_(count),
      same_(count),
      marked_(count),
      log_change_(std::log(change)),
      log_stay_(std::log(1 - change)) {
  double power_w = 0;
  auto mark = std::upper_bound(marks.begin(), marks.end(), knot(0).t_ns);
  for (size_t k = 0; k < count; ++k) {
    sites_[k].y = seconds(knot(k).t_ns - knot(0).t_ns);
    if (k > 0) {
      const double width_s = sites_[k].y - sites_[k - 1].y;
      const double energy_j = knot(k).energy_j - knot(k - 1).energy_j;
      power_w = energy_j / width_s;
      steps_[k] = {energy_j, squared(width_s) * track.flicker.variance(power_w)};
      for (; mark != marks.end() && *mark < knot(k).t_ns; ++mark) {
        const double rest = seconds(knot(k).t_ns - *mark) / width_s;
        steps_[k].var_at += track.kink * squared(rest * width_s);
        steps_[k].covar += track.kink * rest * width_s / power_w;
        steps_[k].var_rate += track.kink / squared(power_w);
        marked_[k] = true;
      }
      const double range_w = std::max(track.high_w - track.low_w, 0.3 * power_w);
      log_anew_[k] = std::log(power_w / (range_w * width_s));
    }
  }
  for (size_t k = 0; k < count; ++k) {
    const size_t next = std::max<size_t>(k, 1);
    const double width_s = sites_[next].y - sites_[next - 1].y;
    const double quantum_s = track.quantum_j / steps_[next].length * width_s;
    sites_[k].variance = squared(knot(k).apart_s) + squared(quantum_s) / 6;
  }
}

// Levels that a line may have whose first interval begins at a site.
std::vector<const Usual*> Parting::near(size_t from) const {
  std::vector<const Usual*> near;
  if (from + 1 >= count()) return near;
  const double width_s = sites_[from + 1].y - sites_[from].y;
  const double power_w = steps_[from + 1].length / width_s;
  const double stamps = sites_[from].variance + sites_[from + 1].variance + steps_[from + 1].var_at;
  for (const Usual& level : usual_) {
    const double off = squared(level.power_w / power_w - 1);
    const double usual = level.variance + stamps / squared(width_s);
    if (off < squared(kFarLevel) * usual && near.size() < kMostNear) near.push_back(&level);
  }
  return near;
}

// A line at its first site.
LineState Parting::start(size_t from, const Usual* level) const {
  if (level != nullptr) {
    const double rate = 1 / level->power_w;
    return {sites_[from].y, rate, sites_[from].variance, 0, squared(rate) * level->variance};
  }
  // Wide open.
  const double width_s = sites_[from + 1].y - sites_[from].y;
  const double rate = width_s / steps_[from + 1].length;
  return {sites_[from].y, rate, sites_[from].variance, 0, squared(10 * rate)};
}

// How likely the sites from one on are of one line, by its length.
void Parting::follow(size_t from) {
  const double log_two_pi = std::log(2 * M_PI);
  std::vector<const Usual*> levels = near(from);
  double own = 1;
  for (const Usual* level : levels) own -= level->share;
  levels.push_back(nullptr);
  ways_[from].clear();
  for (const Usual* level : levels) {
    Way way{level, {}};
    way.likely.fill(kNever);
    double sum = log_anew_[from];
    if (level == nullptr) way.likely[0] = sum;
    sum += std::log(level != nullptr ? level->share : own);
    if (from + 1 < count()) {
      LineState state = start(from, level);
      for (size_t n = 2; n <= kLongest && from + n <= count(); ++n) {
        const size_t k = from + n - 1;
        const LineSite& site = sites_[k];
        state = ahead_of(state, steps_[k]);
        const double variance = state.var_at + site.variance;
        const double density =
            -0.5 * (log_two_pi + std::log(variance) + squared(site.y - state.at) / variance);
        sum += log_stay_ + (n == 2 && level == nullptr ? log_anew_[k] : density);
        teach(state, site);
        way.likely[n - 1] = sum;
      }
    }
    ways_[from].push_back(way);
  }
}

void Parting::weigh(size_t from, size_t last, const Usual* level, double weight) {
  const size_t length = last - from + 1;
  const bool line = length > 2 || level != nullptr;
  changes_ += weight;
  if (line) {
    LineState open = start(from, level);
    open.var_at = squared(10 * (sites_[from + 1].y - sites_[from].y));
    open_.assign(steps_.begin() + static_cast<ptrdiff_t>(from),
                 steps_.begin() + static_cast<ptrdiff_t>(last + 1));
    open_[0] = {};
    smoother_.run(open, open_, std::span(sites_).subspan(from, length));
    if (weight > kLine && length > 2) {
      const LineState& middle = smoother_.all(length / 2);
      stays_.push_back({1 / middle.rate, middle.var_rate / squared(middle.rate), weight});
    }
  }
  for (size_t k = from; k <= last; ++k) {
    Place& place = places_[k];
    const double at = line ? smoother_.all(k - from).at : sites_[k].y;
    place.weight += weight;
    place.at_s += weight * at;
    place.square += weight * at * at;
    place.variance += weight * (line ? smoother_.all(k - from).var_at : sites_[k].variance);
    if (line && k < last) place.with_next += weight * smoother_.with_next(k - from);
    for (size_t n = 3; k + n <= last + 1; ++n) same_[k][n] += weight;
  }
}

void Parting::place() {
  const auto closed = [&](size_t from, size_t n) { return from + n < count() ? log_change_ : 0; };
  // Of all that lies before, and after, a line that begins at a site.
  std::vector<double> before(count() + 1, kNever), after(count() + 1, kNever);
  before[0] = after[count()] = 0;
  for (size_t from = 0; from < count(); ++from) {
    follow(from);
    for (size_t n = 1; n <= kLongest && from + n <= count(); ++n) {
      for (const Way& way : ways_[from]) {
        const double likely = way.likely[n - 1] + closed(from, n);
        before[from + n] = add_logs(before[from + n], before[from] + likely);
      }
    }
  }
  for (size_t from = count(); from-- > 0;) {
    for (size_t n = 1; n <= kLongest && from + n <= count(); ++n) {
      for (const Way& way : ways_[from]) {
        const double likely = way.likely[n - 1] + closed(from, n);
        after[from] = add_logs(after[from], likely + after[from + n]);
      }
    }
  }
  for (size_t from = 0; from < count(); ++from) {
    for (size_t n = 1; n <= kLongest && from + n <= count(); ++n) {
      for (const Way& way : ways_[from]) {
        const double log_weight =
            before[from] + way.likely[n - 1] + closed(from, n) + after[from + n] - before[count()];
        if (log_weight < std::log(kHardly)) continue;
        weigh(from, from + n - 1, way.level, std::exp(log_weight));
      }
    }
  }
}

void Parting::move(size_t from, size_t to, std::vector<Moved>& moved) const {
  std::vector<double> sigma_s(count());
  for (size_t k = 0; k < count(); ++k) {
    const Place& place = places_[k];
    const double mean_s = place.at_s / place.weight;
    const double apart = std::max(place.square / place.weight - squared(mean_s), 0.0);
    sigma_s[k] = std::sqrt(place.variance / place.weight + apart);
  }
  for (size_t k = from; k < to; ++k) {
    Knot found = knot(k);
    const Place& place = places_[k];
    if (kSigmas * sigma_s[k] > found.half_s) continue;
    const int64_t half_ns = std::llround(1e9 * found.half_s);
    const int64_t at_ns = knot(0).t_ns + std::llround(1e9 * place.at_s / place.weight);
    found.t_ns = std::clamp(at_ns, found.t_ns - half_ns, found.t_ns + half_ns);
    found.half_s = static_cast<float>(kSigmas * sigma_s[k]);
    if (k + 1 < count()) {
      const double both = sigma_s[k] * sigma_s[k + 1];
      const double tied = std::clamp(place.with_next / place.weight / both, 0.0, 1.0);
      found.tied = static_cast<uint8_t>(255 * tied);
    }
    moved.push_back({first_ + k, found});
  }
}

// The longer stretches are, the less of what they differ by is due to the stamps.
void Parting::compare(std::vector<Flicker::Pair>& pairs) const {
  for (size_t apart = 1; apart <= kMostApart; ++apart) {
    for (size_t k = 0; k + 2 * apart < count(); ++k) {
      const double weight = same_[k][2 * apart + 1];
      if (weight < kTells) continue;
      const Knot &from = knot(k), &middle = knot(k + apart), &to = knot(k + 2 * apart);
      const double energy_j = to.energy_j - from.energy_j;
      const double share = (middle.energy_j - from.energy_j) / energy_j;
      const double width_s = seconds(to.t_ns - from.t_ns);
      const double off_s = seconds(middle.t_ns - from.t_ns) - share * width_s;
      const double stamps = sites_[k + apart].variance + squared(1 - share) * sites_[k].variance +
                            squared(share) * sites_[k + 2 * apart].variance;
      // Each interval's own variation adds to where the middle lies.
      const auto n = static_cast<double>(apart);
      const double scale = 0.5 * n * squared(width_s / (2 * n));
      pairs.push_back(
          {std::log(energy_j / width_s), (squared(off_s) - stamps) / scale, weight * n * n});
    }
  }
}

void Parting::compare_at_marks(double& sum, double& weights) const {
  for (size_t k = 1; k < count(); ++k) {
    if (!marked_[k]) continue;
    // As much on each side as there is without another mark.
    size_t from = k - 1, to = k;
    while (from > 0 && k - from <= kBeside && !marked_[from]) --from;
    while (to + 1 < count() && to - k < kBeside && !marked_[to + 1]) ++to;
    while (from < k - 1 && to > k && to - from + 1 > kLongest) ++from, --to;
    if (from == k - 1 || to == k) continue;
    const double weight = same_[from][to - from + 1];
    if (weight < kTells) continue;
    const auto power = [&](size_t a, size_t b) {
      return (knot(b).energy_j - knot(a).energy_j) / (sites_[b].y - sites_[a].y);
    };
    const auto noise = [&](size_t a, size_t b) {
      const double usual = track_.flicker.variance(power(a, b)) / static_cast<double>(b - a);
      return usual + (sites_[a].variance + sites_[b].variance) / squared(sites_[b].y - sites_[a].y);
    };
    const double before_w = power(from, k - 1), after_w = power(k, to);
    const double off = 2 * (after_w - before_w) / (after_w + before_w);
    const double expected = noise(from, k - 1) + noise(k, to);
    sum += weight * (squared(off) - expected) / squared(expected);
    weights += weight / squared(expected);
  }
}

}  // namespace pyprof
