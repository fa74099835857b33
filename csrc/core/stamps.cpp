#include "core/stamps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/predictor.h"

namespace pyprof {
namespace {

// Changes at the ends of a run have others on one side alone. They are placed by so many of these,
// wherever readings end and roll-ups begin, so that the total is the same with and without them.
constexpr size_t kEnd = 4;
constexpr size_t kEndRow = 32;
constexpr size_t kFewest = 6;           // changes in a row
constexpr double kLongest = 32;         // periods without a change end a row
constexpr size_t kBlock = 512;          // changes smoothed at once,
constexpr size_t kAhead = 32;           // with so many after them
constexpr size_t kJudged = 4096;        // changes that tell the noise
constexpr size_t kWarm = 16;            // of which the first don't
constexpr double kRegular = 0.15;       // of the period: noise that is worth a model
constexpr double kGuess = 0.05;         // and what it is taken for at first
constexpr int kMostRounds = 20;         // in which the noise is learnt,
constexpr double kSettled = 0.2;        // until it changes by less
constexpr double kDoubt = 1.25;         // brackets wider than the noise tell it rather too low
constexpr double kPeriodError = 0.01;   // of the period
constexpr double kInforms = 0.5;        // of the period: a bracket that teaches the phase
constexpr double kLeastVariance = 1e6;  // ns^2: a read takes a microsecond
constexpr double kSure = 0.9;           // of which update it was
constexpr double kSigmas = 2;           // 95 %
constexpr double kSigmasPerSpread = 1 / 1.349;  // interquartile range of a normal distribution
constexpr double kNever = std::numeric_limits<double>::infinity();

double squared(double x) { return x * x; }

// -- straight lines through changes --------------------------------------------------------------

// Where a line is and how fast it rises.
struct State {
  double at = 0, rate = 0;
  double var_at = 0, covar = 0, var_rate = 0;
};

// A change as an observation of the line; of infinite variance it says nothing.
struct Site {
  double y = 0, variance = kNever;
};

// From one change to the next: how far, and what may change meanwhile.
struct Step {
  double length = 0;
  double var_at = 0, var_rate = 0;
};

struct Normal {
  double mean = 0, variance = kNever;
};

State ahead_of(const State& from, const Step& step) {
  const double n = step.length;
  State to = from;
  to.at += n * from.rate;
  to.var_at += n * (2 * from.covar + n * from.var_rate) + step.var_at;
  to.covar += n * from.var_rate;
  to.var_rate += step.var_rate;
  return to;
}

void teach(State& state, const Site& site) {
  if (!(site.variance < kNever)) return;
  const double sum = state.var_at + site.variance;
  const double gain = state.var_at / sum, rate_gain = state.covar / sum;
  const double error = site.y - state.at;
  state.at += gain * error;
  state.rate += rate_gain * error;
  state.var_rate -= rate_gain * state.covar;
  state.covar -= gain * state.covar;
  state.var_at -= gain * state.var_at;
}

// The observation that would turn the distribution before the cut into the one after it.
Site site_of(const Normal& before, const CutNormal& after) {
  const double told = 1 / after.variance - 1 / before.variance;
  if (!(told * before.variance > 1e-6)) return {};
  const double variance = std::max(1 / told, kLeastVariance);
  return {after.mean + (after.mean - before.mean) * variance / before.variance, variance};
}

// Forward through changes, then back, so that each is placed by all others.
class Smoother {
 public:
  // `steps[k]` leads to change k, the first from `start`.
  void run(const State& start, std::span<const Step> steps, std::span<const Site> sites);
  // What all other changes say of one.
  Normal others(size_t k, const Site& site) const {
    const double variance = std::max(all_[k].var_at, kLeastVariance);
    if (!(site.variance < kNever)) return {all_[k].at, variance};
    if (variance > 0.9999 * site.variance) return {ahead_[k].at, ahead_[k].var_at};
    const double rest = 1 / (1 / variance - 1 / site.variance);
    return {all_[k].at + (all_[k].at - site.y) * rest / site.variance, rest};
  }
  const State& taught(size_t k) const { return taught_[k]; }
  const State& by_all(size_t k) const { return all_[k]; }

 private:
  std::vector<State> ahead_, taught_, all_;
};

void Smoother::run(const State& start, std::span<const Step> steps, std::span<const Site> sites) {
  const size_t count = steps.size();
  ahead_.resize(count);
  taught_.resize(count);
  all_.resize(count);
  State state = start;
  for (size_t k = 0; k < count; ++k) {
    ahead_[k] = state = ahead_of(state, steps[k]);
    teach(state, sites[k]);
    taught_[k] = state;
  }
  all_.back() = taught_.back();
  for (size_t k = count - 1; k-- > 0;) {
    const State& here = taught_[k];
    const State& before = ahead_[k + 1];
    const State& after = all_[k + 1];
    const double n = steps[k + 1].length;
    // Covariance with the next state, times the inverse of that one's own.
    const double aa = here.var_at + n * here.covar, ar = here.covar;
    const double ra = here.covar + n * here.var_rate, rr = here.var_rate;
    const double det = before.var_at * before.var_rate - squared(before.covar);
    const double g11 = (aa * before.var_rate - ar * before.covar) / det;
    const double g12 = (ar * before.var_at - aa * before.covar) / det;
    const double g21 = (ra * before.var_rate - rr * before.covar) / det;
    const double g22 = (rr * before.var_at - ra * before.covar) / det;
    const double at = after.at - before.at, rate = after.rate - before.rate;
    const double va = after.var_at - before.var_at, vc = after.covar - before.covar;
    const double vr = after.var_rate - before.var_rate;
    State& all = all_[k];
    all.at = here.at + g11 * at + g12 * rate;
    all.rate = here.rate + g21 * at + g22 * rate;
    all.var_at = here.var_at + g11 * g11 * va + 2 * g11 * g12 * vc + g12 * g12 * vr;
    all.covar = here.covar + g11 * g21 * va + (g11 * g22 + g12 * g21) * vc + g12 * g22 * vr;
    all.var_rate = here.var_rate + g21 * g21 * va + 2 * g21 * g22 * vc + g22 * g22 * vr;
  }
}

// -- a row of changes without a gap --------------------------------------------------------------

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
  Match periods(const State& from, const Range& to) const;
  Step step(double n) const {
    const double wander = kind_ == Predictor::Kind::kWalk ? noise_ : 0;
    return {n, n * wander, n * noise_ * Predictor::drift(kind_)};
  }
  void judge(double noise_ns);
  void guess(State state, size_t from);
  void place_before(State state);
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
  std::vector<Site> sites_;
  std::vector<Step> steps_;
  std::vector<bool> sure_;  // of each step's length
  Smoother smoother_;
};

Match Row::periods(const State& from, const Range& to) const {
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
void Row::guess(State state, size_t from) {
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
void Row::place_before(State state) {
  for (placed_from_ = first_; placed_from_ > 0;) {
    const Range known = range(--placed_from_);
    const double periods = std::max(std::round((state.at - known.high) / state.rate), 1.0);
    Step back = step(periods);
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
  const Range known = range(first_);
  State start{(known.low + known.high) / 2, period_, squared(period_), 0,
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
        Normal others = smoother_.others(k, sites_[k]);
        others.variance += strays();
        found_[from + k] = cut(from + k, others);
        if (last || !sure_[k]) continue;
        sites_[k] = site_of(others, found_[from + k]);
        sites_[k].variance += strays();
      }
    }
    if (from == first_) place_before(smoother_.by_all(0));
    start = smoother_.taught(to - from - 1);
  }
}

Stamp Row::stamp(size_t i) const {
  if (i < placed_from_) return {};
  const Range known = range(i);
  const CutNormal& all = found_[i];
  const double most = std::max(all.mean - known.low, known.high - all.mean);
  const double half = std::min(kSigmas * std::sqrt(all.variance), most);
  return {base_ns_ + std::llround(all.mean), static_cast<float>(1e-9 * half)};
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
}

const Stamp* Stamps::at(int64_t first_new_ns) {
  while (next_ < changes_.size() && changes_[next_].first_new_ns < first_new_ns) ++next_;
  if (next_ == changes_.size() || changes_[next_].first_new_ns != first_new_ns) return nullptr;
  return stamps_[next_].half_s >= 0 ? &stamps_[next_] : nullptr;
}

}  // namespace pyprof
