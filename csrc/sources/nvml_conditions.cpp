// Utilisation, clock, temperature and throttle reasons of NVIDIA GPUs, once a second.
#include <algorithm>
#include <array>
#include <utility>

#include "core/clock.h"
#include "sources/conditions.h"
#include "sources/nvml_library.h"

namespace pyprof {
namespace {

using nvml::Answer;
using nvml::Ask;
using nvml::Library;

// The driver's own mean of utilisation is over up to a second.
constexpr int64_t kIntervalNs = kNsPerS;

Answer ask_busy(const Library& library, nvmlDevice_t device) {
  nvmlUtilization_t rates{};
  if (library.utilisation == nullptr) return {};
  const nvmlReturn_t code = library.utilisation(device, &rates);
  return {code, std::min(rates.gpu, 100U)};
}

Answer ask_clock(const Library& library, nvmlDevice_t device) {
  unsigned mhz = 0;
  if (library.clock == nullptr) return {};
  const nvmlReturn_t code = library.clock(device, NVML_CLOCK_SM, &mhz);
  return {code, mhz};
}

Answer ask_temperature(const Library& library, nvmlDevice_t device) {
  unsigned celsius = 0;
  if (library.temperature == nullptr) return {};
  const nvmlReturn_t code = library.temperature(device, NVML_TEMPERATURE_GPU, &celsius);
  return {code, celsius};
}

// Whether one of some reasons holds the clock down. "HW slowdown" alone may be either of the two
// that follow it, which say which: the temperature, or the power brake.
template <unsigned long long kReasons>
Answer ask_held(const Library& library, nvmlDevice_t device) {
  unsigned long long reasons = 0;
  if (library.throttle_reasons == nullptr) return {};
  const nvmlReturn_t code = library.throttle_reasons(device, &reasons);
  return {code, (reasons & kReasons) != 0 ? 1ULL : 0ULL};
}

constexpr auto kByPower =
    nvmlClocksThrottleReasonSwPowerCap | nvmlClocksThrottleReasonHwPowerBrakeSlowdown;
constexpr auto kByHeat =
    nvmlClocksThrottleReasonSwThermalSlowdown | nvmlClocksThrottleReasonHwThermalSlowdown;

struct Gauge {
  const char* name;
  Ask ask;
  double unit;
  double most;
};

constexpr std::array<Gauge, 5> kGauges{{
    {"busy", ask_busy, 1e-2, 1},
    {"sm-clock", ask_clock, 1, 1e5},
    {"temperature", ask_temperature, 1, 1e3},
    {"power-capped", ask_held<kByPower>, 1, 1},
    {"too-hot", ask_held<kByHeat>, 1, 1},
}};

Channel channel_of(const std::string& gpu, const Gauge& gauge) {
  Channel channel;
  channel.id = gpu + "/" + gauge.name;
  channel.domain = kConditionDomain;
  channel.parent = gpu;
  channel.source = "conditions";
  channel.quality = "derived";
  channel.method = "mean";
  channel.counted = false;
  channel.kind = Kind::kGauge;
  channel.unit = gauge.unit;
  channel.limit_w = gauge.most;
  channel.window_ns = -1;
  return channel;
}

class GpuConditions final : public Unit {
 public:
  explicit GpuConditions(nvml::Device device) : device_(std::move(device)) {}
  void add(const std::string& gpu, const Gauge& gauge) {
    channels_.push_back(channel_of(gpu, gauge));
    asks_.push_back(gauge.ask);
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  int64_t interval_ns() const override { return kIntervalNs; }
  Lane lane() const override { return Lane::kSlow; }
  std::string describe(int32_t code) const override { return device_.describe(code); }
  void read(std::span<Sample> out) noexcept override {
    for (size_t i = 0; i < asks_.size(); ++i) device_.read(asks_[i], out[i]);
  }

 private:
  nvml::Device device_;
  std::vector<Channel> channels_;
  std::vector<Ask> asks_;
};

}  // namespace

std::unique_ptr<Unit> nvml_conditions(const Places& places, const std::string& gpu,
                                      const std::string& uuid, std::string& why_not) {
  SourceState state;
  const auto library = nvml::open_library(places, state);
  const nvmlDevice_t handle = library == nullptr ? nullptr : nvml::find_device(*library, uuid);
  if (handle == nullptr) {
    why_not = "its driver does not answer";
    return nullptr;
  }
  auto unit = std::make_unique<GpuConditions>(nvml::Device(library, handle, uuid));
  for (const Gauge& gauge : kGauges) {
    const Answer answer = gauge.ask(*library, handle);
    if (answer.code == NVML_SUCCESS) {
      unit->add(gpu, gauge);
    } else {
      why_not = nvml::words(*library, answer.code);
    }
  }
  if (unit->channels().empty()) return nullptr;
  return unit;
}

}  // namespace pyprof
