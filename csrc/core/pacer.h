// When to read a sensor next, and when it changed: detects its update period, then locks on to it.
#pragma once

#include <cstdint>

#include "core/trace.h"

namespace pyprof {

struct Pace {
  int64_t interval_ns = 0;  // > 0: blind reads at this interval
  int64_t coarse_ns = 0;    // reads of sensors that update faster than it is worth following
  int64_t acquire_ns = 0;   // reads while the update period is not known
};

// An alpha-beta filter over the times of updates.
class Predictor {
 public:
  Predictor(double alpha, double beta) : alpha_(alpha), beta_(beta) {}
  void start(double at_ns, double period_ns, double error_ns);
  void update(double at_ns, int64_t periods);
  void skip(int64_t periods) { at_ns_ += static_cast<double>(periods) * period_ns_; }
  double next_ns() const { return at_ns_ + period_ns_; }
  double period_ns() const { return period_ns_; }
  double error_ns() const { return error_ns_; }

 private:
  double alpha_, beta_;
  double at_ns_ = 0, period_ns_ = 0, error_ns_ = 0;
};

class Pacer {
 public:
  explicit Pacer(Pace pace) : pace_(pace) {}

  enum class Mode : uint8_t { kAcquire, kFixed, kLocked };

  // The first read has happened at `now_ns`; returns the next deadline.
  int64_t start(int64_t now_ns);
  // A read in the middle of which `read_ns` lay. `changed` with the time of the last read before.
  // Returns the next deadline.
  int64_t next(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns);
  // A read failed: tries again soon, then less and less often.
  int64_t retry(int64_t now_ns);

  int64_t changed_at_ns() const { return changed_at_ns_; }  // estimate for the last change
  int64_t period_ns() const { return period_ns_; }          // 0: unknown
  int64_t spread_ns() const;
  int64_t interval_ns() const;  // planned time between reads
  Mode mode() const { return mode_; }
  uint64_t unseen() const { return unseen_; }
  // A burst of reads found that the sensor updates every `period_ns`, faster than it is read.
  void set_fast_period(int64_t period_ns);

 private:
  int64_t fixed(int64_t now_ns, int64_t interval_ns);
  int64_t acquire(int64_t read_ns, int64_t now_ns, bool changed, int64_t last_old_ns);
  int64_t locked(int64_t read_ns, bool changed, int64_t last_old_ns);
  void observe(double low_ns, double high_ns);
  int64_t first_read() const;
  void settle(Mode mode, int64_t interval_ns);
  const Predictor& best() const;
  double sigma_ns() const;

  Pace pace_;
  Mode mode_ = Mode::kAcquire;
  int64_t grid_ns_ = 0;   // last planned deadline of the fixed grid
  int64_t fixed_ns_ = 0;  // interval in kFixed
  int64_t period_ns_ = 0;
  int64_t changed_at_ns_ = 0;
  int64_t acquire_from_ns_ = 0;
  int64_t first_change_ns_ = 0;
  int64_t last_change_ns_ = 0;
  int changes_ = 0;
  int reads_ = 0;     // of the present update, while locked
  int failures_ = 0;  // in a row
  double step_ns_ = 0;
  int silent_ = 0;  // updates in a row that were predicted and not seen
  uint64_t unseen_ = 0;
  Predictor slow_{0.12, 0.004};
  Predictor quick_{0.9, 0.02};
};

}  // namespace pyprof
