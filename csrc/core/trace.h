// Changes of a channel, kept between the thread that reads and whoever takes them away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

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

// Two buffers of fixed capacity, allocated once: one is filled while the other is taken away. When
// full every second stored change is merged away: for a counter that loses resolution and no
// energy; it is counted. Not safe for threads: the lane's lock guards it.
class TraceBuffer {
 public:
  explicit TraceBuffer(size_t capacity);
  void push(const Change& change) noexcept {
    if (next_ == end_) thin();
    *next_++ = change;
  }
  // What has been stored becomes `taken`, which stays until the next turn.
  void turn() noexcept;
  std::span<const Change> taken() const noexcept { return {taken_.get(), taken_count_}; }
  uint64_t thinned() const noexcept { return thinned_; }

 private:
  // Room that is not written to before it is used: an untouched page takes no memory.
  struct Give {
    size_t capacity = 0;
    void operator()(Change* room) const noexcept {
      std::allocator<Change>().deallocate(room, capacity);
    }
  };
  using Room = std::unique_ptr<Change[], Give>;
  static Room make_room(size_t capacity);
  void thin() noexcept;

  Change* next_;
  Change* end_;
  size_t taken_count_ = 0;
  uint64_t thinned_ = 0;
  Room filling_, taken_;
};

}  // namespace pyprof
