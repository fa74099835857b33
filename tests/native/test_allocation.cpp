// While it samples the sampler allocates nothing: every allocation of this program is counted by
// the thread that makes it.
#include <malloc.h>
#include <pthread.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "check.h"
#include "core/clock.h"
#include "core/mark.h"
#include "core/sampler.h"

namespace {

std::atomic<bool> watching{false};
std::atomic<long> allocations{0};
thread_local bool exempt = false;

void* counted(size_t size) {
  if (watching.load(std::memory_order_relaxed) && !exempt) allocations.fetch_add(1);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t size) { return counted(size); }
void* operator new[](size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

using namespace pyprof;

namespace {

// Updates every few milliseconds, fails now and then in each way there is.
class Moody : public Unit {
 public:
  Moody(int64_t period_ns, Lane lane, uint64_t seed)
      : period_ns_(period_ns), lane_(lane), random_(seed) {
    Channel channel;
    channel.id = "moody";
    channel.domain = "gpu";
    channels_ = {channel, channel};
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return lane_; }
  void read(std::span<Sample> out) noexcept override {
    const auto raw = static_cast<uint64_t>(monotonic_ns() / period_ns_);
    out[0] = {raw, Sample::Status::kOk, 0};
    out[1] = {raw, Sample::Status::kOk, 0};
    if (random_.below(10) == 0)
      out[random_.below(2)] = {0, static_cast<Sample::Status>(1 + random_.below(3)), 5};
  }

 private:
  int64_t period_ns_;
  Lane lane_;
  check::Random random_;
  std::vector<Channel> channels_;
};

void check_no_allocation(const SamplerOptions& options) {
  std::vector<std::unique_ptr<Unit>> units;
  for (uint64_t i = 0; i < 4; ++i) {
    units.push_back(std::make_unique<Moody>(kNsPerMs, Lane::kFiles, i));
    units.push_back(std::make_unique<Moody>(20 * kNsPerMs, Lane::kVendor, 10 + i));
  }
  Sampler sampler(std::move(units), options);
  sampler.start();
  MarkLog marks;
  exempt = true;  // this thread drains, which is not the sampling path
  watching = true;
  for (int i = 0; i < 8; ++i) {
    sleep_until(monotonic_ns() + 100 * kNsPerMs);
    marks.append({});
    CHECK(!sampler.drain().empty());
    sampler.events();
    sampler.stats();
  }
  watching = false;
  exempt = false;
  CHECK(sampler.stats().reads > 50);
  CHECK(sampler.stats().failed_reads > 0);
  CHECK_EQUAL(allocations.load(), 0L);
  sampler.stop(0);
}

// When nobody drains, the rings thin and nothing grows.
void check_a_full_ring_allocates_nothing() {
  std::vector<std::unique_ptr<Unit>> units;
  units.push_back(std::make_unique<Moody>(100 * kNsPerUs, Lane::kFiles, 3));
  for (uint64_t i = 0; i < 128; ++i) {  // many channels: small rings
    units.push_back(std::make_unique<Moody>(1000 * kNsPerS, Lane::kFiles, 20 + i));
  }
  SamplerOptions options;
  options.interval_ns = 100 * kNsPerUs;
  Sampler sampler(std::move(units), options);
  sampler.start();
  watching = true;
  sleep_until(monotonic_ns() + 1500 * kNsPerMs);
  watching = false;
  CHECK_EQUAL(allocations.load(), 0L);
  CHECK(sampler.stats().thinned > 0);
  sampler.stop(0);
}

}  // namespace

int main() {
  for (const Following following : {Following::kDefault, Following::kFine, Following::kFinest}) {
    SamplerOptions options;
    options.following = following;
    options.budget = 0.01;
    check_no_allocation(options);
  }
  SamplerOptions blind;
  blind.interval_ns = kNsPerMs;
  check_no_allocation(blind);
  check_a_full_ring_allocates_nothing();
  return check::result();
}
