#include "core/lines.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "core/smoother.h"
#include "core/track.h"

namespace pyprof {
namespace {

constexpr size_t kLongest = 12;          // knots of one line: with more it gets hardly better
constexpr size_t kReach = 10;            // knots on each side of a mark's interval that tell of it
constexpr size_t kNear = 4;              // of which so many are looked at by its course
constexpr double kTogetherShare = 0.02;  // of an interval: marks so near are of one moment
constexpr size_t kTogether = 64;         // knots of marks that are served at once
constexpr double kChange = 0.3;          // of intervals: that the power changes in one, at first
constexpr double kLeastChange = 0.02, kMostChange = 0.98;
constexpr double kSigmas = 2;     // 95 %
constexpr double kFewQuanta = 8;  // in one interval: with fewer its energy says nothing
constexpr double kHardly = 1e-3;  // a line so unlikely is none
// How much a power that lasts varies from one interval to the next is learnt.
constexpr size_t kBlocks = 32, kBlock = 32;  // of knots, to learn from
constexpr int kRounds = 3;
constexpr double kFlicker = 0.01;  // at first
constexpr size_t kBeside = 4;      // intervals on each side of a mark that are compared
constexpr size_t kMostApart = 5;   // intervals that are compared with as many after them
constexpr double kNever = -1e300;  // logarithm of what cannot be

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

double squared(double x) { return x * x; }

double add_logs(double a, double b) {
  const double high = std::max(a, b);
  return high == kNever ? kNever : high + std::log1p(std::exp(std::min(a, b) - high));
}

// What is known of a knot when all lines that may go through it are weighed.
struct Place {
  double weight = 0, at_s = 0, square = 0, variance = 0, with_next = 0;
};

struct Moved {
  size_t at;
  Knot knot;
};

// Neighbouring knots with nothing but readings between them. Lines are of time over energy, as it
// is the times that are not known.
class Row {
 public:
  Row(const Track& track, std::span<const int64_t> marks, size_t first, size_t count,
      double change);
  void place();
  double changes() const { return changes_; }  // expected, of count() - 1 intervals
  size_t count() const { return sites_.size(); }
  void move(size_t from, size_t to, std::vector<Moved>& moved) const;
  void compare(std::vector<Flicker::Pair>& pairs) const;
  void compare_at_marks(double& sum, double& weights) const;

 private:
  const Knot& knot(size_t k) const { return track_.knots[first_ + k]; }
  void follow(size_t from);
  void weigh(size_t from, size_t last, double weight);

  const Track& track_;
  size_t first_;
  std::vector<LineSite> sites_;
  std::vector<LineStep> steps_;   // each leads to its site
  std::vector<double> log_anew_;  // density of a site if its power were any plausible one
  std::vector<std::array<double, kLongest>> likely_;  // logarithm, by the first site and the length
  std::vector<Place> places_;
  // How likely the sites from one on are of one line, by their number.
  std::vector<std::array<double, kLongest + 1>> same_;
  std::vector<bool> marked_;  // each is the interval before a site
  double log_change_, log_stay_, changes_ = -1;
  Smoother smoother_;
};

Row::Row(const Track& track, std::span<const int64_t> marks, size_t first, size_t count,
         double change)
    : track_(track),
      first_(first),
      sites_(count),
      steps_(count),
      log_anew_(count),
      likely_(count),
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
      const double range_w = std::max(track.high_w - track.low_w, 0.1 * power_w);
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

// How likely the sites from one on are of one line, by its length.
void Row::follow(size_t from) {
  const double log_two_pi = std::log(2 * M_PI);
  LineState state;
  double sum = log_anew_[from];
  for (size_t n = 1; n <= kLongest && from + n <= count(); ++n) {
    const size_t k = from + n - 1;
    const LineSite& site = sites_[k];
    if (n == 2) {
      const LineSite& before = sites_[k - 1];
      const double energy_j = steps_[k].length;
      state = {site.y, (site.y - before.y) / energy_j, site.variance, site.variance / energy_j,
               (site.variance + before.variance + steps_[k].var_at) / squared(energy_j)};
      sum += log_stay_ + log_anew_[k];
    } else if (n > 2) {
      state = ahead_of(state, steps_[k]);
      const double variance = state.var_at + site.variance;
      sum += log_stay_ -
             0.5 * (log_two_pi + std::log(variance) + squared(site.y - state.at) / variance);
      teach(state, site);
    }
    likely_[from][n - 1] = sum;
  }
}

void Row::weigh(size_t from, size_t last, double weight) {
  const size_t length = last - from + 1;
  const bool line = length > 2;
  changes_ += weight;
  if (line) {
    // Wide open at first.
    const double width_s = sites_[from + 1].y - sites_[from].y;
    const double rate = width_s / steps_[from + 1].length;
    smoother_.run({sites_[from].y, rate, squared(10 * width_s), 0, squared(10 * rate)},
                  std::span(steps_).subspan(from, length), std::span(sites_).subspan(from, length));
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

// All ways to part the row into lines, each weighed by how well it explains the times.
void Row::place() {
  const auto way = [&](size_t from, size_t n) {
    return likely_[from][n - 1] + (from + n < count() ? log_change_ : 0);
  };
  // Of all that lies before, and after, a line that begins at a site.
  std::vector<double> before(count() + 1, kNever), after(count() + 1, kNever);
  before[0] = after[count()] = 0;
  for (size_t from = 0; from < count(); ++from) {
    follow(from);
    for (size_t n = 1; n <= kLongest && from + n <= count(); ++n) {
      before[from + n] = add_logs(before[from + n], before[from] + way(from, n));
    }
  }
  for (size_t from = count(); from-- > 0;) {
    for (size_t n = 1; n <= kLongest && from + n <= count(); ++n) {
      after[from] = add_logs(after[from], way(from, n) + after[from + n]);
    }
  }
  for (size_t from = 0; from < count(); ++from) {
    for (size_t n = 1; n <= kLongest && from + n <= count(); ++n) {
      const double log_weight = before[from] + way(from, n) + after[from + n] - before[count()];
      if (log_weight > std::log(kHardly)) weigh(from, from + n - 1, std::exp(log_weight));
    }
  }
}

void Row::move(size_t from, size_t to, std::vector<Moved>& moved) const {
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

// By how much the powers of neighbouring stretches differ more than their stamps explain. The
// longer they are, the less of that is due to the stamps.
void Row::compare(std::vector<Flicker::Pair>& pairs) const {
  for (size_t apart = 1; apart <= kMostApart; ++apart) {
    for (size_t k = 0; k + 2 * apart < count(); ++k) {
      const double weight = same_[k][2 * apart + 1];
      if (weight < 0.1) continue;
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

// The same for what lies before and after a mark.
void Row::compare_at_marks(double& sum, double& weights) const {
  for (size_t k = 1; k < count(); ++k) {
    if (!marked_[k]) continue;
    // As much on each side as there is without another mark.
    size_t from = k - 1, to = k;
    while (from > 0 && k - from <= kBeside && !marked_[from]) --from;
    while (to + 1 < count() && to - k < kBeside && !marked_[to + 1]) ++to;
    while (from < k - 1 && to > k && to - from + 1 > kLongest) ++from, --to;
    if (from == k - 1 || to == k) continue;
    const double weight = same_[from][to - from + 1];
    if (weight < 0.1) continue;
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

class Lines {
 public:
  Lines(Track& track, std::span<const int64_t> marks) : track_(track), marks_(marks) {}
  void learn();
  void place(size_t from, size_t to);
  void finish();

 private:
  bool tells(size_t interval) const;
  template <typename Use>
  void rows(size_t low, size_t high, const Use& use) const;

  Track& track_;
  std::span<const int64_t> marks_;
  double change_ = kChange;
  std::vector<Moved> moved_;
};

// Where an interval holds several stages its mean is no power that lasts.
bool Lines::tells(size_t interval) const {
  const Knot& from = track_.knots[interval];
  const Knot& to = track_.knots[interval + 1];
  const bool apart = from.apart_s > 0 && to.apart_s > 0;
  if (from.kind != Knot::Kind::kPlain || !apart) return false;
  if (!(to.energy_j - from.energy_j > kFewQuanta * track_.quantum_j)) return false;
  const auto first = std::upper_bound(marks_.begin(), marks_.end(), from.t_ns);
  if (first == marks_.end() || *first >= to.t_ns) return true;
  const int64_t together_ns =
      std::llround(kTogetherShare * static_cast<double>(to.t_ns - from.t_ns));
  const auto second = std::upper_bound(first, marks_.end(), *first + together_ns);
  return second == marks_.end() || *second >= to.t_ns;
}

// Rows among the knots from `low` to before `high`.
template <typename Use>
void Lines::rows(size_t low, size_t high, const Use& use) const {
  for (size_t first = low; first + 1 < high;) {
    size_t last = first;
    while (last + 1 < high && tells(last)) ++last;
    if (last >= first + 2) use(first, last - first + 1);
    first = last + 1;
  }
}

void Lines::learn() {
  track_.flicker = Flicker(kFlicker);
  const size_t count = track_.knots.size();
  const size_t blocks = std::min(kBlocks, count / kBlock + 1);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Flicker::Pair> pairs;
    double changes = 1, intervals = 4, kinks = 0, weights = 0;
    for (size_t block = 0; block < blocks; ++block) {
      const size_t low = block * count / blocks;
      rows(low, std::min(low + kBlock, count), [&](size_t first, size_t knots) {
        Row row(track_, marks_, first, knots, change_);
        row.place();
        row.compare(pairs);
        row.compare_at_marks(kinks, weights);
        changes += row.changes();
        intervals += static_cast<double>(knots - 1);
      });
    }
    track_.flicker = Flicker(kFlicker, pairs);
    track_.kink = weights > 0 ? std::max(kinks / weights, 0.0) : 0;
    change_ = std::clamp(changes / intervals, kLeastChange, kMostChange);
  }
}

void Lines::place(size_t from, size_t to) {
  const size_t low = from > kReach ? from - kReach : 0;
  rows(low, std::min(to + kReach, track_.knots.size()), [&](size_t first, size_t count) {
    const size_t end = std::min(to, first + count);
    if (end <= std::max(from, first)) return;
    Row row(track_, marks_, first, count, change_);
    row.place();
    row.move(std::max(from, first) - first, end - first, moved_);
  });
}

// All at once, as each was placed by where the others had been.
void Lines::finish() {
  auto& knots = track_.knots;
  for (const auto& [at, knot] : moved_) {
    knots[at] = knot;
    if (at > 0) knots[at].t_ns = std::max(knots[at].t_ns, knots[at - 1].t_ns + 1);
  }
}

}  // namespace

void hold_to_lines(Track& track, std::span<const int64_t> marks) {
  const auto& knots = track.knots;
  if (!(track.quantum_j > 0) || knots.size() < 3 || marks.empty()) return;
  Lines lines(track, marks);
  lines.learn();
  const auto next_knot = [&](size_t from, int64_t t_ns) {
    const auto after = std::upper_bound(knots.begin() + static_cast<ptrdiff_t>(from), knots.end(),
                                        t_ns, [](int64_t t, const Knot& k) { return t < k.t_ns; });
    return static_cast<size_t>(after - knots.begin());
  };
  size_t done = 0;
  for (auto mark = marks.begin(); mark != marks.end();) {
    const size_t first = next_knot(done > kNear ? done - kNear : 0, *mark);
    size_t last = first;
    while (++mark != marks.end()) {
      const size_t next = next_knot(last > 0 ? last - 1 : 0, *mark);
      if (next > last + 2 * kNear || next > first + kTogether) break;
      last = next;
    }
    const size_t from = std::max(done, first > kNear ? first - kNear : 0);
    const size_t to = std::min(last + kNear, knots.size());
    if (to > from) lines.place(from, to);
    done = std::max(done, to);
  }
  lines.finish();
}

}  // namespace pyprof
