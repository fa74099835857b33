#include "core/sampler.h"

#include <unistd.h>

#include <algorithm>

#include "core/clock.h"
#include "core/lane.h"

namespace pyprof {
namespace {

constexpr size_t kRingBytes = 8u << 20;  // of all channels together
constexpr int64_t kHangNs = 2 * kNsPerS;

Pace pace_of(Lane lane, int64_t interval_ns) {
  if (interval_ns > 0) return {interval_ns, interval_ns, interval_ns};
  // A hot read of a file costs about 1 us, a vendor's call up to 0.4 ms.
  return lane == Lane::kFiles ? Pace{0, 10 * kNsPerMs, kNsPerMs}
                              : Pace{0, 20 * kNsPerMs, 4 * kNsPerMs};
}

}  // namespace

Sampler::Sampler(std::vector<std::unique_ptr<Unit>> units, int64_t interval_ns) : pid_(getpid()) {
  size_t channels = 0;
  for (const auto& unit : units) channels += unit->channels().size();
  const size_t capacity = std::clamp<size_t>(
      kRingBytes / sizeof(Change) / 2 / std::max<size_t>(channels, 1), 1024, 65536);
  uint32_t index = 0;
  for (auto& unit : units) {
    const auto count = static_cast<uint32_t>(unit->channels().size());
    lane_for(*unit, interval_ns).add(std::move(unit), index, capacity);
    index += count;
  }
  sequence_.assign(channels, 0);
  drained_read_ns_.assign(channels, 0);
}

// Files share a thread, and so do a vendor's devices when they are read blindly, all at once. At
// their own pace devices seldom share a wake, so each has a thread: one that hangs delays no other.
LaneThread& Sampler::lane_for(const Unit& unit, int64_t interval_ns) {
  const bool vendor = unit.lane() == Lane::kVendor;
  const bool own = vendor && interval_ns == 0;
  const std::string name = "pyprof-" + (own      ? unit.channels().front().id
                                        : vendor ? "vendor"
                                                 : "files");
  for (auto& lane : lanes_) {
    if (lane->name() == name) return *lane;
  }
  lanes_.push_back(
      std::make_shared<LaneThread>(name, unit.lane(), pace_of(unit.lane(), interval_ns)));
  return *lanes_.back();
}

Sampler::~Sampler() {
  if (inherited()) {
    // The threads are the parent's: their handles must be neither joined nor destroyed.
    for (auto& lane : lanes_) new std::shared_ptr<LaneThread>(lane);
    return;
  }
  stop(0);
}

bool Sampler::inherited() const { return getpid() != pid_; }

bool Sampler::running() const { return running_ && !inherited(); }

void Sampler::start() {
  if (running_) return;
  running_ = true;
  for (auto& lane : lanes_) lane->start();
  const int64_t until = monotonic_ns() + kNsPerS;
  for (auto& lane : lanes_) lane->wait_first_reads(until);
}

void Sampler::stop(int64_t settle_ns) {
  if (!running()) return;
  running_ = false;
  for (auto& lane : lanes_) lane->ask_stop(settle_ns);
  const int64_t until = monotonic_ns() + settle_ns + kHangNs;
  for (auto& lane : lanes_) {
    if (lane->wait_done(until)) continue;
    lane->abandon();
    own_events_.push_back({monotonic_ns(), "late", -1, 1,
                           lane->name() + " still hung in a driver's call and was left behind"});
  }
}

std::vector<Frame> Sampler::drain() {
  std::vector<Frame> frames;
  if (inherited()) return frames;
  for (auto& lane : lanes_) {
    for (Slot& slot : lane->slots()) {
      for (ChannelState& channel : slot.channels) {
        Frame frame;
        frame.channel = channel.index;
        frame.pulse = channel.buffer->take(frame.changes);
        const bool news = frame.pulse.last_read_ns != drained_read_ns_[channel.index];
        if (frame.changes.empty() && !news) continue;
        frame.first_seq = sequence_[channel.index];
        sequence_[channel.index] += frame.changes.size();
        drained_read_ns_[channel.index] = frame.pulse.last_read_ns;
        frames.push_back(std::move(frame));
      }
    }
  }
  return frames;
}

std::vector<SamplerEvent> Sampler::events() {
  std::vector<SamplerEvent> out;
  if (inherited()) return out;
  for (auto& lane : lanes_) lane->take_events(out);
  for (SamplerEvent& event : own_events_) out.push_back(std::move(event));
  own_events_.clear();
  return out;
}

SamplerStats Sampler::stats() const {
  SamplerStats stats;
  if (inherited()) return stats;
  for (const auto& lane : lanes_) lane->add_stats(stats);
  return stats;
}

}  // namespace pyprof
