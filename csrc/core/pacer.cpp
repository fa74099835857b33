#include "core/pacer.h"

#include <algorithm>
#include <cmath>

#include "core/clock.h"

namespace pyprof {
namespace {

constexpr int kAcquireChanges = 5;
constexpr int kBlindChanges = 100;
constexpr int64_t kAcquireLimitNs = 3 * kNsPerS;
constexpr double kIrregular = 0.12;  // mean error of the prediction, of a period, that ends a lock
constexpr double kWanders = 0.02;    // the same, that makes brackets more frequent
constexpr double kErrorGain = 0.05;
constexpr int kPatience = 6;  // reads of one update before the steps grow
constexpr int kSilentLimit = 20;
constexpr int kEarlyLimit = 8;  // one update in eight is early by chance
constexpr double kInforms =
    2;  // a bracket that reaches so far to both sides, in sigmas, says nothing
constexpr double kLatenessGain = 0.05;
constexpr int64_t kMostLatenessNs = 500 * kNsPerUs;
constexpr int kLearning = 8;  // updates bracketed in a row after the lock
constexpr int64_t kLongestRetryNs = 100 * kNsPerMs;
constexpr int64_t kFirstRelockNs = 10 * kNsPerS;
constexpr int64_t kLastRelockNs = 600 * kNsPerS;
// A grid that nobody has asked for may be read this share of its interval early, so that units
// share wakes; a bracket must not be spoilt by it.
constexpr int64_t kGridSlack = 8;
constexpr int64_t kMostShareNs = 150 * kNsPerUs;
// Marks may have one update in four bracketed, or some in a row after a quiet time: a program that
// marks all the time is followed more closely by the fine pace, which it can ask for.
constexpr double kCredit = 0.25;
constexpr double kMostCredit = 4;

double density(double z) { return 0.3989422804014327 * std::exp(-0.5 * z * z); }
double cumulative(double z) { return 0.5 * std::erfc(-z * 0.7071067811865476); }

// Mean of Normal(mean, sigma) cut to [low, high]; the nearer end where the cut has no weight.
double cut_mean(double mean, double sigma, double low, double high) {
  const double a = (low - mean) / sigma;
  const double b = (high - mean) / sigma;
  const double weight = cumulative(b) - cumulative(a);
  if (!(weight > 1e-9)) return mean < low ? low : high;
  return std::clamp(mean + sigma * (density(a) - density(b)) / weight, low, high);
}

}  // namespace

void Predictor::start(double at_ns, double period_ns, double error_ns) {
  at_ns_ = at_ns;
  period_ns_ = period_ns;
  error_ns_ = error_ns;
  count_ = 2;  // what it starts from: where it is and how fast
}

void Predictor::update(double at_ns, int64_t periods, int64_t blind) {
  const double predicted = at_ns_ + static_cast<double>(periods) * period_ns_;
  const double error = std::clamp(at_ns - predicted, -period_ns_ / 4, period_ns_ / 4);
  count_ += 1;
  const double alpha = 2 * (2 * count_ - 1) / (count_ * (count_ + 1));
  const double beta = 6 / (count_ * (count_ + 1));
  at_ns_ = predicted + std::max(alpha, alpha_) * error;
  period_ns_ += std::max(beta, beta_) * error / static_cast<double>(periods + blind);
  error_ns_ += std::max(1 / count_, kErrorGain) * (std::abs(error) - error_ns_);
}

const Predictor& Pacer::best() const {
  return slow_.error_ns() <= quick_.error_ns() ? slow_ : quick_;
}

double Pacer::sigma_ns() const {
  return std::max({1.25 * best().error_ns(), 0.002 * best().period_ns(), 20e3});
}

int64_t Pacer::spread_ns() const {
  // Interquartile range of a normal error whose mean absolute value is known.
  return mode_ == Mode::kLocked ? std::llround(1.69 * best().error_ns()) : 0;
}

int64_t Pacer::interval_ns() const {
  switch (mode_) {
    case Mode::kAcquire:
      return pace_.acquire_ns;
    case Mode::kLocked:
      return period_ns_ * stride_;
    default:
      return fixed_ns_ * stride_;
  }
}

void Pacer::set_fast_period(int64_t period_ns, int64_t spread_ns) {
  period_ns_ = period_ns;
  seen_spread_ns_ = spread_ns;
  mode_ = Mode::kFixed;
  fixed_ns_ = pace_.coarse_ns;
}

Plan Pacer::start(int64_t now_ns) {
  grid_ns_ = now_ns;
  acquire_from_ns_ = now_ns;
  if (pace_.interval_ns > 0) {
    mode_ = Mode::kFixed;
    fixed_ns_ = pace_.interval_ns;
    plain_after_ = kBlindChanges;
  }
  return fixed(now_ns, interval_ns());
}

Plan Pacer::restart(int64_t now_ns) {
  if (pace_.interval_ns > 0) return fixed(now_ns, interval_ns());
  mode_ = Mode::kAcquire;
  idle_ = false;
  changes_ = failures_ = silent_ = early_ = 0;
  acquire_from_ns_ = grid_ns_ = now_ns;
  return fixed(now_ns, pace_.acquire_ns);
}

// The next point of the grid that lies ahead: after a stall no burst of reads catches up.
Plan Pacer::fixed(int64_t now_ns, int64_t interval_ns) {
  grid_ns_ += interval_ns;
  if (grid_ns_ <= now_ns) grid_ns_ += (now_ns - grid_ns_) / interval_ns * interval_ns + interval_ns;
  step_grid_ns_ = interval_ns;
  slack_ns_ = pace_.interval_ns > 0 ? 0 : interval_ns / kGridSlack;
  return {grid_ns_ - slack_ns_, grid_ns_};
}

Plan Pacer::retry(int64_t now_ns) {
  const int64_t first = pace_.interval_ns > 0 ? pace_.interval_ns : pace_.acquire_ns;
  const int64_t wait = std::min(first << std::min(failures_++, 10), kLongestRetryNs);
  grid_ns_ = now_ns;
  const int64_t at = now_ns + std::max(wait, pace_.interval_ns);
  return {at - wait / kGridSlack, at};
}

Plan Pacer::next(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns) {
  failures_ = 0;
  if (mode_ == Mode::kLocked) return locked(read_ns, now_ns, changed, last_old_ns);
  if (mode_ == Mode::kAcquire) return acquire(read_ns, now_ns, changed, last_old_ns);
  if (mode_ == Mode::kIrregular) return polled(read_ns, now_ns, changed, last_old_ns);
  if (changed && idle_) return restart(now_ns);
  if (changed) {
    changed_at_ns_ = dated(read_ns, last_old_ns);
    if (changes_ < plain_after_) {
      if (changes_++ == 0) first_change_ns_ = changed_at_ns_;
      // Blind reads tell the period too, once they outnumber the changes well enough.
      const int64_t reads = (read_ns - acquire_from_ns_) / fixed_ns_;
      if (changes_ >= 8 && reads > changes_ * 3 / 2) {
        period_ns_ = (changed_at_ns_ - first_change_ns_) / (changes_ - 1);
      }
    }
  }
  return fixed(now_ns, fixed_ns_ * stride_);
}

Plan Pacer::acquire(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns) {
  if (changed) {
    changed_at_ns_ = last_old_ns + (read_ns - last_old_ns) / 2;
    if (changes_++ == 0) first_change_ns_ = changed_at_ns_;
    last_change_ns_ = changed_at_ns_;
  }
  if (changes_ == kAcquireChanges) {
    int64_t period = (last_change_ns_ - first_change_ns_) / (kAcquireChanges - 1);
    if (pace_.documented_ns > 0 && period > pace_.documented_ns) {
      // Changes lie whole updates apart.
      period /= (period + pace_.documented_ns / 2) / pace_.documented_ns;
    }
    if (period >= std::max(2 * pace_.acquire_ns, pace_.follow_ns)) {
      return lock(static_cast<double>(period));
    }
    // Faster than is worth following; perhaps too fast to be told by these reads.
    period_ns_ = period < 2 * pace_.acquire_ns ? 0 : period;
    mode_ = Mode::kFixed;
    fixed_ns_ = pace_.coarse_ns;
    return fixed(now_ns, fixed_ns_ * stride_);
  }
  if (now_ns - acquire_from_ns_ > kAcquireLimitNs) {
    // A gauge that never moves, or an idle counter: nothing to lock on to.
    mode_ = Mode::kFixed;
    idle_ = true;
    fixed_ns_ = std::max(pace_.poll_ns, pace_.acquire_ns);
    return fixed(now_ns, fixed_ns_ * stride_);
  }
  return fixed(now_ns, pace_.acquire_ns);
}

Plan Pacer::lock(double period_ns) {
  period_ns_ = std::llround(period_ns);
  const double error = static_cast<double>(pace_.acquire_ns) / 2;
  slow_.start(static_cast<double>(changed_at_ns_), period_ns, error);
  quick_.start(static_cast<double>(changed_at_ns_), period_ns, error);
  mode_ = Mode::kLocked;
  silent_ = early_ = 0;
  every_ = pace_.bracket_every;
  attention_ = kLearning;
  blind_ = 0;
  return plan_update();
}

// -- a sensor whose updates are predicted ---------------------------------------------------------

double Pacer::first_read() const { return best().next_ns() - 1.25 * sigma_ns(); }

// How far from its predicted time an update may be taken for granted.
double Pacer::margin_ns() const {
  const double period = best().period_ns();
  return std::clamp(3 * sigma_ns(), 0.03 * period, 0.35 * period);
}

Plan Pacer::exactly(double at_ns) {
  const auto at = static_cast<int64_t>(at_ns - lateness_ns_);
  exact_ns_ = at;
  return {at - std::min(kMostShareNs, period_ns_ / 256), at};
}

// Either the next update is bracketed, or it is read at any time between it and the one after it,
// which lets many units share a wake; the prediction then says when it came.
Plan Pacer::plan_update() {
  reads_ = 0;
  credit_ = std::min(credit_ + kCredit, kMostCredit);
  bracketing_ = stride_ == 1 ? ++since_bracket_ >= every_ || attention_ > 0
                             : ++since_bracket_ >= pace_.bracket_every;
  if (attention_ > 0) --attention_;
  if (bracketing_) {
    since_bracket_ = 0;
    return exactly(first_read());
  }
  return window(stride_ - 1);
}

// Any time in the first half between the update `later` periods after the next one and the one that
// follows. A thread can wake late, and one that comes after the second update can't tell the two.
Plan Pacer::window(int later) const {
  const double update = best().next_ns() + later * best().period_ns();
  const double end = update + best().period_ns() / 2;
  return {static_cast<int64_t>(update + margin_ns()), static_cast<int64_t>(end)};
}

Plan Pacer::attend(int64_t now_ns, Plan planned, bool always) {
  if (mode_ != Mode::kLocked || bracketing_) return planned;
  if (!always && (stride_ > 1 || credit_ < 1)) return planned;
  credit_ = std::max(credit_ - 1, 0.0);
  if (static_cast<double>(now_ns) > first_read()) {
    attention_ = std::max(attention_, 1);
    return planned;
  }
  bracketing_ = true;
  since_bracket_ = 0;
  return exactly(first_read());
}

Plan Pacer::locked(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns) {
  const double period = best().period_ns();
  const auto read = static_cast<double>(read_ns);
  if (bracketing_ && read_ns >= exact_ns_) {
    // Threads wake late, and by how much depends on the machine: deadlines are set ahead of it.
    const auto late = static_cast<double>(std::min(read_ns - exact_ns_, kMostLatenessNs));
    lateness_ns_ += kLatenessGain * (late - lateness_ns_);
  }
  if (changed) {
    early_ = bracketing_ && reads_ == 0 ? early_ + 1 : bracketing_ ? 0 : early_;
    observe(static_cast<double>(last_old_ns), read);
    silent_ = 0;
    if (best().error_ns() > kIrregular * period) return give_up(now_ns);
    // The phase has jumped: each update is seen only after it has long been there.
    if (early_ >= kEarlyLimit) return restart(now_ns);
    return plan_update();
  }
  const double limit = bracketing_ ? period / 2 : margin_ns() / 2;
  if (read > best().next_ns() + limit) {
    // A gauge that repeats its value shows no change: coast on the prediction.
    coast();
    if (++silent_ > kSilentLimit) return restart(now_ns);
    Plan plan = plan_update();
    const int64_t least = now_ns + pace_.acquire_ns / 4;
    return {std::max(plan.ready_ns, least), std::max(plan.deadline_ns, least)};
  }
  if (!bracketing_) {
    return window(0);  // a read that nobody planned, before the update
  }
  if (reads_++ == 0) step_ns_ = std::clamp(0.9 * sigma_ns(), 0.01 * period, 0.058 * period);
  if (reads_ > kPatience) step_ns_ = std::min(step_ns_ * 1.5, 0.232 * period);
  return exactly(std::max(first_read(), read + step_ns_));
}

void Pacer::coast() {
  ++unseen_;
  ++blind_;
  slow_.skip(1);
  quick_.skip(1);
}

// The update lies in (low, high): place it by prediction and bracket, then teach the predictors.
void Pacer::observe(double low_ns, double high_ns) {
  const Predictor& guide = best();
  const double period = guide.period_ns();
  const double sigma = sigma_ns();
  int64_t periods = 1;
  double predicted = guide.next_ns();
  if (high_ns > predicted + period / 2) {
    const auto extra = static_cast<int64_t>((high_ns + sigma - predicted) / period);
    periods += extra;
    predicted += static_cast<double>(extra) * period;
    unseen_ += static_cast<uint64_t>(extra);
  }
  const double low = std::max(low_ns, predicted - period);
  const double at = cut_mean(predicted, sigma, low, high_ns);
  changed_at_ns_ = std::llround(std::clamp(at, low_ns, high_ns));
  if (low < predicted - kInforms * sigma && high_ns > predicted + kInforms * sigma) {
    // The bracket says nothing that the prediction did not say.
    slow_.skip(periods);
    quick_.skip(periods);
    blind_ += periods;
    return;
  }
  slow_.update(at, periods, blind_);
  quick_.update(at, periods, blind_);
  blind_ = 0;
  period_ns_ = std::llround(best().period_ns());
  judge();
}

// A prediction that drifts is checked more often. Where the quick predictor is the better one the
// period itself wanders, and every update that is not placed adds to the error.
void Pacer::judge() {
  const double error = best().error_ns() / best().period_ns();
  const double most = &best() == &quick_ ? kWanders : kIrregular / 2;
  if (error > most) {
    every_ = std::max(every_ / 2, 1);
  } else if (error < most / 2) {
    every_ = std::min(2 * every_, pace_.bracket_every);
  }
}

// -- a sensor whose updates can't be predicted ----------------------------------------------------

Plan Pacer::give_up(int64_t now_ns) {
  seen_spread_ns_ = spread_ns();
  mode_ = Mode::kIrregular;
  const int64_t reads = pace_.bracket_every > 1 ? 2 : 8;  // of an update
  fixed_ns_ = std::clamp(period_ns_ / reads, kNsPerMs, std::max(pace_.poll_ns, kNsPerMs));
  relock_wait_ns_ = std::clamp(2 * relock_wait_ns_, kFirstRelockNs, kLastRelockNs);
  relock_ns_ = now_ns + relock_wait_ns_;
  grid_ns_ = now_ns;
  return fixed(now_ns, fixed_ns_ * stride_);
}

Plan Pacer::polled(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns) {
  if (changed) changed_at_ns_ = last_old_ns + (read_ns - last_old_ns) / 2;
  if (now_ns > relock_ns_) return restart(now_ns);
  return fixed(now_ns, fixed_ns_ * stride_);
}

}  // namespace pyprof
