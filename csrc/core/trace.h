// Changes of a channel, kept between the thread that reads and whoever takes them away.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace pyprof {

enum ChangeFlag : uint8_t {
  kFirst = 1,  // the first reading of the run: when the sensor made this value is not known
  kGap = 2,   // no successful reading between last_old_ns and first_new_ns, for longer than planned
  kHeld = 4,  // not a change: the value was still the same at first_new_ns after a gap
};

struct Change {
  int64_t last_old_ns = 0;   // last successful read before this value was seen
  int64_t first_new_ns = 0;  // the read that saw it first (middle of the call)
  int64_t at_ns = 0;  // estimate of the sensor's own update, last_old_ns <= at_ns <= first_new_ns
  uint64_t raw = 0;
  uint8_t flags = 0;
};

// What is known of a channel apart from its changes, at the moment of a drain.
struct Pulse {
  int64_t last_read_ns = 0;  // last successful read; 0: none yet
  int64_t period_ns = 0;     // detected update period, 0 while unknown
  int64_t spread_ns = 0;     // its spread (interquartile)
  int64_t interval_ns = 0;   // planned time between reads
};

// Fixed capacity, allocated once. When full every second stored change is merged away: for a
// counter that loses resolution and no energy; it is counted.
class TraceBuffer {
 public:
  explicit TraceBuffer(size_t capacity);
  void push(const Change& change) noexcept;  // sampler thread
  void beat(const Pulse& pulse) noexcept;    // sampler thread
  // Swaps the stored changes into `out` (cleared first, capacity kept).
  Pulse take(std::vector<Change>& out);
  uint64_t thinned() const noexcept;

 private:
  void thin() noexcept;
  mutable std::mutex mutex_;
  std::vector<Change> changes_;
  size_t capacity_;
  Pulse pulse_;
  uint64_t thinned_ = 0;
};

}  // namespace pyprof
