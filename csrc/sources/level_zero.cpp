// Intel GPUs through Level Zero's Sysman, where the kernel's hwmon does not show their energy.
#include "sources/level_zero.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <vector>

#include "core/clock.h"
#include "core/process.h"
#include "sources/chip.h"
#include "sources/table.h"
#include "sources/vendor.h"

namespace pyprof {
namespace {

using namespace level_zero;

constexpr const char* kName = "level-zero";
constexpr double kJoulesPerMicrojoule = 1e-6;
constexpr double kWattsPerMilliwatt = 1e-3;
constexpr double kPlausibleOverLimit = 1.5;
constexpr double kAnyCardW = 1500;  // for a part that does not tell its limit

struct Library {
  pid_t owner = -1;
  Init init = nullptr;
  GetDrivers drivers = nullptr;
  GetDevices devices = nullptr;
  GetDeviceProperties device_properties = nullptr;
  GetPciProperties pci_properties = nullptr;
  GetCardPower card_power = nullptr;
  GetPowers powers = nullptr;
  GetPowerProperties power_properties = nullptr;
  GetEnergy energy = nullptr;
};

std::string words(Result result) {
  std::array<char, 32> number{};
  std::snprintf(number.data(), number.size(), "0x%x", result);
  const char* const text = result == kUnsupported         ? "not supported"
                           : result == kNoPermission      ? "no permission"
                           : result == kDeviceLost        ? "device lost"
                           : result == kDependencyMissing ? "a library is missing"
                                                          : "failed";
  return std::string(text) + " (Level Zero result " + number.data() + ")";
}

std::shared_ptr<Library> start(const Places& places, SourceState& state) {
  std::string why;
  void* const handle = places.level_zero.empty() ? vendor::load({"libze_loader.so.1"}, why)
                                                 : vendor::load({places.level_zero.c_str()}, why);
  if (handle == nullptr) {
    vendor::refuse(state, "Level Zero can't be loaded: " + why,
                   "install Intel's level-zero and compute-runtime packages, or name "
                   "libze_loader.so.1 in PYPROF_ZES");
    return nullptr;
  }
  auto library = std::make_shared<Library>();
  vendor::look_up(handle, "zesInit", library->init);
  vendor::look_up(handle, "zesDriverGet", library->drivers);
  vendor::look_up(handle, "zesDeviceGet", library->devices);
  vendor::look_up(handle, "zesDeviceGetProperties", library->device_properties);
  vendor::look_up(handle, "zesDevicePciGetProperties", library->pci_properties);
  vendor::look_up(handle, "zesDeviceGetCardPowerDomain", library->card_power);
  vendor::look_up(handle, "zesDeviceEnumPowerDomains", library->powers);
  vendor::look_up(handle, "zesPowerGetProperties", library->power_properties);
  vendor::look_up(handle, "zesPowerGetEnergyCounter", library->energy);
  if (library->init == nullptr || library->drivers == nullptr || library->devices == nullptr ||
      library->powers == nullptr || library->energy == nullptr) {
    // Before, Sysman was switched on by a variable of the environment, which is the workload's.
    vendor::refuse(state, "the library lacks zesInit: it is older than Level Zero 1.10, or another",
                   "update Intel's level-zero package");
    return nullptr;
  }
  const Result result = library->init(0);
  if (result != kSuccess) {
    vendor::refuse(state, "Level Zero did not start: " + words(result),
                   "sudo usermod -aG render,video $USER, then log in again");
    return nullptr;
  }
  library->owner = own_pid();
  return library;
}

std::shared_ptr<Library> open_library(const Places& places, SourceState& state) {
  static vendor::Shared<Library> shared;
  return shared.get(places.level_zero, [&] { return start(places, state); });
}

Sample::Status status_of(Result result) {
  if (result == kSuccess) return Sample::Status::kOk;
  if (result == kNoPermission) return Sample::Status::kDenied;
  const bool gone = result == kDeviceLost || result == kRequiresReset || result == kUninitialised ||
                    result == kLowPower;
  return gone ? Sample::Status::kLost : Sample::Status::kFailed;
}

class Card final : public Unit {
 public:
  Card(std::shared_ptr<Library> library, Handle power, Channel channel)
      : library_(std::move(library)), power_(power), channels_{std::move(channel)} {}
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  std::string describe(int32_t code) const override { return words(static_cast<Result>(code)); }

  // The driver is known to give a value near nothing now and then. One that falls is read again.
  void read(std::span<Sample> out) noexcept override {
    read_once(out[0]);
    if (out[0].status == Sample::Status::kOk && out[0].raw < last_) read_once(out[0]);
    if (out[0].status == Sample::Status::kOk) last_ = out[0].raw;
  }

 private:
  void read_once(Sample& sample) noexcept {
    sample = {0, Sample::Status::kLost, static_cast<int32_t>(kUninitialised)};
    if (library_->owner != own_pid()) return;
    EnergyCounter counter{};
    const Result result = library_->energy(power_, &counter);
    sample = {counter.energy_uj, status_of(result), static_cast<int32_t>(result)};
  }

  std::shared_ptr<Library> library_;
  Handle power_;
  std::vector<Channel> channels_;
  uint64_t last_ = 0;
};

// -- what is there --------------------------------------------------------------------------------

class Survey {
 public:
  explicit Survey(const Places& places) : places_(places), gpus_(places.sysfs, {"i915", "xe"}) {
    found_.state.name = kName;
  }

  Found look() {
    if (places_.level_zero.empty() && !needed()) return std::move(found_);
    library_ = open_library(places_, found_.state);
    if (library_ == nullptr) return std::move(found_);
    for (const Handle driver : vendor::list(library_->drivers)) {
      for (const Handle device : vendor::list(library_->devices, driver)) add_device(device);
    }
    found_.state.available = !found_.units.empty();
    if (found_.units.empty() && found_.unreadable.empty()) {
      vendor::refuse(found_.state, "Level Zero lists no GPU",
                     "install Intel's compute-runtime (libze-intel-gpu1) and be in the groups "
                     "render and video");
    } else if (!found_.unreadable.empty()) {
      const Channel& first = found_.unreadable.front();
      found_.state.reason = first.id + ": " + first.reason;
    }
    return std::move(found_);
  }

 private:
  // The library is large, and what the kernel shows needs none.
  bool needed() {
    const auto addresses = pci_gpus(places_.sysfs, "0x8086");
    if (addresses.empty()) {
      found_.state.reason = "no Intel GPU is on the bus";
      return false;
    }
    const bool unseen =
        std::any_of(addresses.begin(), addresses.end(), [this](const std::string& address) {
          return !exists(gpus_.path_of(address) + "/energy1_input");
        });
    if (!unseen) found_.state.reason = "not needed, as hwmon shows the same counters";
    return unseen;
  }

  std::string address_of(Handle device) {
    PciProperties properties{};
    if (library_->pci_properties == nullptr ||
        library_->pci_properties(device, &properties) != kSuccess) {
      return "";
    }
    std::array<char, 48> text{};
    const PciAddress& at = properties.address;
    std::snprintf(text.data(), text.size(), "%04x:%02x:%02x.%x", at.domain, at.bus, at.device,
                  at.function);
    return text.data();
  }

  Channel describe(Handle device) {
    DeviceProperties properties{};
    const bool told = library_->device_properties != nullptr &&
                      library_->device_properties(device, &properties) == kSuccess;
    const char* const text = properties.core.name;
    const std::string name = told ? std::string(text, strnlen(text, 256)) : "";
    const std::string address = address_of(device);
    Channel channel;
    channel.id = "intelgpu" + std::to_string(gpus_.number_of(address));
    channel.domain = "gpu";
    channel.device =
        (name.empty() ? "Intel GPU" : name) + (address.empty() ? "" : " at " + address);
    channel.source = kName;
    channel.unit = kJoulesPerMicrojoule;
    channel.period_ns = 100 * kNsPerMs;
    if (told) {
      for (const uint8_t byte : properties.core.uuid) {
        std::array<char, 4> digits{};
        std::snprintf(digits.data(), digits.size(), "%02x", byte);
        channel.uuid += digits.data();
      }
    }
    return channel;
  }

  // The meter of the whole card, else the first one that is not that of a tile alone.
  Handle power_of(Handle device, double& limit_w) {
    Handle card = nullptr;
    if (library_->card_power != nullptr && library_->card_power(device, &card) == kSuccess &&
        card != nullptr) {
      PowerProperties properties{};
      limit_w = limit_of(card, properties);
      return card;
    }
    for (const Handle power : vendor::list(library_->powers, device)) {
      PowerProperties properties{};
      limit_w = limit_of(power, properties);
      if (properties.on_subdevice == 0) return power;
    }
    return nullptr;
  }

  double limit_of(Handle power, PowerProperties& properties) {
    const bool told = library_->power_properties != nullptr &&
                      library_->power_properties(power, &properties) == kSuccess;
    const int32_t most_mw = told ? std::max(properties.most_mw, properties.default_mw) : 0;
    return most_mw > 0 ? kPlausibleOverLimit * kWattsPerMilliwatt * most_mw : kAnyCardW;
  }

  void add_device(Handle device) {
    Channel channel = describe(device);
    const Handle power = power_of(device, channel.limit_w);
    EnergyCounter counter{};
    const Result result = power == nullptr ? kUnsupported : library_->energy(power, &counter);
    if (result == kSuccess) {
      found_.units.push_back(std::make_unique<Card>(library_, power, std::move(channel)));
      return;
    }
    channel.quality = "unmeasured";
    channel.reason = power == nullptr ? "it has no meter of the whole card"
                                      : "zesPowerGetEnergyCounter: " + words(result);
    if (result == kNoPermission) {
      found_.state.remedy = "sudo usermod -aG render,video $USER, then log in again";
    }
    found_.unreadable.push_back(std::move(channel));
  }

  const Places& places_;
  NumberedGpus gpus_;
  std::shared_ptr<Library> library_;
  Found found_;
};

}  // namespace

Found find_level_zero(const Places& places) {
  return vendor::look_or_say(kName, "Level Zero", "sycl-ls",
                             [places] { return Survey(places).look(); });
}

}  // namespace pyprof
