#include "sources/replay.h"

#include <cmath>

#include "core/clock.h"
#include "core/sensor.h"

namespace pyprof {
namespace {

Signal make_signal(const std::vector<std::tuple<int64_t, double, double>>& segments, bool repeat) {
  std::vector<Segment> pieces;
  pieces.reserve(segments.size());
  for (const auto& [duration_ns, start_w, end_w] : segments) {
    pieces.push_back({duration_ns, start_w, end_w});
  }
  return Signal(std::move(pieces), repeat);
}

SensorSpec make_spec(const Channel& channel, const ReplaySensor& sensor) {
  SensorSpec spec;
  spec.period_ns = sensor.period_ns;
  spec.phase_ns = sensor.phase_ns;
  spec.jitter = sensor.jitter;
  spec.window_ns = sensor.window_ns;
  if (channel.kind == Kind::kCounter) {
    spec.quantum_j = sensor.quantum_j;
    spec.range_counts = channel.range;
    spec.start_count = sensor.start_count;
  }
  return spec;
}

class ReplayUnit : public Unit {
 public:
  ReplayUnit(Channel channel, SensorModel model, int64_t begin_ns)
      : channels_{std::move(channel)},
        model_(std::move(model)),
        epoch_ns_(begin_ns != 0 ? begin_ns : monotonic_ns()) {}
  const std::vector<Channel>& channels() const override { return channels_; }

  void read(std::span<Sample> out) noexcept override {
    const int64_t t = monotonic_ns() - epoch_ns_;
    const bool counter = channels_[0].kind == Kind::kCounter;
    const uint64_t raw = counter ? model_.counter_at(t)
                                 : static_cast<uint64_t>(std::llround(
                                       std::max(model_.power_at(t), 0.0) / channels_[0].unit));
    out[0] = {raw, Sample::Status::kOk, 0};
  }

 private:
  std::vector<Channel> channels_;
  SensorModel model_;
  int64_t epoch_ns_;
};

}  // namespace

std::unique_ptr<Unit> replay(Channel channel,
                             const std::vector<std::tuple<int64_t, double, double>>& segments,
                             bool repeat, const ReplaySensor& sensor) {
  if (channel.kind == Kind::kCounter) {
    channel.unit = sensor.quantum_j;
  } else {
    channel.unit = 1e-3;
    channel.window_ns = sensor.window_ns;
  }
  SensorModel model(make_signal(segments, repeat), make_spec(channel, sensor));
  return std::make_unique<ReplayUnit>(std::move(channel), std::move(model), sensor.begin_ns);
}

}  // namespace pyprof
