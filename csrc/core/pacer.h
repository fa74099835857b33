// When to read a sensor next, and when it changed: detects its update period, then locks on to its
// phase. docs/sampling.md tells the same in words.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "core/predictor.h"
#include "core/trace.h"

namespace pyprof {

// How closely sensors are followed.
struct Pace {
  int64_t interval_ns = 0;  // > 0: blind reads at this interval
  int64_t coarse_ns = 0;    // reads of sensors that update faster than is worth following
  int64_t acquire_ns = 0;   // reads while the update period is not known
  int64_t follow_ns = 0;    // shortest update period that is worth following
  int64_t poll_ns = 0;      // reads of sensors whose updates can't be predicted, at most this apart
  int bracket_every = 1;    // one update in so many is bracketed by several reads
  int64_t documented_ns = 0;  // of a gauge: an update that repeats the value can't be seen
};

// When a unit is to be read: not before `ready`, and by a wake of its own at `deadline`. Whoever is
// ready when a thread wakes is read in that wake.
struct Plan {
  int64_t ready_ns = 0;
  int64_t deadline_ns = 0;
};

class Pacer {
 public:
  static constexpr int kAcquireSteps = 4;  // that tell the period

  explicit Pacer(Pace pace) : pace_(pace), every_(pace.bracket_every) {}

  enum class Mode : uint8_t {
    kAcquire,    // the update period is being looked for
    kFixed,      // read on a grid: blindly, or faster than is worth following, or never changing
    kLocked,     // updates are predicted
    kIrregular,  // updates can't be predicted: polled
  };

  // The first read has happened at `now_ns`; returns the next one.
  Plan start(int64_t now_ns);
  // A read in the middle of which `read_ns` lay. `changed` with the time of the last read before.
  Plan next(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns);
  // On a grid the two steps of `next` are simple.
  bool plain() const { return mode_ == Mode::kFixed && !idle_ && relock_ns_ == 0; }
  bool learning() const { return changes_ < plain_after_; }  // from each change
  int64_t dated(int64_t read_ns, int64_t last_old_ns) const {
    // Faster than it is read: the value is on average half an update old, and one too fast for its
    // period to be found changed within each two reads. Else the change lies anywhere between.
    const int64_t bracket = read_ns - last_old_ns;
    const int64_t unknown = pace_.interval_ns > 0 ? bracket : pace_.acquire_ns;
    return read_ns - (std::min(period_ns_ > 0 ? period_ns_ : unknown, bracket) >> 1);
  }
  // Blind reads tell the period too, once they outnumber the changes well enough.
  void learn(int64_t changed_at_ns, int64_t read_ns) {
    if (changes_++ == 0) first_change_ns_ = changed_at_ns;
    const int64_t reads = (read_ns - acquire_from_ns_) / fixed_ns_;
    if (changes_ < 8 || reads <= changes_ * 3 / 2) return;
    period_ns_ = (changed_at_ns - first_change_ns_) / (changes_ - 1);
  }
  void on_grid(int64_t now_ns, Plan& plan) {
    const int64_t at_ns = grid_ns_ + step_grid_ns_;
    if (at_ns <= now_ns) [[unlikely]] {
      plan = fixed(now_ns, step_grid_ns_);
      return;
    }
    grid_ns_ = at_ns;
    plan.deadline_ns = at_ns;
    plan.ready_ns = at_ns - slack_ns_;
  }
  // A read failed: tries again soon, then less and less often.
  Plan retry(int64_t now_ns);
  // Looks for the period anew: after a reset, or when the sensor was away for long.
  Plan restart(int64_t now_ns);
  // The next update matters more than others: a stage began or ended, or (`always`) the run does.
  // `planned` is what the pacer said last.
  Plan attend(int64_t now_ns, Plan planned, bool always = false);
  // Reads only every `stride`-th time; 1 is the full pace.
  void slow_down(int stride) {
    stride_ = stride;
    step_grid_ns_ = fixed_ns_ * stride;
  }
  // A burst of reads found that the sensor updates every `period_ns`, faster than it is read.
  void set_fast_period(int64_t period_ns, int64_t spread_ns);

  int64_t changed_at_ns() const { return changed_at_ns_; }  // estimate for the last change
  int64_t period_ns() const { return period_ns_; }          // 0: unknown
  // Spread (interquartile) of the updates about their prediction; 0 while they are not predicted.
  int64_t spread_ns() const;
  // The same, also for a sensor that is read too seldom for it to place any update.
  int64_t period_spread_ns() const {
    return mode_ == Mode::kLocked ? spread_ns() : seen_spread_ns_;
  }
  int64_t interval_ns() const;  // planned time between reads
  Mode mode() const { return mode_; }
  bool bracketing() const { return mode_ == Mode::kLocked && bracketing_; }
  uint64_t unseen() const { return unseen_; }

 private:
  Plan fixed(int64_t now_ns, int64_t interval_ns);
  Plan acquire(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns);
  Plan locked(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns);
  Plan polled(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns);
  bool add_step(int64_t step_ns, int64_t bracket_ns);
  Plan lock(int64_t now_ns, int64_t bracket_ns);
  Plan give_up(int64_t now_ns);
  Plan put_off(int64_t now_ns);
  Plan plan_update();
  Plan window(int later) const;
  Plan exactly(double at_ns);
  void observe(int64_t low_ns, int64_t high_ns);
  void judge(double sigma_ns);
  void coast();
  double step() const;
  double first_read() const;
  double margin_ns() const;
  const Predictor& best() const;
  double sigma_ns() const;

  // What each read of a plain grid touches comes first.
  int64_t grid_ns_ = 0;                      // last planned deadline of the fixed grid
  int64_t step_grid_ns_ = 0, slack_ns_ = 0;  // of the grid as it is read now
  int64_t period_ns_ = 0;
  int changes_ = 0;
  int plain_after_ = 0;  // changes that blind reads learn the period from
  Mode mode_ = Mode::kAcquire;
  Pace pace_;
  int64_t fixed_ns_ = 0;  // interval in kFixed and kIrregular
  int64_t seen_spread_ns_ = 0;
  int64_t changed_at_ns_ = 0;
  int64_t acquire_from_ns_ = 0;
  int64_t first_change_ns_ = 0;
  int64_t last_bracket_ns_ = 0;  // of the last change, while the period is looked for
  std::array<int64_t, kAcquireSteps> steps_{};  // between changes that no update can hide between
  int64_t widest_ns_ = 0;                       // bracket around any of them
  int64_t relock_ns_ = 0;                       // when an irregular sensor is tried again
  int64_t relock_wait_ns_ = 0;                  // and after how long, doubled each time
  int found_steps_ = 0;
  int reads_ = 0;     // of the present update, while locked
  int failures_ = 0;  // in a row
  int silent_ = 0;    // updates in a row that were predicted and not seen
  int early_ = 0;     // bracketed updates in a row that the first read came too late for
  int stride_ = 1;
  int every_;                // present value of bracket_every: less where the prediction drifts
  int since_bracket_ = 0;    // updates since the last bracketed one
  int attention_ = 0;        // updates ahead that are to be bracketed
  double credit_ = 0;        // updates that marks may have bracketed
  bool bracketing_ = false;  // the next update
  bool idle_ = false;        // it has not moved for so long that nobody waits for it
  double step_ns_ = 0;
  int64_t exact_ns_ = 0;    // deadline of the present bracketing read
  double lateness_ns_ = 0;  // mean lateness of such reads
  uint64_t unseen_ = 0;
  Predictor grid_{Predictor::Kind::kGrid};
  Predictor walk_{Predictor::Kind::kWalk};
};

}  // namespace pyprof
