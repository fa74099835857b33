#include "core/stamps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/predictor.h"
#include "core/smoother.h"

namespace pyprof {
namespace {

// Changes at the ends of a run have others on one side alone. They are placed by so many of these,
// wherever readings end and roll-ups begin, so that the total is the same with and without them,
// and stay there: no energies between changes move them.
constexpr size_t kEnd = 4;
constexpr size_t kEndRow = 32;
constexpr size_t kFewest = 6;          // changes in a row
constexpr double kLongest = 32;        // periods without a change end a row
constexpr size_t kBlock = 512;         // changes smoothed at once,
constexpr size_t kAhead = 32;          // with so many after them
constexpr size_t kJudged = 4096;       // changes that tell the noise
constexpr size_t kWarm = 16;           // of which the first don't
constexpr double kRegular = 0.15;      // of the period: noise that is worth a model
constexpr double kGuess = 0.05;        // and what it is taken for at first
constexpr int kMostRounds = 20;        // in which the noise is learnt,
constexpr double kSettled = 0.2;       // until it changes by less
constexpr double kDoubt = 1.25;        // brackets wider than the noise tell it rather too low
constexpr double kPeriodError = 0.01;  // of the period
constexpr double kInforms = 0.5;       // of the period: a bracket that teaches the phase
constexpr double kSure = 0.9;          // of which update it was
constexpr double kSigmas = 1.8;        // half of the window as wide in the mean square, a bit more
constexpr double kSigmasPerSpread = 1 / 1.349;  // interquartile range of a normal distribution
constexpr double kLeastVariance = 1e6;          // ns^2: a read takes a microsecond
constexpr double kNever = std::numeric_limits<double>::infinity();

double squared(double x) { return x * x; }

// -- a row of changes without a gap --------------------------------------------------------------

struct Normal {
  double mean = 0, variance = kNever;
};

// What all other changes say of one.
Normal others(const Smoother& smoother, size_t k, const LineSite& site) {
  const LineState& all = smoother.all(k);
  const double variance = std::max(all.var_at, kLeastVariance);
  if (!site.tells()) return {all.at, variance};
  if (variance > 0.9999 * site.variance) return {smoother.ahead(k).at, smoother.ahead(k).var_at};
  const double rest = 1 / (1 / variance - 1 / site.variance);
  return {all.at + (all.at - site.y) * rest / site.variance, rest};
}

// The observation that would turn the distribution before the cut into the one after it.
LineSite site_of(const Normal& before, const CutNormal& after) {
  const double told = 1 / after.variance - 1 / before.variance;
  if (!(told * before.variance > 1e-6)) return {};
  const double variance = std::max(1 / told, kLeastVariance);
  return {after.mean + (after.mean - before.mean) * variance / before.variance, variance};
}

struct Range {
  double low, high;
};

class Row {
 public:
  Row(std::span<const Change> changes, double period, double noise_ns)
      : changes_(changes), base_ns_(changes.front().last_old_ns), period_(period) {
    while (first_ + 1 < changes_.size() && !informs(first_)) ++first_;
    // A guess weighs like a few updates: begun anew with what was learnt, it counts no more.
    judge(noise_ns);
    for (int round = 0; round < kMostRounds; ++round) {
      const double before = noise_;
      judge(std::sqrt(before));
      if (std::abs(noise_ - before) < kSettled * before) break;
    }
    noise_ *= kDoubt;
  }
  bool regular() const { return std::sqrt(noise_) < kRegular * period_; }
  void place();
  Stamp stamp(size_t i) const;

 private:
  Range range(size_t i) const {
    // Where updates were missed, the value that was read is the last one's.
    const auto high = static_cast<double>(changes_[i].first_new_ns - base_ns_);
    const auto low = static_cast<double>(changes_[i].last_old_ns - base_ns_);
    return {std::max(low, high - period_ - 3 * std::sqrt(noise_)), high};
  }
  double strays() const { return kind_ == Predictor::Kind::kGrid ? noise_ : 0; }
  Match periods(const LineState& from, const Range& to) const;
  LineStep step(double n) const {
    const double wander = kind_ == Predictor::Kind::kWalk ? noise_ : 0;
    return {n, n * wander, n * noise_ * Predictor::drift(kind_)};
  }
  void judge(double noise_ns);
  void guess(LineState state, size_t from);
  void place_before(LineState state);
  void compare(size_t from, size_t count);
  bool informs(size_t i) const {
    const Range known = range(i);
    return known.high - known.low < kInforms * period_;
  }
  CutNormal cut(size_t i, const Normal& others) const {
    const Range known = range(i);
    return cut_normal(others.mean, others.variance, known.low, known.high);
  }

  std::span<const Change> changes_;
  int64_t base_ns_;
  double period_;
  Predictor::Kind kind_ = Predictor::Kind::kGrid;
  double noise_ = 0;  // variance of one update
  size_t first_ = 0;  // that tells where updates are
  size_t placed_from_ = 0;
  std::vector<CutNormal> found_;
  std::vector<double> rest_;   // variances by all others alone
  std::vector<double> alike_;  // correlations of errors, each with those beside it
  std::vector<LineSite> sites_;
  std::vector<LineStep> steps_;
  std::vector<bool> sure_;  // of each step's length
  Smoother smoother_;
};

Match Row::periods(const LineState& from, const Range& to) const {
  return match(from.at + from.rate, from.rate, std::sqrt(from.var_at + noise_), to.low, to.high);
}

void Row::judge(double noise_ns) {
  noise_ = squared(noise_ns);
  double best = -kNever, chosen = noise_;
  for (const auto kind : {Predictor::Kind::kGrid, Predictor::Kind::kWalk}) {
    Predictor predictor(kind);
    const Range known = range(first_);
    predictor.start((known.low + known.high) / 2, period_, noise_ns, kPeriodError * period_);
    double fit = 0, noise = 0;
    size_t count = 0;
    for (size_t i = first_ + 1; i < std::min(changes_.size(), first_ + kJudged); ++i) {
      const Range next = range(i);
      const Match found = match(predictor.next_ns(), predictor.period_ns(), predictor.sigma_ns(),
                                next.low, next.high);
      if (found.sure) {
        predictor.observe(found.periods, next.low, next.high);
      } else {
        predictor.skip(found.periods);
      }
      if (i < first_ + kWarm && i + 1 < changes_.size()) continue;
      ++count;
      fit += predictor.fit();
      noise += squared(predictor.noise_ns());
    }
    fit /= static_cast<double>(count);
    if (fit <= best) continue;
    best = fit;
    kind_ = kind;
    chosen = noise / static_cast<double>(count);
  }
  noise_ = chosen;
}

// A first pass forward, which finds how many periods lie between changes.
void Row::guess(LineState state, size_t from) {
  for (size_t k = 0; k < sites_.size(); ++k) {
    const Range known = range(from + k);
    const Match found = from + k == first_ ? Match{0, true} : periods(state, known);
    steps_[k] = step(static_cast<double>(found.periods));
    state = ahead_of(state, steps_[k]);
    sure_[k] = found.sure;
    if (!found.sure) continue;
    const Normal before{state.at, state.var_at + strays()};
    sites_[k] = site_of(before, cut_normal(before.mean, before.variance, known.low, known.high));
    sites_[k].variance += strays();
    teach(state, sites_[k]);
  }
}

// From one that tells where updates are back to those that don't.
void Row::place_before(LineState state) {
  for (placed_from_ = first_; placed_from_ > 0;) {
    const Range known = range(--placed_from_);
    const double periods = std::max(std::round((state.at - known.high) / state.rate), 1.0);
    LineStep back = step(periods);
    back.length = -periods;
    state = ahead_of(state, back);
    // The read has seen this update, or came before it and has seen the one before.
    const double variance = state.var_at + strays();
    const CutNormal late = cut_normal(state.at, variance, known.low, known.high);
    const CutNormal early = cut_normal(state.at - state.rate, variance, known.low, known.high);
    const double weight = late.weight + (1 - late.weight) * early.weight;
    const double share = late.weight / weight, apart = late.mean - early.mean;
    CutNormal& found = found_[placed_from_];
    found.mean = early.mean + share * apart;
    found.variance =
        share * late.variance + (1 - share) * early.variance + share * (1 - share) * squared(apart);
    if (weight < kSure || std::max(share, 1 - share) < kSure) return;
    if (share < kSure) state.at -= state.rate;
  }
}

void Row::place() {
  found_.resize(changes_.size());
  rest_.resize(changes_.size());
  alike_.assign(changes_.size(), 0);
  const Range known = range(first_);
  LineState start{(known.low + known.high) / 2, period_, squared(period_), 0,
                  squared(kPeriodError * period_)};
  for (size_t from = first_; from < changes_.size(); from += kBlock) {
    const size_t to = std::min(from + kBlock, changes_.size());
    const size_t count = std::min(to + kAhead, changes_.size()) - from;
    sites_.assign(count, {});
    steps_.assign(count, {});
    sure_.assign(count, false);
    guess(start, from);
    for (const bool last : {false, true}) {
      smoother_.run(start, steps_, sites_);
      for (size_t k = 0; k < count; ++k) {
        Normal rest = others(smoother_, k, sites_[k]);
        rest.variance += strays();
        found_[from + k] = cut(from + k, rest);
        rest_[from + k] = rest.variance;
        if (last || !sure_[k]) continue;
        sites_[k] = site_of(rest, found_[from + k]);
        sites_[k].variance += strays();
      }
    }
    compare(from, count);
    if (from == first_) place_before(smoother_.all(0));
    start = smoother_.taught(to - from - 1);
  }
}

// How far neighbours err alike.
void Row::compare(size_t from, size_t count) {
  for (size_t k = 0; k + 1 < count; ++k) {
    const size_t i = from + k;
    const double a = smoother_.all(k).var_at, b = smoother_.all(k + 1).var_at;
    double alike = smoother_.with_next(k) / std::sqrt(a * b);
    if (kind_ == Predictor::Kind::kGrid) {
      // Each strays about the grid for itself.
      const double own = found_[i].variance, next = found_[i + 1].variance;
      alike *= std::sqrt(a * b * own * next) / (rest_[i] * rest_[i + 1]);
    }
    alike = std::clamp(alike, 0.0, 0.99);
    alike_[i] = std::max(alike_[i], alike);
    alike_[i + 1] = std::max(alike_[i + 1], alike);
  }
}

Stamp Row::stamp(size_t i) const {
  if (i < placed_from_) return {};
  const Range known = range(i);
  const CutNormal& all = found_[i];
  const double most = std::max(all.mean - known.low, known.high - all.mean);
  const double half = std::min(kSigmas * std::sqrt(all.variance), most);
  const double apart = std::sqrt(all.variance * (1 + alike_[i]) / (1 - alike_[i]));
  return {base_ns_ + std::llround(all.mean), static_cast<float>(1e-9 * half),
          static_cast<float>(1e-9 * apart)};
}

}  // namespace

std::vector<Stamp> place_changes(std::span<const Change> changes, int64_t period_ns,
                                 int64_t spread_ns) {
  std::vector<Stamp> stamps(changes.size());
  if (period_ns <= 0) return stamps;
  const auto period = static_cast<double>(period_ns);
  const auto spread = static_cast<double>(spread_ns);
  const double noise_ns = spread > 0 ? kSigmasPerSpread * spread : kGuess * period;
  const auto informs = [&](const Change& change) {
    return static_cast<double>(change.first_new_ns - change.last_old_ns) < kInforms * period;
  };
  for (size_t from = 0; from < changes.size();) {
    // A change with a flag only says when the row before it had ended at the latest.
    if (changes[from].flags != 0) {
      ++from;
      continue;
    }
    size_t to = from + 1, informing = informs(changes[from]) ? 1 : 0;
    const auto follows = [&](size_t i) {
      const auto gap = static_cast<double>(changes[i].first_new_ns - changes[i - 1].first_new_ns);
      return changes[i].flags == 0 && gap < kLongest * period;
    };
    for (; to < changes.size() && follows(to); ++to) informing += informs(changes[to]) ? 1 : 0;
    if (to - from >= kFewest && informing >= std::max<size_t>(3, (to - from) / 16)) {
      Row row(changes.subspan(from, to - from), period, noise_ns);
      if (row.regular()) {
        row.place();
        for (size_t i = from; i < to; ++i) stamps[i] = row.stamp(i - from);
      }
    }
    from = to;
  }
  return stamps;
}

Stamps::Stamps(const std::vector<Frame>& frames, const Channel& channel, int64_t period_ns,
               const Settled& settled) {
  if (channel.window_ns < 0 || settled.from_ns >= settled.to_ns) return;
  uint64_t next_seq = 0;
  int64_t spread_ns = 0;
  for (const Frame& frame : frames) {
    bool holed = frame.first_seq > next_seq;
    for (Change change : frame.changes) {
      if (!changes_.empty() && change.first_new_ns <= changes_.back().first_new_ns) continue;
      if (std::exchange(holed, false)) change.flags |= kGap;
      changes_.push_back(change);
    }
    next_seq = std::max(next_seq, frame.first_seq + frame.changes.size());
    if (frame.pulse.spread_ns > 0) spread_ns = frame.pulse.spread_ns;
  }
  stamps_ = place_changes(changes_, period_ns, spread_ns);
  place_ends(period_ns, spread_ns);
  for (size_t i = 0; i < stamps_.size(); ++i) {
    const Change& change = changes_[i];
    const bool within =
        change.last_old_ns >= settled.from_ns && change.first_new_ns <= settled.to_ns;
    if (!within) stamps_[i] = {};
  }
}

void Stamps::place_ends(int64_t period_ns, int64_t spread_ns) {
  const size_t count = changes_.size();
  if (count <= kEndRow) return;
  const std::span<const Change> all(changes_);
  const auto first = place_changes(all.first(kEndRow), period_ns, spread_ns);
  const auto last = place_changes(all.last(kEndRow), period_ns, spread_ns);
  std::copy_n(first.begin(), kEnd, stamps_.begin());
  std::copy_n(last.end() - kEnd, kEnd, stamps_.end() - kEnd);
  for (size_t i = 0; i < kEnd; ++i) stamps_[i].apart_s = stamps_[count - 1 - i].apart_s = 0;
}

const Stamp* Stamps::at(int64_t first_new_ns) {
  while (next_ < changes_.size() && changes_[next_].first_new_ns < first_new_ns) ++next_;
  if (next_ == changes_.size() || changes_[next_].first_new_ns != first_new_ns) return nullptr;
  return stamps_[next_].half_s < 0 ? nullptr : &stamps_[next_];
}

}  // namespace pyprof
