// What a sensor shows of a signal: the state at its last update, in whole quanta, within a range.
#pragma once

#include <cstdint>

#include "core/signal.h"

namespace pyprof {

struct SensorSpec {
  int64_t period_ns = 1'000'000;
  int64_t phase_ns = 0;       // time of update number 0
  double jitter = 0.0;        // spread of each update's time, as a fraction of the period, below 1
  double quantum_j = 1e-6;    // joules per count
  uint64_t range_counts = 0;  // counts after which the counter starts again at 0; 0: 64 bits
  uint64_t start_count = 0;   // the counter at time 0
  int64_t window_ns = 0;      // the power shown is the mean over this long; 0: of the moment
  int64_t lag_ns = 0;         // what is shown describes the signal this long before the update
};

// Constant after construction, so any thread may ask. Times are those of the signal. The moments
// of the updates depend on nothing but the spec: two models of one spec agree.
class SensorModel {
 public:
  // Throws std::invalid_argument on a period or quantum that is not positive, a jitter outside
  // [0, 1), a negative window or lag, a range above 2^62, or a start outside the range.
  SensorModel(Signal signal, const SensorSpec& spec);

  int64_t last_update_ns(int64_t t_ns) const;  // the latest update at or before t_ns
  int64_t next_update_ns(int64_t t_ns) const;  // the earliest update after t_ns
  uint64_t counter_at(int64_t t_ns) const;
  double power_at(int64_t t_ns) const;  // watts
  const Signal& signal() const { return signal_; }
  const SensorSpec& spec() const { return spec_; }

 private:
  int64_t update_ns(int64_t number) const;
  int64_t last_number(int64_t t_ns) const;

  Signal signal_;
  SensorSpec spec_;
};

}  // namespace pyprof
