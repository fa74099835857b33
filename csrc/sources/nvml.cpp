// NVIDIA GPUs through the driver's own library, loaded when asked for and never linked against.
#include <nvml.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "sources/nvml_library.h"
#include "sources/table.h"

// A batch of fields is an array of these in the driver's own layout.
static_assert(sizeof(nvmlFieldValue_t) == 40);

namespace pyprof {
namespace {

using nvml::Answer;
using nvml::Ask;
using nvml::Device;
using nvml::Library;
using nvml::open_library;
using nvml::refuse;
using nvml::status_of;
using nvml::words;

constexpr const char* kName = "nvml";
constexpr double kWattsPerMilliwatt = 1e-3;
// Stated by the vendor for its oldest parts only, and typical of later ones against a meter: not a
// bound (docs/simulate.md has the figures).
constexpr double kTolerance = 0.05;
constexpr double kPlausibleOverLimit = 1.5;
constexpr int64_t kAverageWindowNs = kNsPerS;
// The driver averages utilisation over a sixth of a second at the least.
constexpr int64_t kUtilisationIntervalNs = 200 * kNsPerMs;
// Without its persistence mode the driver takes seconds to wake each GPU.
constexpr std::chrono::seconds kPatience{30};

// -- reading -------------------------------------------------------------------------

Answer ask_total_energy(const Library& library, nvmlDevice_t device) {
  unsigned long long energy_mj = 0;
  if (library.total_energy == nullptr) return {};
  const nvmlReturn_t code = library.total_energy(device, &energy_mj);
  return {code, energy_mj};
}

Answer ask_power_usage(const Library& library, nvmlDevice_t device) {
  unsigned int power_mw = 0;
  if (library.power_usage == nullptr) return {};
  const nvmlReturn_t code = library.power_usage(device, &power_mw);
  return {code, power_mw};
}

// A field's value is typed by the driver; one that can't be a power or an energy is refused.
std::optional<uint64_t> whole(const nvmlFieldValue_t& field) {
  switch (field.valueType) {
    case NVML_VALUE_TYPE_UNSIGNED_INT:
      return field.value.uiVal;
    case NVML_VALUE_TYPE_UNSIGNED_LONG:
      return field.value.ulVal;
    case NVML_VALUE_TYPE_UNSIGNED_LONG_LONG:
      return field.value.ullVal;
    case NVML_VALUE_TYPE_DOUBLE:
      if (!(field.value.dVal >= 0.0 && field.value.dVal < 0x1p63)) return std::nullopt;
      return static_cast<uint64_t>(std::llround(field.value.dVal));
    default:
      return std::nullopt;
  }
}

template <unsigned kField>
Answer ask_field(const Library& library, nvmlDevice_t device) {
  if (library.field_values == nullptr) return {};
  nvmlFieldValue_t field{};
  field.fieldId = kField;
  field.scopeId = NVML_POWER_SCOPE_GPU;
  field.nvmlReturn = NVML_ERROR_NO_DATA;
  const nvmlReturn_t code = library.field_values(device, 1, &field);
  if (code != NVML_SUCCESS) return {code, 0};
  if (field.nvmlReturn != NVML_SUCCESS) return {field.nvmlReturn, 0};
  const std::optional<uint64_t> value = whole(field);
  return value ? Answer{NVML_SUCCESS, *value} : Answer{NVML_ERROR_INVALID_STATE, 0};
}

// One way to a GPU's energy, best first.
enum class Meaning : uint8_t { kEnergy, kInstant, kAverage, kByGeneration };
struct Way {
  const char* name;
  Ask ask;
  Meaning meaning;
};

constexpr std::array<Way, 5> kWays{{
    {"nvmlDeviceGetTotalEnergyConsumption", ask_total_energy, Meaning::kEnergy},
    {"field 83", ask_field<NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION>, Meaning::kEnergy},
    {"field 186", ask_field<NVML_FI_DEV_POWER_INSTANT>, Meaning::kInstant},
    {"field 185", ask_field<NVML_FI_DEV_POWER_AVERAGE>, Meaning::kAverage},
    {"nvmlDeviceGetPowerUsage", ask_power_usage, Meaning::kByGeneration},
}};

class Gpu final : public Unit {
 public:
  Gpu(Channel channel, Device device, Ask ask)
      : channels_{std::move(channel)}, device_(std::move(device)), ask_(ask) {}

  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  void read(std::span<Sample> out) noexcept override {
    const Answer answer = device_.read(ask_);
    out[0] = {answer.value, status_of(answer.code), static_cast<int32_t>(answer.code)};
  }

 private:
  std::vector<Channel> channels_;
  Device device_;
  Ask ask_;
};

// A GPU whose power can't be read, by how busy it is.
class BusyGpu final : public Unit {
 public:
  BusyGpu(Channel channel, Device device, double idle_w, double design_w)
      : channels_{std::move(channel)},
        device_(std::move(device)),
        idle_w_(idle_w),
        design_w_(design_w) {}

  static Answer ask_busy_percent(const Library& library, nvmlDevice_t device) {
    nvmlUtilization_t rates{};
    if (library.utilisation == nullptr) return {};
    const nvmlReturn_t code = library.utilisation(device, &rates);
    return {code, std::min(rates.gpu, 100U)};
  }

  const std::vector<Channel>& channels() const override { return channels_; }
  int64_t interval_ns() const override { return kUtilisationIntervalNs; }
  Lane lane() const override { return Lane::kVendor; }
  void read(std::span<Sample> out) noexcept override {
    const Answer answer = device_.read(ask_busy_percent);
    const double busy = static_cast<double>(answer.value) / 100.0;
    const double power_w = idle_w_ + (design_w_ - idle_w_) * busy;
    const auto power_mw = static_cast<uint64_t>(std::llround(power_w / kWattsPerMilliwatt));
    out[0] = {power_mw, status_of(answer.code), static_cast<int32_t>(answer.code)};
  }

 private:
  std::vector<Channel> channels_;
  Device device_;
  double idle_w_;
  double design_w_;
};

// -- what is there -------------------------------------------------------------------

struct Generation {
  int major = 0, minor = 0;  // 0: not told
  bool known() const { return major != 0; }
  // GA100 and everything older gives the power of the moment, later parts the mean of a second.
  bool power_usage_is_instant() const {
    return known() && (major < 8 || (major == 8 && minor == 0));
  }
};

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

void describe(Channel& channel, Meaning meaning, const Generation& generation) {
  switch (meaning) {
    case Meaning::kEnergy:
      return describe_energy(channel);
    case Meaning::kInstant:
      return describe_power(channel, true, generation);
    case Meaning::kAverage:
      return describe_power(channel, false, generation);
    case Meaning::kByGeneration:
      return describe_power(channel, generation.power_usage_is_instant(), generation);
  }
}

std::string name_of(const Library& library, nvmlDevice_t device) {
  std::array<char, NVML_DEVICE_NAME_V2_BUFFER_SIZE> text{};
  const bool told =
      library.name != nullptr && library.name(device, text.data(), text.size()) == NVML_SUCCESS;
  return told ? std::string(text.data(), strnlen(text.data(), text.size())) : "NVIDIA GPU";
}

std::string uuid_of(const Library& library, nvmlDevice_t device) {
  std::array<char, NVML_DEVICE_UUID_V2_BUFFER_SIZE> text{};
  const bool told =
      library.uuid != nullptr && library.uuid(device, text.data(), text.size()) == NVML_SUCCESS;
  return told ? std::string(text.data(), strnlen(text.data(), text.size())) : "";
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

Channel channel_of(const Library& library, nvmlDevice_t device, unsigned index) {
  Channel channel;
  channel.id = "gpu" + std::to_string(index);
  channel.domain = "gpu";
  channel.device = name_of(library, device);
  channel.uuid = uuid_of(library, device);
  channel.source = kName;
  channel.scope = "devices";
  channel.tolerance = kTolerance;
  channel.limit_w = limit_w(library, device);
  return channel;
}

void refuse_channel(Channel& channel, std::string reason) {
  channel.quality = "unmeasured";
  channel.reason = std::move(reason);
}

// A read of a healthy sensor is refused now and then, so one refusal proves nothing.
Answer ask_twice(Ask ask, const Library& library, nvmlDevice_t device) {
  const Answer first = ask(library, device);
  const bool final_word = first.code == NVML_SUCCESS ||
                          first.code == NVML_ERROR_FUNCTION_NOT_FOUND ||
                          status_of(first.code) == Sample::Status::kLost;
  return final_word ? first : ask(library, device);
}

// What the ways that did not answer said, equal answers together.
class Refusals {
 public:
  void add(const Way& way, nvmlReturn_t code) {
    const auto same = std::find_if(said_.begin(), said_.end(),
                                   [code](const auto& said) { return said.first == code; });
    if (same == said_.end()) {
      said_.emplace_back(code, way.name);
    } else {
      same->second += std::string(", ") + way.name;
    }
  }
  std::string in_words(const Library& library) const {
    std::string text;
    for (const auto& [code, names] : said_) {
      text += (text.empty() ? "" : "; ") + words(library, code) + " from " + names;
    }
    return text;
  }

 private:
  std::vector<std::pair<nvmlReturn_t, std::string>> said_;
};

// The best way that answers now.
const Way* choose_way(const Library& library, nvmlDevice_t device, Refusals& refusals) {
  for (const Way& way : kWays) {
    const Answer answer = ask_twice(way.ask, library, device);
    if (answer.code == NVML_SUCCESS) return &way;
    refusals.add(way, answer.code);
    if (status_of(answer.code) == Sample::Status::kLost) return nullptr;
  }
  return nullptr;
}

bool split_by_mig(const Library& library, nvmlDevice_t device) {
  unsigned int current = NVML_DEVICE_MIG_DISABLE, pending = 0;
  return library.mig_mode != nullptr &&
         library.mig_mode(device, &current, &pending) == NVML_SUCCESS &&
         current == NVML_DEVICE_MIG_ENABLE;
}

void note_boundaries(const Library& library, nvmlDevice_t device, const Channel& channel,
                     Found& found) {
  if (split_by_mig(library, device)) {
    found.notes.push_back(channel.id + " is split by MIG: its energy is the whole board's");
  }
  const bool module = channel.device.find("GH200") != std::string::npos ||
                      channel.device.find("GB200") != std::string::npos;
  if (module) {
    found.notes.push_back(channel.id + " (" + channel.device +
                          ") is part of a module: its energy may hold the module's CPU and memory");
  }
}

void add_gpu(const std::shared_ptr<Library>& library, nvmlDevice_t device, unsigned index,
             Found& found) {
  Channel channel = channel_of(*library, device, index);
  note_boundaries(*library, device, channel, found);
  Refusals refusals;
  const Way* const way = choose_way(*library, device, refusals);
  if (way == nullptr) {
    refuse_channel(channel, "neither energy nor power can be read: " + refusals.in_words(*library));
    found.unreadable.push_back(std::move(channel));
    return;
  }
  describe(channel, way->meaning, generation_of(*library, device));
  Device handle(library, device, channel.uuid);
  found.units.push_back(std::make_unique<Gpu>(std::move(channel), std::move(handle), way->ask));
}

void add_by_index(const std::shared_ptr<Library>& library, unsigned index, Found& found) {
  nvmlDevice_t device = nullptr;
  const nvmlReturn_t code = library->by_index(index, &device);
  if (code == NVML_SUCCESS) return add_gpu(library, device, index, found);
  const std::string id = "gpu" + std::to_string(index);
  if (code == NVML_ERROR_NO_PERMISSION) {
    found.notes.push_back(id + " is not given to this process and is left out");
    return;
  }
  Channel channel;
  channel.id = id;
  channel.domain = "gpu";
  channel.device = "NVIDIA GPU";
  channel.source = kName;
  channel.scope = "devices";
  refuse_channel(channel, "the driver gives no handle: " + words(*library, code));
  found.unreadable.push_back(std::move(channel));
}

void conclude(Found& found, unsigned count) {
  found.state.available = !found.units.empty();
  if (count == 0) {
    refuse(found.state, "the driver sees no NVIDIA GPU", "nvidia-smi -L");
  } else if (found.units.empty() && found.unreadable.empty()) {
    refuse(found.state, "none of the NVIDIA GPUs is given to this process",
           "ask for a GPU when starting the job or the container");
  } else if (!found.unreadable.empty()) {
    const Channel& first = found.unreadable.front();
    found.state.reason = first.id + ": " + first.reason;
    found.state.remedy = "nvidia-smi -q -d POWER";
  }
}

void note_mps(Found& found) {
  const char* const view = getenv("NVML_MPS_DEVICE_ENUMERATION");
  if (view == nullptr || std::strcmp(view, "1") != 0) return;
  found.notes.push_back(
      "NVML_MPS_DEVICE_ENUMERATION=1 hides the physical GPUs from power readings: unset it");
}

Found look(const Places& places) {
  Found found;
  found.state.name = kName;
  note_mps(found);
  const auto library = open_library(places, found.state);
  if (library == nullptr) return found;
  unsigned int count = 0;
  const nvmlReturn_t code = library->count(&count);
  if (code != NVML_SUCCESS) {
    refuse(found.state, "NVML can't count the GPUs: " + words(*library, code), "nvidia-smi -L");
    return found;
  }
  for (unsigned index = 0; index < count; ++index) add_by_index(library, index, found);
  conclude(found, count);
  return found;
}

// A wedged driver never answers, and whoever measures must not hang with it: the first questions
// are put by a thread of their own, which is left behind if need be.
std::optional<Found> look_patiently(const Places& places) {
  auto promise = std::make_shared<std::promise<Found>>();
  std::future<Found> answer = promise->get_future();
  std::thread([promise, places] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    promise->set_value(look(places));
  }).detach();
  if (answer.wait_for(kPatience) != std::future_status::ready) return std::nullopt;
  return answer.get();
}

}  // namespace

Found find_nvml(const Places& places) {
  std::optional<Found> found = look_patiently(places);
  if (found) return std::move(*found);
  Found silent;
  silent.state.name = kName;
  refuse(silent.state, "the NVIDIA driver has not answered for 30 s",
         "nvidia-smi; if that hangs too, restart the machine");
  return silent;
}

std::unique_ptr<Unit> nvml_utilisation(const Places& places, const Channel& channel, double idle_w,
                                       double design_w) {
  SourceState state;
  const auto library = open_library(places, state);
  if (library == nullptr || library->by_uuid == nullptr) return nullptr;
  nvmlDevice_t device = nullptr;
  if (library->by_uuid(channel.uuid.c_str(), &device) != NVML_SUCCESS) return nullptr;
  if (ask_twice(BusyGpu::ask_busy_percent, *library, device).code != NVML_SUCCESS) return nullptr;
  Channel gauge = channel;
  gauge.kind = Kind::kGauge;
  gauge.unit = kWattsPerMilliwatt;
  gauge.range = 0;
  return std::make_unique<BusyGpu>(std::move(gauge), Device(library, device, channel.uuid), idle_w,
                                   design_w);
}

}  // namespace pyprof
