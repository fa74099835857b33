// Resident memory of a sampler over simulated hours, at the default pace.
//
//   memory [HOURS]      (24)
//
// The sampler's code runs as it is; only the two clocks it asks for (the time, and to be woken at
// one) are replaced below by one that jumps to the next deadline. Somebody drains every half
// second, as the writer of a recording does. The exit status is 1 if the slope is above 1 KiB a
// minute.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "check.h"
#include "core/clock.h"
#include "core/sampler.h"

namespace {

// Each thread has a time of its own and may run ahead as far as `horizon`, where all meet.
std::mutex mutex;
std::condition_variable moved;
int64_t horizon_ns = 1'000'000'000;
constexpr int kMost = 16;
int64_t due_ns[kMost];  // of each sleeping thread, -1 while it runs
int sleepers = 0;
thread_local int64_t own_ns = 1'000'000'000;
thread_local int own = -1;

// Returns when the horizon has reached the deadline.
void jump_to(int64_t deadline_ns, unsigned* bell, unsigned rung) {
  std::unique_lock lock(mutex);
  if (own < 0) own = sleepers++;
  due_ns[own] = deadline_ns;
  moved.notify_all();
  moved.wait(lock, [&] {
    return deadline_ns <= horizon_ns ||
           (bell != nullptr && __atomic_load_n(bell, __ATOMIC_SEQ_CST) != rung);
  });
  due_ns[own] = -1;
  own_ns = std::max(own_ns, std::min(deadline_ns, horizon_ns));
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  if (clock == CLOCK_MONOTONIC) {
    const int64_t at = own_ns += 200;  // looking at the clock takes its time
    *now = {at / 1'000'000'000, at % 1'000'000'000};
    return 0;
  }
  const long failed = syscall(SYS_clock_gettime, clock, now);
  return static_cast<int>(failed);
}

extern "C" long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& each : a) each = va_arg(list, long);
  va_end(list);
  const int command = static_cast<int>(a[1]) & FUTEX_CMD_MASK;
  if (number == SYS_futex && command == FUTEX_WAIT_BITSET) {
    const auto* when = reinterpret_cast<const timespec*>(a[3]);
    const int64_t at = when == nullptr ? INT64_MAX : when->tv_sec * 1'000'000'000 + when->tv_nsec;
    jump_to(at, reinterpret_cast<unsigned*>(a[0]), static_cast<unsigned>(a[2]));
    return 0;
  }
  if (number == SYS_futex && command == FUTEX_WAKE) {
    const std::lock_guard lock(mutex);
    moved.notify_all();
    return 1;
  }
  long result;
  register long r10 __asm__("r10") = a[3];
  register long r8 __asm__("r8") = a[4];
  register long r9 __asm__("r9") = a[5];
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  if (result < 0 && result > -4096) {
    errno = static_cast<int>(-result);
    return -1;
  }
  return result;
}

using namespace pyprof;

namespace {

class Steps : public Unit {
 public:
  Steps(int64_t period_ns, int64_t phase_ns, Lane lane)
      : period_ns_(period_ns), phase_ns_(phase_ns), lane_(lane) {
    Channel channel;
    channel.id = "steps";
    channel.domain = "gpu";
    channels_ = {channel};
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return lane_; }
  void read(std::span<Sample> out) noexcept override {
    const int64_t update = (monotonic_ns() + phase_ns_) / period_ns_;
    // Now and then a read fails, so that gaps and events are part of the account.
    const bool fails = lane_ == Lane::kVendor && update % 36000 == 7;
    out[0] = {static_cast<uint64_t>(update), fails ? Sample::Status::kFailed : Sample::Status::kOk,
              fails ? 5 : 0};
  }

 private:
  int64_t period_ns_, phase_ns_;
  Lane lane_;
  std::vector<Channel> channels_;
};

double resident_kib() {
  long pages = 0, ignored = 0;
  FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%ld %ld", &ignored, &pages) != 2) std::abort();
  std::fclose(file);
  return static_cast<double>(pages) * 4;
}

}  // namespace

int main(int argc, char** argv) {
  const double hours = argc > 1 ? std::atof(argv[1]) : 24;
  std::vector<std::unique_ptr<Unit>> units;
  for (int i = 0; i < 4; ++i) {
    units.push_back(std::make_unique<Steps>(976'000, 0, pyprof::Lane::kFiles));
  }
  for (int i = 0; i < 8; ++i) {
    units.push_back(std::make_unique<Steps>(100 * kNsPerMs, 11'700'000 * i, pyprof::Lane::kVendor));
  }
  Sampler sampler(std::move(units), SamplerOptions{});
  std::thread([] {}).join();
  sampler.start();
  std::vector<std::pair<double, double>> points;
  uint64_t changes = 0;
  std::vector<uint8_t> bytes;
  const auto steps = static_cast<int64_t>(hours * 7200);
  for (int64_t step = 0; step < steps; ++step) {
    {
      std::unique_lock lock(mutex);
      horizon_ns += kNsPerS / 2;
      moved.notify_all();
      moved.wait(lock, [] {
        return sleepers >= 2 &&
               std::all_of(due_ns, due_ns + sleepers, [](int64_t due) { return due > horizon_ns; });
      });
    }
    for (const Frame& frame : sampler.drain()) {
      changes += frame.changes.size();
      bytes.clear();
      encode_frame(frame, bytes);
    }
    sampler.events();
    if (step % 600 == 0 && step >= 600) {
      points.emplace_back(static_cast<double>(step) / 120, resident_kib());
    }
  }
  double t = 0, m = 0, tt = 0, tm = 0;
  for (const auto& [minute, kib] : points) {
    t += minute / static_cast<double>(points.size());
    m += kib / static_cast<double>(points.size());
  }
  for (const auto& [minute, kib] : points) {
    tt += (minute - t) * (minute - t);
    tm += (minute - t) * (kib - m);
  }
  const SamplerStats stats = sampler.stats();
  const double slope = tm / tt;
  std::printf(
      "%g h: %llu reads, %llu changes, %llu wakes; resident %.0f KiB at 5 min, %.0f at the "
      "end; slope %.4f KiB/min\n",
      hours, static_cast<unsigned long long>(stats.reads), static_cast<unsigned long long>(changes),
      static_cast<unsigned long long>(stats.wakes), points.front().second, points.back().second,
      slope);
  std::fflush(stdout);
  _exit(slope < 1 ? 0 : 1);
}
