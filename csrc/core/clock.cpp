#include "core/clock.h"

#include <limits>

namespace pyprof {

Anchor read_anchor() noexcept {
  Anchor best{};
  int64_t best_width = std::numeric_limits<int64_t>::max();
  for (int attempt = 0; attempt < 5; ++attempt) {
    const int64_t before = monotonic_ns();
    const int64_t boot = clock_ns(CLOCK_BOOTTIME);
    const int64_t wall = clock_ns(CLOCK_REALTIME);
    const int64_t after = monotonic_ns();
    if (after - before >= best_width) continue;
    best_width = after - before;
    best = {before + (after - before) / 2, boot, wall};
  }
  return best;
}

[[gnu::hot]] void sleep_until(int64_t deadline_ns) noexcept {
  const timespec at{deadline_ns / kNsPerS, deadline_ns % kNsPerS};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
}

}  // namespace pyprof
