#include "core/watch.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "core/clock.h"

namespace pyprof {
namespace {

// Sent to the watch's thread alone, which keeps it blocked and takes it in turn: no handler of the
// workload's ever sees one. Elsewhere it would be ignored.
constexpr int kSignal = SIGURG;
constexpr int64_t kPeriodNs = 100 * kNsPerMs;  // without timers

}  // namespace

void Watch::start() {
  thread_ = std::thread([this] { run(); });
  tid_.wait(0);
}

void Watch::stop() {
  if (!thread_.joinable()) return;
  stop_ = true;
  pthread_kill(thread_.native_handle(), kSignal);
  thread_.join();
}

void Watch::run() {
  sigset_t all, own;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);  // signals belong to the workload's threads
  sigemptyset(&own);
  sigaddset(&own, kSignal);
  pthread_setname_np(pthread_self(), "pyprof-watch");
  tid_ = static_cast<pid_t>(syscall(SYS_gettid));
  tid_.notify_all();
  int64_t again_ns = kNotAgain;
  while (true) {
    if (periodic_) again_ns = monotonic_ns() + kPeriodNs;
    const int64_t wait_ns = std::max<int64_t>(again_ns - monotonic_ns(), 0);
    const timespec wait{wait_ns / kNsPerS, wait_ns % kNsPerS};
    sigtimedwait(&own, nullptr, again_ns == kNotAgain ? nullptr : &wait);
    if (stop_) return;
    again_ns = look_(monotonic_ns());
  }
}

Watch::Timer::Timer(Watch& watch) noexcept {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = kSignal;
  event._sigev_un._tid = watch.tid_;
  made_ = timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  if (made_ || watch.periodic_.exchange(true)) return;
  pthread_kill(watch.thread_.native_handle(), kSignal);
}

Watch::Timer::~Timer() {
  if (made_) timer_delete(timer_);
}

void Watch::Timer::put_off(int64_t until_ns) noexcept {
  if (!made_) return;
  const itimerspec at{{}, {until_ns / kNsPerS, until_ns % kNsPerS}};
  timer_settime(timer_, TIMER_ABSTIME, &at, nullptr);
}

}  // namespace pyprof
