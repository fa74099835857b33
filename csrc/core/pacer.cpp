#include "core/pacer.h"

#include <algorithm>
#include <cmath>

#include "core/clock.h"

namespace pyprof {
namespace {

constexpr int kAcquireChanges = 5;
constexpr int64_t kAcquireLimitNs = 3 * kNsPerS;
constexpr double kIrregular = 0.12;  // mean error of the prediction, of a period, that ends a lock
constexpr double kErrorGain = 0.05;
constexpr int kPatience = 6;  // reads of one update before the steps grow
constexpr int kSilentLimit = 20;
constexpr int64_t kLongestRetryNs = 100 * kNsPerMs;

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
}

void Predictor::update(double at_ns, int64_t periods) {
  const double k = static_cast<double>(periods);
  const double predicted = at_ns_ + k * period_ns_;
  const double error = std::clamp(at_ns - predicted, -period_ns_ / 4, period_ns_ / 4);
  at_ns_ = predicted + alpha_ * error;
  period_ns_ += beta_ * error / k;
  error_ns_ += kErrorGain * (std::abs(error) - error_ns_);
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
  if (mode_ == Mode::kFixed) return fixed_ns_;
  return mode_ == Mode::kLocked ? period_ns_ : pace_.acquire_ns;
}

void Pacer::set_fast_period(int64_t period_ns) {
  period_ns_ = period_ns;
  settle(Mode::kFixed, pace_.coarse_ns);
}

void Pacer::settle(Mode mode, int64_t interval_ns) {
  mode_ = mode;
  fixed_ns_ = interval_ns;
}

int64_t Pacer::start(int64_t now_ns) {
  grid_ns_ = now_ns;
  acquire_from_ns_ = now_ns;
  if (pace_.interval_ns > 0) settle(Mode::kFixed, pace_.interval_ns);
  return fixed(now_ns, interval_ns());
}

// The next point of the grid that lies ahead: after a stall no burst of reads catches up.
int64_t Pacer::fixed(int64_t now_ns, int64_t interval_ns) {
  grid_ns_ += interval_ns;
  if (grid_ns_ <= now_ns) grid_ns_ += (now_ns - grid_ns_) / interval_ns * interval_ns + interval_ns;
  return grid_ns_;
}

int64_t Pacer::retry(int64_t now_ns) {
  const int64_t first = pace_.interval_ns > 0 ? pace_.interval_ns : pace_.acquire_ns;
  const int64_t wait = std::min(first << std::min(failures_++, 10), kLongestRetryNs);
  grid_ns_ = now_ns;
  return now_ns + std::max(wait, pace_.interval_ns);
}

int64_t Pacer::next(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns) {
  failures_ = 0;
  if (mode_ == Mode::kLocked) return locked(read_ns, changed, last_old_ns);
  if (mode_ == Mode::kAcquire) return acquire(read_ns, now_ns, changed, last_old_ns);
  if (changed) {
    // Faster than it is read: the value is on average half an update old. Else the change lies
    // anywhere between the two reads.
    const int64_t bracket = read_ns - last_old_ns;
    const int64_t age = period_ns_ > 0 ? std::min(period_ns_, bracket) : bracket;
    changed_at_ns_ = read_ns - age / 2;
    if (first_change_ns_ == 0) first_change_ns_ = changed_at_ns_;
    last_change_ns_ = changed_at_ns_;
    ++changes_;
    // Blind reads tell the period too, once they outnumber the changes well enough.
    const int64_t reads = (read_ns - acquire_from_ns_) / fixed_ns_;
    if (pace_.interval_ns > 0 && changes_ >= 8 && changes_ < 4096 && reads > changes_ * 3 / 2) {
      period_ns_ = (last_change_ns_ - first_change_ns_) / (changes_ - 1);
    }
  }
  return fixed(now_ns, fixed_ns_);
}

int64_t Pacer::acquire(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns) {
  if (changed) {
    changed_at_ns_ = last_old_ns + (read_ns - last_old_ns) / 2;
    if (changes_++ == 0) first_change_ns_ = changed_at_ns_;
    last_change_ns_ = changed_at_ns_;
  }
  if (changes_ == kAcquireChanges) {
    const int64_t period = (last_change_ns_ - first_change_ns_) / (kAcquireChanges - 1);
    if (period < 2 * pace_.acquire_ns || period < pace_.coarse_ns * 3 / 4) {
      period_ns_ =
          period < 2 * pace_.acquire_ns ? 0 : period;  // too fast to be told by these reads
      settle(Mode::kFixed, pace_.coarse_ns);
      return fixed(now_ns, fixed_ns_);
    }
    period_ns_ = period;
    const double error = static_cast<double>(pace_.acquire_ns) / 2;
    slow_.start(static_cast<double>(changed_at_ns_), static_cast<double>(period), error);
    quick_.start(static_cast<double>(changed_at_ns_), static_cast<double>(period), error);
    mode_ = Mode::kLocked;
    reads_ = 0;
    silent_ = 0;
    return first_read();
  }
  if (now_ns - acquire_from_ns_ > kAcquireLimitNs) {
    // A gauge that never moves, or an idle counter: nothing to lock on to.
    settle(Mode::kFixed, pace_.coarse_ns);
    return fixed(now_ns, fixed_ns_);
  }
  return fixed(now_ns, pace_.acquire_ns);
}

int64_t Pacer::first_read() const {
  return static_cast<int64_t>(best().next_ns() - 1.25 * sigma_ns());
}

int64_t Pacer::locked(int64_t read_ns, bool changed, int64_t last_old_ns) {
  const double period = best().period_ns();
  if (changed) {
    observe(static_cast<double>(last_old_ns), static_cast<double>(read_ns));
    reads_ = 0;
    silent_ = 0;
    if (best().error_ns() > kIrregular * period) {
      settle(Mode::kFixed, std::clamp(period_ns_ / 8, kNsPerMs, pace_.coarse_ns));
      grid_ns_ = read_ns;
      return fixed(read_ns, fixed_ns_);
    }
    return first_read();
  }
  if (static_cast<double>(read_ns) > best().next_ns() + period / 2) {
    // A gauge that repeats its value shows no change: coast on the prediction.
    ++unseen_;
    slow_.skip(1);
    quick_.skip(1);
    reads_ = 0;
    if (++silent_ > kSilentLimit) {
      mode_ = Mode::kAcquire;
      changes_ = 0;
      acquire_from_ns_ = grid_ns_ = read_ns;
      return fixed(read_ns, pace_.acquire_ns);
    }
    return std::max(first_read(), read_ns + pace_.acquire_ns / 4);
  }
  if (reads_++ == 0) step_ns_ = std::clamp(0.9 * sigma_ns(), 0.01 * period, 0.058 * period);
  if (reads_ > kPatience) step_ns_ = std::min(step_ns_ * 1.5, 0.232 * period);
  return std::max(first_read(), read_ns + static_cast<int64_t>(step_ns_));
}

// The update lies in (low, high): place it by prediction and bracket, then teach the predictors.
void Pacer::observe(double low_ns, double high_ns) {
  const Predictor& guide = best();
  const double period = guide.period_ns();
  int64_t periods = 1;
  double predicted = guide.next_ns();
  if (high_ns > predicted + period / 2) {
    const auto extra = static_cast<int64_t>((high_ns + sigma_ns() - predicted) / period);
    periods += extra;
    predicted += static_cast<double>(extra) * period;
    unseen_ += static_cast<uint64_t>(extra);
  }
  const double at = cut_mean(predicted, sigma_ns(), std::max(low_ns, predicted - period), high_ns);
  slow_.update(at, periods);
  quick_.update(at, periods);
  changed_at_ns_ = std::llround(std::clamp(at, low_ns, high_ns));
  period_ns_ = std::llround(best().period_ns());
}

}  // namespace pyprof
