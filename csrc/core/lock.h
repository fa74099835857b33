// A mutex whose uncontended way is two instructions in line: a wake finds the library's code cold.
#pragma once

#include <atomic>
#include <cstdint>

namespace pyprof {

class Lock {
 public:
  void lock() noexcept {
    uint32_t free = kFree;
    if (!state_.compare_exchange_strong(free, kHeld, std::memory_order_acquire)) [[unlikely]]
      wait();
  }
  void unlock() noexcept {
    if (state_.exchange(kFree, std::memory_order_release) == kAwaited) [[unlikely]]
      state_.notify_one();
  }

 private:
  static constexpr uint32_t kFree = 0, kHeld = 1, kAwaited = 2;
  [[gnu::noinline]] void wait() noexcept {
    while (state_.exchange(kAwaited, std::memory_order_acquire) != kFree) state_.wait(kAwaited);
  }
  std::atomic<uint32_t> state_{kFree};
};

}  // namespace pyprof
