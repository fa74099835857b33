#include "core/pacer.h"

#include <algorithm>
#include <cmath>

#include "core/clock.h"

namespace pyprof {
namespace {

constexpr int kAcquireChanges = 24;  // seen and too few of them well placed: polled
constexpr int kBlindChanges = 100;
constexpr int64_t kAcquireLimitNs = 3 * kNsPerS;  // without a change
// Of the period: the noise of the updates that ends a lock, a prediction that is too unsure to go
// on with, and one that is checked more often.
constexpr double kIrregular = 0.15;
constexpr double kLost = 0.25;
constexpr double kWanders = 0.025;
constexpr double kGridWanders = 0.15;
constexpr double kClearly = 0.1;  // likelier, in logarithms, so that chance alone does not decide
// Bracketing reads, in standard deviations of the prediction. One update in fifteen comes before
// the first of them, and three reads are enough in the mean.
constexpr double kStep = 1.1;
constexpr double kLead = 0.93;                           // and half a step
constexpr double kLeastStep = 0.015, kMostStep = 0.055;  // of the period
constexpr int kPatience = 6;  // reads of one update before the steps grow
constexpr int kSilentLimit = 20;
constexpr int kEarlyLimit = 8;  // one update in fifteen is early by chance
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

}  // namespace

const Predictor& Pacer::best() const { return grid_.fit() >= walk_.fit() ? grid_ : walk_; }

double Pacer::sigma_ns() const {
  return std::max({best().sigma_ns(), 0.002 * best().period_ns(), 20e3});
}

int64_t Pacer::spread_ns() const {
  // Interquartile range of a normal error.
  return mode_ == Mode::kLocked ? std::llround(1.349 * best().sigma_ns()) : 0;
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
  relock_ns_ = 0;
  changes_ = found_steps_ = failures_ = silent_ = early_ = 0;
  acquire_from_ns_ = grid_ns_ = now_ns;
  return fixed(now_ns, pace_.acquire_ns);
}

// The next point of the grid that lies ahead: after a stall no burst of reads catches up.
[[gnu::hot]] Plan Pacer::fixed(int64_t now_ns, int64_t interval_ns) {
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
  if ((changed && idle_) || (relock_ns_ != 0 && now_ns > relock_ns_)) return restart(now_ns);
  if (changed) {
    changed_at_ns_ = dated(read_ns, last_old_ns);
    if (learning()) learn(changed_at_ns_, read_ns);
  }
  return fixed(now_ns, fixed_ns_ * stride_);
}

Plan Pacer::acquire(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns) {
  if (changed) {
    acquire_from_ns_ = now_ns;
    const int64_t bracket = read_ns - last_old_ns, before = changed_at_ns_;
    changed_at_ns_ = last_old_ns + bracket / 2;
    if (++changes_ > 1 && add_step(changed_at_ns_ - before, bracket)) return lock(now_ns, bracket);
    last_bracket_ns_ = bracket;
    if (changes_ == kAcquireChanges) return put_off(now_ns);
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

// Between two changes that are both placed closely no update was missed, however late the thread
// woke elsewhere. True when the period is known.
bool Pacer::add_step(int64_t step_ns, int64_t bracket_ns) {
  const int64_t close = std::max(2 * pace_.acquire_ns, step_ns / 4);
  if (bracket_ns > close || last_bracket_ns_ > close) return false;
  const int64_t documented = pace_.documented_ns;
  // A gauge may have repeated its value in between: whole updates lie between changes.
  if (documented > 0) {
    int64_t updates = std::max<int64_t>((step_ns + documented / 2) / documented, 1);
    if (step_ns / updates > documented + documented / 10) ++updates;  // no slower than documented
    step_ns /= updates;
  }
  widest_ns_ = std::max({found_steps_ == 0 ? 0 : widest_ns_, bracket_ns, last_bracket_ns_});
  steps_[static_cast<size_t>(found_steps_++)] = step_ns;
  return found_steps_ == kAcquireSteps;
}

Plan Pacer::lock(int64_t now_ns, int64_t bracket_ns) {
  std::sort(steps_.begin(), steps_.end());
  const int64_t middle = (steps_[1] + steps_[2]) / 2;
  // Half of the outer ones' weight as well, unless they stray by more than their brackets leave
  // open: the mean is surer than the median.
  int64_t sum = 0, count = 0;
  for (const int64_t step : steps_) {
    if (std::abs(step - middle) > std::max(middle / 4, widest_ns_)) continue;
    sum += step;
    ++count;
  }
  const int64_t period = count > 0 ? sum / count : middle;
  if (period < std::max(2 * pace_.acquire_ns, pace_.follow_ns)) {
    // Faster than is worth following; perhaps too fast to be told by these reads.
    period_ns_ = period < 2 * pace_.acquire_ns ? 0 : period;
    mode_ = Mode::kFixed;
    fixed_ns_ = pace_.coarse_ns;
    return fixed(now_ns, fixed_ns_ * stride_);
  }
  period_ns_ = period;
  const auto error = static_cast<double>(std::max(bracket_ns, last_bracket_ns_)) / 2;
  const double period_error = error / kAcquireSteps;
  for (Predictor* predictor : {&grid_, &walk_}) {
    predictor->start(static_cast<double>(changed_at_ns_), static_cast<double>(period), error,
                     period_error);
  }
  mode_ = Mode::kLocked;
  silent_ = early_ = 0;
  every_ = pace_.bracket_every;
  attention_ = kLearning;
  return plan_update();
}

// -- a sensor whose updates are predicted ---------------------------------------------------------

double Pacer::step() const {
  const double period = best().period_ns();
  return std::clamp(kStep * sigma_ns(), kLeastStep * period, kMostStep * period);
}

// The less the step is narrowed by the jitter, the more the prediction may lie in its middle.
double Pacer::first_read() const {
  const double sigma = sigma_ns(), wide = step();
  const double lead = kLead * sigma * std::min(1.5 * kStep * sigma / wide, 1.0);
  return best().next_ns() - lead - 0.5 * wide;
}

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
    observe(last_old_ns, read_ns);
    silent_ = 0;
    if (best().noise_ns() > kIrregular * period) return give_up(now_ns);
    // The phase has jumped: each update is seen only after it has long been there. Or too few
    // updates could be placed of late.
    if (early_ >= kEarlyLimit || best().sigma_ns() > kLost * period) return restart(now_ns);
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
  if (reads_++ == 0) step_ns_ = step();
  if (reads_ > kPatience) step_ns_ = std::min(step_ns_ * 1.5, 0.232 * period);
  return exactly(std::max(first_read(), read + step_ns_));
}

void Pacer::coast() {
  ++unseen_;
  grid_.skip(1);
  walk_.skip(1);
}

// The update lies in (low, high): place it by prediction and bracket, and teach the predictors.
void Pacer::observe(int64_t low_ns, int64_t high_ns) {
  const double period = best().period_ns(), sigma = best().sigma_ns();
  const auto high = static_cast<double>(high_ns);
  const Match found = match(best().next_ns(), period, sigma, static_cast<double>(low_ns), high);
  unseen_ += static_cast<uint64_t>(found.periods - 1);
  // Where updates were missed, the value that was read is the last one's.
  const double low = std::max(static_cast<double>(low_ns), high - period - 2 * sigma);
  if (!found.sure) {
    grid_.skip(found.periods);
    walk_.skip(found.periods);
    changed_at_ns_ = low_ns + (high_ns - low_ns) / 2;
    if (low > static_cast<double>(low_ns)) changed_at_ns_ = std::llround((low + high) / 2);
    return;
  }
  const bool on_grid = &best() == &grid_;
  const double on_grid_ns = grid_.observe(found.periods, low, high);
  const double on_walk_ns = walk_.observe(found.periods, low, high);
  changed_at_ns_ =
      std::clamp<int64_t>(std::llround(on_grid ? on_grid_ns : on_walk_ns), low_ns, high_ns);
  period_ns_ = std::llround(best().period_ns());
  judge(sigma);
}

// A prediction that drifts is checked more often. Where each interval strays for itself, every
// update that is not placed adds to the error.
void Pacer::judge(double sigma_ns) {
  const double error = sigma_ns / best().period_ns();
  const double most = grid_.fit() > walk_.fit() + kClearly ? kGridWanders : kWanders;
  if (error > most) {
    every_ = std::max(every_ / 2, 1);
  } else if (error < most / 2) {
    every_ = std::min(2 * every_, pace_.bracket_every);
  }
}

// -- a sensor whose updates can't be predicted ----------------------------------------------------

Plan Pacer::give_up(int64_t now_ns) {
  seen_spread_ns_ = spread_ns();
  const int64_t reads = pace_.bracket_every > 1 ? 2 : 8;  // of an update
  fixed_ns_ = std::clamp(period_ns_ / reads, kNsPerMs, std::max(pace_.poll_ns, kNsPerMs));
  const Plan plan = put_off(now_ns);
  mode_ = Mode::kIrregular;
  return plan;
}

// The thread comes too late to tell the period; it may do better later.
Plan Pacer::put_off(int64_t now_ns) {
  if (mode_ == Mode::kAcquire) fixed_ns_ = pace_.coarse_ns;
  mode_ = Mode::kFixed;
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
