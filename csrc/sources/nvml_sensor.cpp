#include "sources/nvml_sensor.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace pyprof::nvml {
namespace {

constexpr double kPlausibleOverLimit = 1.5;
constexpr int64_t kAverageWindowNs = kNsPerS;

// Averaging window and update period of the power of the moment, as metered on each generation
// (docs/simulate.md tells whose); 0 where nobody has.
struct Timing {
  int64_t window_ns = 0;
  int64_t period_ns = 100 * kNsPerMs;
};

Timing instant_timing(const Generation& generation) {
  switch (generation.major * 10 + generation.minor) {
    case 60:
    case 61:
    case 70:
      return {10 * kNsPerMs, 20 * kNsPerMs};
    case 80:
    case 90:
      return {25 * kNsPerMs, 100 * kNsPerMs};
    case 75:
    case 86:
    case 89:
      return {100 * kNsPerMs, 100 * kNsPerMs};
    default:
      return {};
  }
}

}  // namespace

void describe_energy(Channel& channel) {
  channel.kind = Kind::kCounter;
  channel.method = "counter";
  channel.quality = "measured";
  channel.unit = 1e-3;  // the counter is in millijoules
}

void describe_power(Channel& channel, bool instant, const Generation& generation) {
  const Timing timing = instant ? instant_timing(generation) : Timing{kAverageWindowNs};
  channel.kind = Kind::kGauge;
  channel.method = instant ? "power-instant" : "power-average";
  channel.quality = "derived";
  channel.unit = kWattsPerMilliwatt;
  channel.window_ns = timing.window_ns;
  channel.period_ns = timing.period_ns;
}

std::string name_of(const Library& library, nvmlDevice_t device) {
  std::array<char, NVML_DEVICE_NAME_V2_BUFFER_SIZE> text{};
  const bool told =
      library.name != nullptr && library.name(device, text.data(), text.size()) == NVML_SUCCESS;
  return told ? std::string(text.data(), strnlen(text.data(), text.size())) : "NVIDIA GPU";
}

Generation generation_of(const Library& library, nvmlDevice_t device) {
  Generation generation;
  const bool told =
      library.capability != nullptr &&
      library.capability(device, &generation.major, &generation.minor) == NVML_SUCCESS;
  return told ? generation : Generation{};
}

double limit_w(const Library& library, nvmlDevice_t device) {
  unsigned int enforced_mw = 0, least_mw = 0, most_mw = 0;
  if (library.enforced_limit == nullptr ||
      library.enforced_limit(device, &enforced_mw) != NVML_SUCCESS) {
    enforced_mw = 0;
  }
  if (library.limit_range == nullptr ||
      library.limit_range(device, &least_mw, &most_mw) != NVML_SUCCESS) {
    most_mw = 0;
  }
  return kPlausibleOverLimit * kWattsPerMilliwatt * std::max(enforced_mw, most_mw);
}

}  // namespace pyprof::nvml
