#include "core/sampler.h"

#include <unistd.h>

#include <algorithm>

#include "core/clock.h"
#include "core/crew.h"
#include "core/lane.h"

namespace pyprof {
namespace {

constexpr size_t kRingBytes = 8u << 20;  // of all channels together
constexpr int64_t kStopNs = 1800 * kNsPerMs;
// A hot read of a file costs about 1 us, a vendor's call up to 0.4 ms; what they are worth differs.
constexpr Pace kFiles[] = {
    {0, 100 * kNsPerMs, 2 * kNsPerMs, 7500 * kNsPerUs, 50 * kNsPerMs, 8},
    {0, 10 * kNsPerMs, kNsPerMs, 7500 * kNsPerUs, 20 * kNsPerMs, 1},
    {0, kNsPerMs, kNsPerMs, 7500 * kNsPerUs, 20 * kNsPerMs, 1},
};
constexpr Pace kVendors[] = {
    {0, 20 * kNsPerMs, 4 * kNsPerMs, 15 * kNsPerMs, 50 * kNsPerMs, 8},
    {0, 10 * kNsPerMs, 4 * kNsPerMs, 15 * kNsPerMs, 20 * kNsPerMs, 1},
    {0, 4 * kNsPerMs, 2 * kNsPerMs, 7500 * kNsPerUs, 20 * kNsPerMs, 1},
};

}  // namespace

Pace pace_of(Lane lane, const SamplerOptions& options) {
  if (options.interval_ns > 0) {
    const int64_t every = options.interval_ns;
    return {every, every, every, 0, every, 1};
  }
  return (lane == Lane::kFiles ? kFiles : kVendors)[static_cast<size_t>(options.following)];
}

// Files share a thread, and so do vendors' devices. Read blindly all share one, since they are due
// together.
Sampler::Sampler(std::vector<std::unique_ptr<Unit>> units, SamplerOptions options)
    : crew_(std::make_shared<Crew>(options)), pid_(getpid()) {
  size_t channels = 0;
  bool vendors = false;
  for (const auto& unit : units) {
    channels += unit->channels().size();
    vendors = vendors || unit->lane() == Lane::kVendor;
  }
  const size_t capacity = std::clamp<size_t>(
      kRingBytes / sizeof(Change) / 2 / std::max<size_t>(channels, 1), 1024, 65536);
  const bool shared = vendors && options.interval_ns > 0;
  auto files = std::make_shared<LaneThread>("pyprof-files", options, false);
  auto vendor =
      std::make_shared<LaneThread>(shared ? "pyprof-all" : "pyprof-vendor", options, true);
  auto slow = std::make_shared<LaneThread>("pyprof-slow", options, true);
  uint32_t index = 0;
  for (auto& unit : units) {
    const Lane lane = unit->lane();
    const auto count = static_cast<uint32_t>(unit->channels().size());
    Pace pace = pace_of(lane, options);
    if (const int64_t own = unit->interval_ns(); own > 0) {
      pace.interval_ns = std::max(own, pace.interval_ns);
    }
    auto& home = lane == Lane::kSlow ? slow : shared || lane == Lane::kVendor ? vendor : files;
    auto slot = std::make_unique<Slot>(std::move(unit), pace, index, capacity);
    // Whoever asks for an interval gets it, unless he sets a budget as well.
    slot->restrain_calls(options.interval_ns == 0 || options.budget > 0);
    home->add(std::move(slot));
    index += count;
  }
  for (auto& lane : {files, vendor, slow}) {
    if (lane->units() > 0) crew_->add(lane);
  }
  progress_.resize(channels);
}

Sampler::~Sampler() {
  if (inherited()) {
    // The threads are the parent's: their handles must be neither joined nor destroyed.
    new std::shared_ptr<Crew>(crew_);
    return;
  }
  stop(0);
}

bool Sampler::inherited() const { return getpid() != pid_; }

bool Sampler::running() const { return running_ && !inherited(); }

void Sampler::start() {
  if (running_) return;
  running_ = true;
  crew_->start();
  const int64_t until = monotonic_ns() + kNsPerS;
  for (const auto& lane : crew_->lanes()) lane->wait_first_reads(until);
}

void Sampler::stop(int64_t settle_ns) {
  if (!running()) return;
  running_ = false;
  const int64_t until = monotonic_ns() + std::max(kStopNs, settle_ns + kStopNs / 2);
  crew_->close();
  const auto lanes = crew_->lanes();
  for (const auto& lane : lanes) lane->ask_stop(settle_ns);
  for (const auto& lane : lanes) {
    if (!lane->wait_done(until)) lane->abandon();
  }
}

std::vector<Frame> Sampler::drain() {
  std::vector<Frame> frames;
  if (inherited()) return frames;
  for (const auto& lane : crew_->lanes()) lane->take_frames(frames, progress_);
  return frames;
}

std::vector<SamplerEvent> Sampler::events() {
  std::vector<SamplerEvent> out;
  if (inherited()) return out;
  for (const auto& lane : crew_->lanes()) lane->take_events(out);
  return out;
}

SamplerStats Sampler::stats() const {
  SamplerStats stats;
  if (inherited()) return stats;
  for (const auto& lane : crew_->lanes()) lane->add_stats(stats);
  std::sort(stats.channels.begin(), stats.channels.end(),
            [](const auto& a, const auto& b) { return a.index < b.index; });
  return stats;
}

}  // namespace pyprof
