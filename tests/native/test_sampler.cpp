// The sampler in real time on units with a known truth. Bounds are wide: the machine may be busy.
#include <atomic>
#include <memory>
#include <thread>

#include "check.h"
#include "core/clock.h"
#include "core/sampler.h"

using namespace pyprof;

namespace {

Channel counter(const std::string& id) {
  Channel channel;
  channel.id = id;
  channel.domain = "gpu";
  channel.unit = 1e-3;
  return channel;
}

// A counter that steps by 1000 at every period, counted from CLOCK_MONOTONIC's own zero.
class Steps : public Unit {
 public:
  Steps(int64_t period_ns, Lane lane)
      : channels_{counter("steps")}, period_(period_ns), lane_(lane) {}
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return lane_; }
  void read(std::span<Sample> out) noexcept override {
    const auto state = static_cast<Sample::Status>(failing.load());
    if (state != Sample::Status::kOk) {
      out[0] = {0, state, 7};
      return;
    }
    out[0] = {static_cast<uint64_t>(monotonic_ns() / period_ * 1000), Sample::Status::kOk, 0};
  }
  static std::atomic<int> failing;

 private:
  std::vector<Channel> channels_;
  int64_t period_;
  Lane lane_;
};
std::atomic<int> Steps::failing{0};

class Hanging : public Unit {
 public:
  Hanging() : channels_{counter("hanging")} {}
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  void read(std::span<Sample> out) noexcept override {
    out[0] = {1, Sample::Status::kOk, 0};
    if (reads_++ == 1) sleep_until(monotonic_ns() + 4 * kNsPerS);
  }

 private:
  std::vector<Channel> channels_;
  int reads_ = 0;
};

std::vector<std::unique_ptr<Unit>> units(std::unique_ptr<Unit> a,
                                         std::unique_ptr<Unit> b = nullptr) {
  std::vector<std::unique_ptr<Unit>> all;
  all.push_back(std::move(a));
  if (b) all.push_back(std::move(b));
  return all;
}

std::vector<Change> collect(Sampler& sampler, uint32_t channel = 0) {
  std::vector<Change> changes;
  for (const Frame& frame : sampler.drain()) {
    if (frame.channel != channel) continue;
    changes.insert(changes.end(), frame.changes.begin(), frame.changes.end());
  }
  return changes;
}

void check_every_update_seen_once(int64_t period_ns) {
  Sampler sampler(units(std::make_unique<Steps>(period_ns, Lane::kVendor)), 0);
  sampler.start();
  const int64_t begin = monotonic_ns();
  sleep_until(begin + 2 * kNsPerS);
  const int64_t end = monotonic_ns();
  sampler.stop(150 * kNsPerMs);
  const std::vector<Change> changes = collect(sampler);
  CHECK(changes.front().flags == kFirst);
  CHECK(changes.front().first_new_ns <= begin);
  // One more update was waited for, so the end is bracketed.
  CHECK(changes.back().at_ns + (period_ns < 5 * kNsPerMs ? period_ns : 0) >= end);
  const uint64_t counts = changes.back().raw - changes.front().raw;
  CHECK(counts == static_cast<uint64_t>((changes.back().first_new_ns / period_ns -
                                         changes.front().first_new_ns / period_ns) *
                                        1000));
  for (size_t i = 1; i < changes.size(); ++i) {
    CHECK(changes[i].last_old_ns <= changes[i].at_ns &&
          changes[i].at_ns <= changes[i].first_new_ns);
    CHECK(changes[i].last_old_ns >= changes[i - 1].first_new_ns);
  }
}

void check_faults_are_events_not_values() {
  Sampler sampler(units(std::make_unique<Steps>(5 * kNsPerMs, Lane::kFiles)), 5 * kNsPerMs);
  sampler.start();
  sleep_until(monotonic_ns() + 100 * kNsPerMs);
  Steps::failing = static_cast<int>(Sample::Status::kLost);
  sleep_until(monotonic_ns() + 200 * kNsPerMs);
  Steps::failing = static_cast<int>(Sample::Status::kOk);
  sleep_until(monotonic_ns() + 200 * kNsPerMs);
  sampler.stop(50 * kNsPerMs);
  bool gap = false;
  for (const Change& change : collect(sampler)) {
    CHECK(change.raw != 0);
    gap = gap || (change.flags & kGap) != 0;
  }
  CHECK(gap);
  bool lost = false, back = false;
  for (const SamplerEvent& event : sampler.events()) {
    lost = lost || (event.kind == "lost" && event.count >= 1);
    back = back || event.kind == "back";
  }
  CHECK(lost && back);
  CHECK(sampler.stats().failed_reads >= 1);
}

// A sensor that updates once a second, and a read that is late by less.
class Slow : public Unit {
 public:
  Slow() : channels_{counter("slow")} {
    channels_[0].kind = Kind::kGauge;
    channels_[0].period_ns = kNsPerS;
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  void read(std::span<Sample> out) noexcept override {
    if (reads_++ == 3) sleep_until(monotonic_ns() + 200 * kNsPerMs);
    out[0] = {static_cast<uint64_t>(reads_), Sample::Status::kOk, 0};
  }

 private:
  std::vector<Channel> channels_;
  int reads_ = 0;
};

void check_late_is_no_gap_between_updates() {
  Sampler sampler(units(std::make_unique<Slow>()), 0);
  sampler.start();
  sleep_until(monotonic_ns() + 300 * kNsPerMs);
  sampler.stop(10 * kNsPerMs);
  const std::vector<Change> changes = collect(sampler);
  CHECK(changes.size() > 4);
  for (const Change& change : changes) CHECK((change.flags & kGap) == 0);
}

void check_a_hang_delays_nobody() {
  Sampler sampler(
      units(std::make_unique<Hanging>(), std::make_unique<Steps>(kNsPerMs, Lane::kFiles)), 0);
  sampler.start();
  sleep_until(monotonic_ns() + 500 * kNsPerMs);
  const std::vector<Change> changes = collect(sampler, 1);
  CHECK(changes.size() > 20);
  const int64_t before = monotonic_ns();
  sampler.stop(10 * kNsPerMs);
  CHECK(monotonic_ns() - before < 3 * kNsPerS);
  bool told = false;
  for (const SamplerEvent& event : sampler.events()) told = told || event.kind == "late";
  CHECK(told);
}

void check_a_hanging_gpu_delays_no_other() {
  Sampler sampler(
      units(std::make_unique<Hanging>(), std::make_unique<Steps>(20 * kNsPerMs, Lane::kVendor)), 0);
  sampler.start();
  sleep_until(monotonic_ns() + kNsPerS);
  CHECK(collect(sampler, 1).size() > 30);
  sampler.stop(10 * kNsPerMs);
}

void check_start_stop_again() {
  for (int i = 0; i < 20; ++i) {
    Sampler sampler(units(std::make_unique<Steps>(kNsPerMs, Lane::kFiles)), kNsPerMs);
    sampler.start();
    CHECK(sampler.running());
    sampler.stop(5 * kNsPerMs);
    CHECK(!sampler.running());
    sampler.stop(0);
    CHECK(sampler.stats().reads >= 1);
    CHECK(sampler.stats().cpu_s >= 0);
  }
}

}  // namespace

int main() {
  check_every_update_seen_once(20 * kNsPerMs);
  check_every_update_seen_once(100 * kNsPerMs);
  check_every_update_seen_once(kNsPerMs);
  check_faults_are_events_not_values();
  check_late_is_no_gap_between_updates();
  check_a_hang_delays_nobody();
  check_a_hanging_gpu_delays_no_other();
  check_start_stop_again();
  sleep_until(monotonic_ns() + 4 * kNsPerS);  // the thread left behind comes back and ends
  return check::result();
}
