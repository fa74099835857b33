// AMD GPUs through AMD SMI, the library that comes with ROCm: an energy counter where the kernel's
// hwmon has a power only.
#include "sources/amd_smi.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <vector>

#include "core/clock.h"
#include "core/process.h"
#include "sources/chip.h"
#include "sources/file.h"
#include "sources/table.h"
#include "sources/vendor.h"

namespace pyprof {
namespace {

using namespace amd_smi;

constexpr const char* kName = "amd-smi";
constexpr double kJoulesPerMicrojoule = 1e-6;
constexpr double kPlausibleOverLimit = 1.5;
constexpr int64_t kStillNs = 200 * kNsPerMs;
constexpr std::chrono::seconds kTurn{1};

struct Library {
  pid_t owner = -1;
  std::timed_mutex turn;  // it may not be called by two threads at a time

  Init init = nullptr;
  ShutDown shut_down = nullptr;
  GetSockets sockets = nullptr;
  GetProcessors processors = nullptr;
  GetType type = nullptr;
  GetEnergy energy = nullptr;
  GetBusAddress bus_address = nullptr;
  GetUuid uuid = nullptr;
  GetAsic asic = nullptr;
  GetWords words = nullptr;

  Library() = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (owner == own_pid() && shut_down != nullptr) shut_down();
  }
};

std::string words(const Library& library, Status status) {
  const char* text = nullptr;
  const std::string number = "AMD SMI status " + std::to_string(status);
  const bool told = library.words != nullptr && library.words(status, &text) == kSuccess;
  return told && text != nullptr ? std::string(text) + " (" + number + ")" : number;
}

std::shared_ptr<Library> start(const Places& places, SourceState& state) {
  std::string why;
  void* const handle = places.amd_smi.empty()
                           ? vendor::load({"libamd_smi.so", "libamd_smi.so.26", "libamd_smi.so.25",
                                           "libamd_smi.so.24", "/opt/rocm/lib/libamd_smi.so"},
                                          why)
                           : vendor::load({places.amd_smi.c_str()}, why);
  if (handle == nullptr) {
    vendor::refuse(state, "AMD SMI can't be loaded: " + why,
                   "install amd-smi-lib, which is part of ROCm, or name libamd_smi.so in "
                   "PYPROF_AMDSMI");
    return nullptr;
  }
  auto library = std::make_shared<Library>();
  vendor::look_up(handle, "amdsmi_init", library->init);
  vendor::look_up(handle, "amdsmi_shut_down", library->shut_down);
  vendor::look_up(handle, "amdsmi_get_socket_handles", library->sockets);
  vendor::look_up(handle, "amdsmi_get_processor_handles", library->processors);
  vendor::look_up(handle, "amdsmi_get_processor_type", library->type);
  vendor::look_up(handle, "amdsmi_get_energy_count", library->energy);
  vendor::look_up(handle, "amdsmi_get_gpu_device_bdf", library->bus_address);
  vendor::look_up(handle, "amdsmi_get_gpu_device_uuid", library->uuid);
  vendor::look_up(handle, "amdsmi_get_gpu_asic_info", library->asic);
  vendor::look_up(handle, "amdsmi_status_code_to_string", library->words);
  if (library->init == nullptr || library->sockets == nullptr || library->processors == nullptr ||
      library->energy == nullptr) {
    vendor::refuse(state, "the library lacks the entry points of AMD SMI",
                   "name ROCm's libamd_smi.so in PYPROF_AMDSMI");
    return nullptr;
  }
  const Status status = library->init(kInitGpus);
  if (status != kSuccess) {
    vendor::refuse(state, "AMD SMI did not start: " + words(*library, status),
                   status == kDriverNotLoaded
                       ? "sudo modprobe amdgpu"
                       : "sudo usermod -aG render,video $USER, then log in again");
    return nullptr;
  }
  library->owner = own_pid();
  return library;
}

std::shared_ptr<Library> open_library(const Places& places, SourceState& state) {
  static vendor::Shared<Library> shared;
  return shared.get(places.amd_smi, [&] { return start(places, state); });
}

Sample::Status status_of(Status status) {
  if (status == kSuccess) return Sample::Status::kOk;
  if (status == kNoPermission) return Sample::Status::kDenied;
  const bool gone = status == kNotFound || status == kNotInitialised || status == kDriverNotLoaded;
  return gone ? Sample::Status::kLost : Sample::Status::kFailed;
}

class Gpu final : public Unit {
 public:
  Gpu(std::shared_ptr<Library> library, Handle processor, Channel channel)
      : library_(std::move(library)), processor_(processor), channels_{std::move(channel)} {}
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  std::string describe(int32_t code) const override {
    return words(*library_, static_cast<Status>(code));
  }

  void read(std::span<Sample> out) noexcept override {
    out[0] = {0, Sample::Status::kLost, static_cast<int32_t>(kNotInitialised)};
    if (library_->owner != own_pid()) return;
    const std::unique_lock turn(library_->turn, kTurn);
    if (!turn.owns_lock()) {  // another GPU's call hangs
      out[0].status = Sample::Status::kFailed;
      return;
    }
    float resolution = 0;
    uint64_t count = 0, stamp = 0;
    const Status status = library_->energy(processor_, &count, &resolution, &stamp);
    out[0] = {count, status_of(status), static_cast<int32_t>(status)};
  }

 private:
  std::shared_ptr<Library> library_;
  Handle processor_;
  std::vector<Channel> channels_;
};

// -- what is there --------------------------------------------------------------------------------

std::string address_of(uint64_t packed) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%04llx:%02x:%02x.%u",
                static_cast<unsigned long long>(packed >> 16),
                static_cast<unsigned>(packed >> 8 & 0xff),
                static_cast<unsigned>(packed >> 3 & 0x1f), static_cast<unsigned>(packed & 7));
  return text.data();
}

class Survey {
 public:
  explicit Survey(const Places& places) : places_(places), gpus_(places.sysfs, {"amdgpu"}) {
    found_.state.name = kName;
  }

  Found look() {
    if (places_.amd_smi.empty() && pci_gpus(places_.sysfs, "0x1002").empty()) {
      found_.state.reason = "no AMD GPU is on the bus";
      return std::move(found_);
    }
    library_ = open_library(places_, found_.state);
    if (library_ == nullptr) return std::move(found_);
    const std::unique_lock turn(library_->turn);
    for (const Handle socket : vendor::list(library_->sockets)) add_socket(socket);
    found_.state.available = !found_.units.empty();
    if (found_.units.empty() && found_.unreadable.empty()) {
      vendor::refuse(found_.state, "AMD SMI lists no GPU",
                     "sudo usermod -aG render,video $USER, then log in again; in a container pass "
                     "/dev/kfd and /dev/dri in");
    } else if (!found_.unreadable.empty()) {
      const Channel& first = found_.unreadable.front();
      found_.state.reason = first.id + ": " + first.reason;
    }
    return std::move(found_);
  }

 private:
  // A part that is split into several processors has one meter, which each of them shows.
  void add_socket(Handle socket) {
    for (const Handle processor : vendor::list(library_->processors, socket)) {
      uint32_t type = kTypeGpu;
      if (library_->type != nullptr) library_->type(processor, &type);
      if (type == kTypeGpu) return add_gpu(processor);
    }
  }

  Channel describe(Handle processor) {
    uint64_t packed = 0;
    const bool placed =
        library_->bus_address != nullptr && library_->bus_address(processor, &packed) == kSuccess;
    const std::string address = placed ? address_of(packed) : "";
    Channel channel;
    channel.id = "amdgpu" + std::to_string(gpus_.number_of(address));
    channel.domain = "gpu";
    channel.device = name_of(processor) + (placed ? " at " + address : "");
    channel.uuid = uuid_of(processor);
    channel.source = kName;
    channel.period_ns = kNsPerMs;
    channel.limit_w =
        kPlausibleOverLimit * kJoulesPerMicrojoule *
        static_cast<double>(read_uint(gpus_.path_of(address) + "/power1_cap_max").value_or(0));
    return channel;
  }

  std::string name_of(Handle processor) {
    alignas(16) std::array<char, 8192> info{};
    if (library_->asic == nullptr || library_->asic(processor, info.data()) != kSuccess) {
      return "AMD GPU";
    }
    const std::string name(info.data(), strnlen(info.data(), 256));
    return name.empty() ? "AMD GPU" : name;
  }

  std::string uuid_of(Handle processor) {
    std::array<char, 256> text{};
    auto length = static_cast<uint32_t>(text.size());
    const bool told =
        library_->uuid != nullptr && library_->uuid(processor, &length, text.data()) == kSuccess;
    return told ? std::string(text.data(), strnlen(text.data(), text.size())) : "";
  }

  void add_gpu(Handle processor) {
    Channel channel = describe(processor);
    const std::string problem = check(processor, channel);
    if (problem.empty()) {
      found_.units.push_back(std::make_unique<Gpu>(library_, processor, std::move(channel)));
      return;
    }
    channel.quality = "unmeasured";
    channel.reason = problem;
    found_.unreadable.push_back(std::move(channel));
  }

  // Some parts have a counter that never moves. "" if this one does; its unit is then known.
  std::string check(Handle processor, Channel& channel) {
    float resolution_uj = 0;
    uint64_t first = 0, count = 0, stamp = 0;
    Status status = library_->energy(processor, &first, &resolution_uj, &stamp);
    if (status != kSuccess) return "amdsmi_get_energy_count: " + words(*library_, status);
    if (!(resolution_uj > 0 && resolution_uj < 1e6F)) return "its counter has no unit";
    channel.unit = static_cast<double>(resolution_uj) * kJoulesPerMicrojoule;
    for (const int64_t until = monotonic_ns() + kStillNs; monotonic_ns() < until;) {
      sleep_until(monotonic_ns() + 2 * kNsPerMs);
      status = library_->energy(processor, &count, &resolution_uj, &stamp);
      if (status == kSuccess && count != first) return "";
    }
    return first == 0 ? "its energy counter stands at 0, as that of a board's second die does"
                      : "its energy counter stands still";
  }

  const Places& places_;
  NumberedGpus gpus_;
  std::shared_ptr<Library> library_;
  Found found_;
};

}  // namespace

Found find_amd_smi(const Places& places) {
  return vendor::look_or_say(kName, "AMD SMI", "amd-smi list",
                             [places] { return Survey(places).look(); });
}

}  // namespace pyprof
