// Notices that a thread has not said for too long that it goes on. In good health nobody is woken
// for it: a timer of the kernel is put off again and again.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

namespace pyprof {

class Watch {
 public:
  // Called by the watch's own thread when a timer has run out; returns when to call it again in any
  // case, kNotAgain: when the next timer has run out.
  using Look = std::function<int64_t(int64_t now_ns)>;
  static constexpr int64_t kNotAgain = -1;

  explicit Watch(Look look) : look_(std::move(look)) {}
  ~Watch() { stop(); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  void start();  // returns when timers can be made
  void stop();   // waits for a look in progress

  // Of one thread that is watched.
  class Timer {
   public:
    explicit Timer(Watch& watch) noexcept;
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    void put_off(int64_t until_ns) noexcept;

   private:
    timer_t timer_{};
    bool made_ = false;
  };

 private:
  void run();

  const Look look_;
  std::thread thread_;
  std::atomic<pid_t> tid_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> periodic_{false};  // a timer was refused: looks at fixed times instead
};

}  // namespace pyprof
