// The sampler in real time on units with a known truth. Bounds are wide: the machine may be busy.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
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
  explicit Hanging(int64_t hang_ns = 4 * kNsPerS)
      : channels_{counter("hanging")}, hang_ns_(hang_ns) {}
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  void read(std::span<Sample> out) noexcept override {
    out[0] = {static_cast<uint64_t>(monotonic_ns() / (20 * kNsPerMs)), Sample::Status::kOk, 0};
    if (reads_++ == 1) sleep_until(monotonic_ns() + hang_ns_);
  }

 private:
  int64_t hang_ns_;
  std::vector<Channel> channels_;
  int reads_ = 0;
};

std::vector<std::unique_ptr<Unit>> units(std::unique_ptr<Unit> a, std::unique_ptr<Unit> b = nullptr,
                                         std::unique_ptr<Unit> c = nullptr) {
  std::vector<std::unique_ptr<Unit>> all;
  all.push_back(std::move(a));
  if (b) all.push_back(std::move(b));
  if (c) all.push_back(std::move(c));
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

SamplerOptions blind(int64_t interval_ns) {
  SamplerOptions options;
  options.interval_ns = interval_ns;
  return options;
}

SamplerOptions pace(Following following) {
  SamplerOptions options;
  options.following = following;
  return options;
}

void check_every_update_seen_once(int64_t period_ns, Following following) {
  Sampler sampler(units(std::make_unique<Steps>(period_ns, Lane::kVendor)), pace(following));
  sampler.start();
  const int64_t begin = monotonic_ns();
  sleep_until(begin + 1100 * kNsPerMs);
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
  Sampler sampler(units(std::make_unique<Steps>(5 * kNsPerMs, Lane::kFiles)), blind(5 * kNsPerMs));
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
  Sampler sampler(units(std::make_unique<Slow>()), pace(Following::kDefault));
  sampler.start();
  sleep_until(monotonic_ns() + 300 * kNsPerMs);
  sampler.stop(10 * kNsPerMs);
  const std::vector<Change> changes = collect(sampler);
  CHECK(changes.size() > 4);
  for (const Change& change : changes) CHECK((change.flags & kGap) == 0);
}

void check_a_hang_delays_nobody() {
  Sampler sampler(
      units(std::make_unique<Hanging>(), std::make_unique<Steps>(kNsPerMs, Lane::kFiles)),
      pace(Following::kFine));
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

int64_t longest_gap(const std::vector<Change>& changes) {
  int64_t longest = 0;
  for (size_t i = 1; i < changes.size(); ++i) {
    longest = std::max(longest, changes[i].first_new_ns - changes[i - 1].first_new_ns);
  }
  return longest;
}

// Whether read blindly, all in one thread, or each at its own pace.
void check_a_hanging_gpu_delays_no_other(const SamplerOptions& options) {
  Sampler sampler(
      units(std::make_unique<Hanging>(), std::make_unique<Steps>(20 * kNsPerMs, Lane::kVendor)),
      options);
  sampler.start();
  sleep_until(monotonic_ns() + 1500 * kNsPerMs);
  const std::vector<Change> changes = collect(sampler, 1);
  CHECK(changes.size() > 40);
  CHECK(longest_gap(changes) < 400 * kNsPerMs);  // a period of the watch, on a busy machine
  const int64_t before = monotonic_ns();
  sampler.stop(10 * kNsPerMs);
  CHECK(monotonic_ns() - before < 2500 * kNsPerMs);
}

void check_two_hanging_gpus_delay_no_other() {
  Sampler sampler(
      units(std::make_unique<Hanging>(), std::make_unique<Steps>(20 * kNsPerMs, Lane::kVendor),
            std::make_unique<Hanging>()),
      pace(Following::kDefault));
  sampler.start();
  sleep_until(monotonic_ns() + 1500 * kNsPerMs);
  const std::vector<Change> changes = collect(sampler, 1);
  CHECK(changes.size() > 40);
  CHECK(longest_gap(changes) < 400 * kNsPerMs);
  sampler.stop(10 * kNsPerMs);
}

// How often a thread of this process has gone to sleep, by its name; -1: there is none.
int64_t sleeps_of(const std::string& name) {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream comm(task.path() / "comm"), status(task.path() / "status");
    std::string line, word;
    if (!std::getline(comm, line) || line != name) continue;
    while (std::getline(status, line)) {
      std::istringstream words(line);
      int64_t count = 0;
      if (words >> word >> count && word == "voluntary_ctxt_switches:") return count;
    }
  }
  return -1;
}

// Whoever looks for hanging calls sleeps as long as there are none, also when reads are far apart.
void check_the_watch_sleeps(const SamplerOptions& options) {
  Sampler sampler(units(std::make_unique<Steps>(20 * kNsPerMs, Lane::kVendor),
                        std::make_unique<Steps>(30 * kNsPerMs, Lane::kVendor)),
                  options);
  sampler.start();
  sleep_until(monotonic_ns() + 1500 * kNsPerMs);
  const int64_t sleeps = sleeps_of("pyprof-watch");
  sampler.stop(10 * kNsPerMs);
  CHECK(sleeps >= 1);
  CHECK(sleeps < 12);  // it may look where a busy machine holds the others up
  CHECK(sleeps_of("pyprof-watch") == -1);
}

// The unit keeps the thread in which it hung; its late answer is no reading.
void check_a_hang_that_ends() {
  Sampler sampler(units(std::make_unique<Hanging>(1200 * kNsPerMs),
                        std::make_unique<Steps>(20 * kNsPerMs, Lane::kVendor)),
                  pace(Following::kDefault));
  sampler.start();
  sleep_until(monotonic_ns() + 2 * kNsPerS);
  sampler.stop(100 * kNsPerMs);
  std::vector<Change> hung, other;
  for (const Frame& frame : sampler.drain()) {
    auto& changes = frame.channel == 0 ? hung : other;
    changes.insert(changes.end(), frame.changes.begin(), frame.changes.end());
  }
  CHECK(hung.size() > 10);
  bool gap = false;
  for (const Change& change : hung) {
    gap = gap || ((change.flags & kGap) != 0 && change.first_new_ns - change.last_old_ns > kNsPerS);
  }
  CHECK(gap);
  CHECK(longest_gap(other) < 400 * kNsPerMs);
  bool told = false;
  for (const SamplerEvent& event : sampler.events()) {
    told = told || (event.kind == "late" && event.channel == 0);
  }
  CHECK(told);
  CHECK(sampler.stats().channels.size() == 2);
}

// A sensor without a rhythm is polled, and that is said.
class Random : public Unit {
 public:
  Random() : channels_{counter("random")} {}
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  void read(std::span<Sample> out) noexcept override {
    const int64_t now = monotonic_ns();
    while (next_ns_ <= now) {
      next_ns_ = std::max(next_ns_, now - kNsPerS);
      next_ns_ += static_cast<int64_t>(random_.uniform(5e6, 75e6));
      ++raw_;
    }
    out[0] = {raw_, Sample::Status::kOk, 0};
  }

 private:
  std::vector<Channel> channels_;
  check::Random random_{7};
  int64_t next_ns_ = 0;
  uint64_t raw_ = 0;
};

void check_an_irregular_sensor_is_polled() {
  Sampler sampler(units(std::make_unique<Random>()), pace(Following::kFine));
  sampler.start();
  sleep_until(monotonic_ns() + 3 * kNsPerS);
  CHECK(sampler.stats().channels[0].mode == Pacer::Mode::kIrregular);
  CHECK(sampler.stats().channels[0].spread_ns > 5 * kNsPerMs);
  sampler.stop(0);
  bool told = false;
  for (const SamplerEvent& event : sampler.events()) {
    told = told || event.text.find("irregular") != std::string::npos;
  }
  CHECK(told);
}

// A budget that can't be kept makes reads rarer, and that is said.
void check_the_budget_is_kept() {
  SamplerOptions options = pace(Following::kFinest);
  options.budget = 1e-4;
  Sampler sampler(units(std::make_unique<Steps>(kNsPerMs, Lane::kFiles)), options);
  sampler.start();
  sleep_until(monotonic_ns() + 7500 * kNsPerMs);
  CHECK(sampler.stats().slowed >= 4);
  sampler.stop(0);
  bool told = false;
  for (const SamplerEvent& event : sampler.events()) {
    told = told || event.text.find("budget") != std::string::npos;
  }
  CHECK(told);
}

class SlowCalls : public Unit {
 public:
  SlowCalls() : channels_{counter("slow")} {}
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  void read(std::span<Sample> out) noexcept override {
    sleep_until(monotonic_ns() + 6 * kNsPerMs);
    out[0] = {static_cast<uint64_t>(monotonic_ns() / (20 * kNsPerMs)), Sample::Status::kOk, 0};
  }

 private:
  std::vector<Channel> channels_;
};

void check_slow_calls_become_rarer() {
  Sampler sampler(units(std::make_unique<SlowCalls>()), pace(Following::kDefault));
  sampler.start();
  sleep_until(monotonic_ns() + 3500 * kNsPerMs);
  const SamplerStats stats = sampler.stats();
  CHECK(stats.slowed >= 2);
  CHECK(stats.sources.begin()->second.latencies.quantile_ns(0.5) > 5 * kNsPerMs);
  sampler.stop(0);
  bool told = false;
  for (const SamplerEvent& event : sampler.events()) {
    told = told || event.text.find("takes over") != std::string::npos;
  }
  CHECK(told);
}

void check_scheduling_is_applied_or_refused_aloud() {
  SamplerOptions options = pace(Following::kDefault);
  options.scheduling.has_nice = true;
  options.scheduling.nice = 5;
  options.scheduling.cpus = {4095};  // no machine of the tests has it
  Sampler sampler(units(std::make_unique<Steps>(kNsPerMs, Lane::kFiles)), options);
  sampler.start();
  sampler.stop(0);
  bool told = false;
  for (const SamplerEvent& event : sampler.events()) {
    told = told || event.text.find("could not be set") != std::string::npos;
  }
  CHECK(told);
}

void check_start_stop_again() {
  for (int i = 0; i < 20; ++i) {
    Sampler sampler(units(std::make_unique<Steps>(kNsPerMs, Lane::kFiles)), blind(kNsPerMs));
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
  for (const Following following : {Following::kDefault, Following::kFine, Following::kFinest}) {
    check_every_update_seen_once(20 * kNsPerMs, following);
    check_every_update_seen_once(100 * kNsPerMs, following);
    check_every_update_seen_once(kNsPerMs, following);
  }
  check_faults_are_events_not_values();
  check_late_is_no_gap_between_updates();
  check_a_hang_delays_nobody();
  check_a_hanging_gpu_delays_no_other(pace(Following::kDefault));
  check_a_hanging_gpu_delays_no_other(blind(2 * kNsPerMs));
  check_two_hanging_gpus_delay_no_other();
  check_a_hang_that_ends();
  check_the_watch_sleeps(pace(Following::kDefault));
  check_the_watch_sleeps(blind(2 * kNsPerMs));
  check_the_watch_sleeps(blind(300 * kNsPerMs));
  check_an_irregular_sensor_is_polled();
  check_the_budget_is_kept();
  check_slow_calls_become_rarer();
  check_scheduling_is_applied_or_refused_aloud();
  check_start_stop_again();
  sleep_until(monotonic_ns() + 4 * kNsPerS);  // the thread left behind comes back and ends
  return check::result();
}
