// The clocks: CLOCK_MONOTONIC paces and stamps everything; the others only anchor it.
#pragma once

#include <cstdint>
#include <ctime>

namespace pyprof {

inline constexpr int64_t kNsPerUs = 1'000;
inline constexpr int64_t kNsPerMs = 1'000'000;
inline constexpr int64_t kNsPerS = 1'000'000'000;

inline int64_t clock_ns(clockid_t clock) noexcept {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * kNsPerS + now.tv_nsec;
}

inline int64_t monotonic_ns() noexcept { return clock_ns(CLOCK_MONOTONIC); }

// One instant on three clocks: joins recordings, names the hour, shows suspends and clock steps.
struct Anchor {
  int64_t monotonic_ns;
  int64_t boot_ns;
  int64_t wall_ns;
};

// Tries a few times and keeps the anchor whose reads lay closest together.
Anchor read_anchor() noexcept;

// Sleeps until an absolute time on CLOCK_MONOTONIC: a relative sleep drifts by its own lateness.
void sleep_until(int64_t deadline_ns) noexcept;

}  // namespace pyprof
