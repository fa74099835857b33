// NVIDIA GPUs through the driver's own library, loaded when asked for and never linked against.
#include <nvml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "sources/nvml_library.h"
#include "sources/nvml_sensor.h"
#include "sources/nvml_units.h"
#include "sources/table.h"
#include "sources/vendor.h"

namespace pyprof {
namespace {

using nvml::Answer;
using nvml::Ask;
using nvml::describe_energy;
using nvml::describe_power;
using nvml::Device;
using nvml::find_device;
using nvml::Generation;
using nvml::generation_of;
using nvml::kWattsPerMilliwatt;
using nvml::Library;
using nvml::limit_w;
using nvml::name_of;
using nvml::open_library;
using nvml::status_of;
using nvml::uuid_of;
using nvml::words;
using vendor::refuse;

constexpr const char* kName = "nvml";
// Stated by the vendor for its oldest parts only, and typical of later ones against a meter: not a
// bound (docs/simulate.md has the figures).
constexpr double kTolerance = 0.05;
constexpr int64_t kStillNs = 300 * kNsPerMs;
// The driver averages utilisation over a sixth of a second at the least.
constexpr int64_t kUtilisationIntervalNs = 200 * kNsPerMs;
// Half the window of the averaged power, so that every moment is in two of its readings.
constexpr int64_t kBesideIntervalNs = 500 * kNsPerMs;

// -- reading -------------------------------------------------------------------------

[[gnu::hot]] Answer ask_total_energy(const Library& library, nvmlDevice_t device) {
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

template <unsigned kField>
Answer ask_field(const Library& library, nvmlDevice_t device) {
  return nvml::ask_field(library, device, {kField, NVML_POWER_SCOPE_GPU});
}

// One number of a GPU. What is asked is known to the compiler: no call but the driver's is made.
template <Ask kAsk>
class Gpu final : public Unit {
 public:
  Gpu(Channel channel, Device device, Lane lane, int64_t interval_ns)
      : device_(std::move(device)),
        channels_{std::move(channel)},
        lane_(lane),
        interval_ns_(interval_ns) {}

  const std::vector<Channel>& channels() const override { return channels_; }
  int64_t interval_ns() const override { return interval_ns_; }
  Lane lane() const override { return lane_; }
  std::string describe(int32_t code) const override { return device_.describe(code); }
  [[gnu::hot]] void read(std::span<Sample> out) noexcept override { device_.read(kAsk, out[0]); }

 private:
  Device device_;  // first what a read touches
  std::vector<Channel> channels_;
  Lane lane_;
  int64_t interval_ns_;
};

// One way to a GPU's energy.
enum class Meaning : uint8_t { kEnergy, kInstant, kAverage, kByGeneration };
struct Way {
  const char* name;
  Ask ask;
  Meaning meaning;
  std::unique_ptr<Unit> (*make)(Channel, Device, Lane, int64_t interval_ns);
};

template <Ask kAsk>
constexpr Way way(const char* name, Meaning meaning) {
  return {
      name, kAsk, meaning,
      [](Channel channel, Device device, Lane lane, int64_t interval_ns) -> std::unique_ptr<Unit> {
        return std::make_unique<Gpu<kAsk>>(std::move(channel), std::move(device), lane,
                                           interval_ns);
      }};
}

// Best first.
constexpr std::array<Way, 5> kWays{{
    way<ask_total_energy>("nvmlDeviceGetTotalEnergyConsumption", Meaning::kEnergy),
    way<ask_field<NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION>>("field 83", Meaning::kEnergy),
    way<ask_field<NVML_FI_DEV_POWER_INSTANT>>("field 186", Meaning::kInstant),
    way<ask_field<NVML_FI_DEV_POWER_AVERAGE>>("field 185", Meaning::kAverage),
    way<ask_power_usage>("nvmlDeviceGetPowerUsage", Meaning::kByGeneration),
}};

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
  std::string describe(int32_t code) const override { return device_.describe(code); }
  void read(std::span<Sample> out) noexcept override {
    device_.read(ask_busy_percent, out[0]);
    const double busy = static_cast<double>(out[0].raw) / 100.0;
    const double power_w = idle_w_ + (design_w_ - idle_w_) * busy;
    out[0].raw = static_cast<uint64_t>(std::llround(power_w / kWattsPerMilliwatt));
  }

 private:
  std::vector<Channel> channels_;
  Device device_;
  double idle_w_;
  double design_w_;
};

// -- what is there -------------------------------------------------------------------

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

// A counter at 0 belongs to a driver that was loaded this moment, or to a part that has none and
// does not say so, as virtual GPUs do.
bool moves(const Way& way, const Library& library, nvmlDevice_t device) {
  for (const int64_t until = monotonic_ns() + kStillNs; monotonic_ns() < until;) {
    sleep_until(monotonic_ns() + 5 * kNsPerMs);
    const Answer answer = way.ask(library, device);
    if (answer.code == NVML_SUCCESS && answer.value > 0) return true;
  }
  return false;
}

// The best way that answers now.
const Way* choose_way(const Library& library, nvmlDevice_t device, Refusals& refusals) {
  bool still = false;  // what one counter shows, the other does as well
  for (const Way& way : kWays) {
    const bool counter = way.meaning == Meaning::kEnergy;
    if (counter && still) continue;
    Answer answer = ask_twice(way.ask, library, device);
    still =
        counter && answer.code == NVML_SUCCESS && answer.value == 0 && !moves(way, library, device);
    if (still) answer.code = NVML_ERROR_NO_DATA;
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

// GPUs that share a module with a CPU.
bool is_superchip(const Channel& channel) {
  const auto names = {"GH200", "GB200", "GB300", "GB10"};
  return std::any_of(names.begin(), names.end(), [&channel](const char* name) {
    return channel.device.find(name) != std::string::npos;
  });
}

bool shared_by_mps(const Library& library, nvmlDevice_t device) {
  unsigned int clients = 0;
  if (library.mps_clients == nullptr) return false;
  const nvmlReturn_t code = library.mps_clients(device, &clients, nullptr);
  return (code == NVML_SUCCESS || code == NVML_ERROR_INSUFFICIENT_SIZE) && clients > 0;
}

void note_boundaries(const Library& library, nvmlDevice_t device, const Channel& channel,
                     Found& found) {
  if (split_by_mig(library, device)) {
    found.notes.push_back(channel.id + " is split by MIG: its energy is the whole board's");
  }
  if (shared_by_mps(library, device)) {
    found.notes.push_back(channel.id +
                          " is shared by clients of MPS: its energy is that of all of them, and "
                          "the driver does not tell their shares");
  }
  if (is_superchip(channel)) {
    found.notes.push_back(channel.id + " (" + channel.device +
                          ") is part of a module: its energy may hold the module's CPU and memory");
  }
}

// -- the module around a GPU ------------------------------------------------------------------

std::optional<nvml::Field> module_field(const Library& library, nvmlDevice_t device) {
  for (const unsigned id : {NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_POWER_AVERAGE}) {
    const nvml::Field field{id, NVML_POWER_SCOPE_MODULE};
    const Answer answer = nvml::ask_field(library, device, field);
    if (answer.code == NVML_SUCCESS && answer.value > 0) return field;
  }
  return std::nullopt;
}

// The field that says the same as the way; none if it is a function only.
std::optional<nvml::Field> field_of(const Way& way, const Library& library, nvmlDevice_t device) {
  const unsigned id = way.meaning == Meaning::kEnergy    ? NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION
                      : way.meaning == Meaning::kInstant ? NVML_FI_DEV_POWER_INSTANT
                                                         : NVML_FI_DEV_POWER_AVERAGE;
  const nvml::Field field{id, NVML_POWER_SCOPE_GPU};
  const bool same = way.meaning != Meaning::kByGeneration;
  const bool told = same && nvml::ask_field(library, device, field).code == NVML_SUCCESS;
  return told ? std::optional(field) : std::nullopt;
}

Channel module_of(Channel& gpu, bool instant, const Generation& generation) {
  Channel module = gpu;
  module.id = gpu.id + "/module";
  module.domain = "module";
  module.device = "module of " + gpu.device;
  module.limit_w = 0;  // not that of the GPU
  describe_power(module, instant, generation);
  const bool single = gpu.device.find("GH200") != std::string::npos;
  if (single && gpu.kind != Kind::kCounter) {
    gpu.parent = module.id;
    gpu.counted = false;
    gpu.reason = "inside " + module.id;
  } else {
    module.counted = false;
    module.reason = single ? "the counter of " + gpu.id + " holds the same module"
                           : "holds " + gpu.id + ", its CPU and perhaps a second GPU";
  }
  return module;
}

// The GPU and its module in one call; null if the driver does not tell the module's power.
std::unique_ptr<Unit> with_module(const std::shared_ptr<Library>& library, nvmlDevice_t device,
                                  const Way& way, Channel gpu, const Generation& generation) {
  const auto own = field_of(way, *library, device);
  const auto around = module_field(*library, device);
  if (!own || !around) return nullptr;
  Channel module = module_of(gpu, around->id == NVML_FI_DEV_POWER_INSTANT, generation);
  Device handle(library, device, gpu.uuid);
  return nvml::batch(std::move(handle), {std::move(gpu), std::move(module)}, {*own, *around});
}

// The id under which a GPU of that UUID is known already, or "".
std::string listed_as(const std::string& uuid, const Found& found) {
  const auto same = [&uuid](const Channel& channel) { return channel.uuid == uuid; };
  if (uuid.empty()) return "";
  for (const auto& unit : found.units) {
    if (same(unit->channels().front())) return unit->channels().front().id;
  }
  const auto unread = std::find_if(found.unreadable.begin(), found.unreadable.end(), same);
  return unread == found.unreadable.end() ? "" : unread->id;
}

void add_gpu(const std::shared_ptr<Library>& library, nvmlDevice_t device, unsigned index,
             Found& found) {
  Channel channel = channel_of(*library, device, index);
  if (const std::string twin = listed_as(channel.uuid, found); !twin.empty()) {
    found.notes.push_back(channel.id + " is left out: the driver lists " + twin + " twice");
    return;
  }
  note_boundaries(*library, device, channel, found);
  Refusals refusals;
  const Way* const way = choose_way(*library, device, refusals);
  if (way == nullptr) {
    refuse_channel(channel, "neither energy nor power can be read: " + refusals.in_words(*library));
    found.unreadable.push_back(std::move(channel));
    return;
  }
  const Generation generation = generation_of(*library, device);
  describe(channel, way->meaning, generation);
  std::unique_ptr<Unit> unit;
  if (is_superchip(channel)) unit = with_module(library, device, *way, channel, generation);
  // Where the power reading is the mean of a second, so may be the samples be.
  if (!unit && channel.method == "power-instant") unit = nvml::sampled(library, device, channel);
  if (!unit) {
    Device handle(library, device, channel.uuid);
    unit = way->make(std::move(channel), std::move(handle), Lane::kVendor, 0);
  }
  found.units.push_back(std::move(unit));
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

}  // namespace

Found find_nvml(const Places& places) {
  return vendor::look_or_say(kName, "the NVIDIA driver", "nvidia-smi",
                             [places] { return look(places); });
}

// The mean of a second is preferred: read seldom, it still sees all of the time.
std::unique_ptr<Unit> nvml_power_beside(const Places& places, const Channel& counter) {
  SourceState state;
  const auto library = open_library(places, state);
  const nvmlDevice_t device = library == nullptr ? nullptr : find_device(*library, counter.uuid);
  if (device == nullptr) return nullptr;
  for (const size_t best : {3, 4, 2}) {
    const Way& way = kWays[best];
    if (ask_twice(way.ask, *library, device).code != NVML_SUCCESS) continue;
    Channel channel = channel_of(*library, device, 0);
    channel.id = counter.id + "/power";
    channel.parent = counter.id;
    channel.counted = false;
    channel.reason = "held beside the counter of " + counter.id;
    describe(channel, way.meaning, generation_of(*library, device));
    return way.make(std::move(channel), Device(library, device, counter.uuid), Lane::kSlow,
                    kBesideIntervalNs);
  }
  return nullptr;
}

std::unique_ptr<Unit> nvml_utilisation(const Places& places, const Channel& channel, double idle_w,
                                       double design_w) {
  SourceState state;
  const auto library = open_library(places, state);
  if (library == nullptr) return nullptr;
  const nvmlDevice_t device = find_device(*library, channel.uuid);
  if (device == nullptr) return nullptr;
  if (ask_twice(BusyGpu::ask_busy_percent, *library, device).code != NVML_SUCCESS) return nullptr;
  Channel gauge = channel;
  gauge.kind = Kind::kGauge;
  gauge.unit = kWattsPerMilliwatt;
  gauge.range = 0;
  return std::make_unique<BusyGpu>(std::move(gauge), Device(library, device, channel.uuid), idle_w,
                                   design_w);
}

}  // namespace pyprof
