#include "sources/nvml_library.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "sources/vendor.h"

namespace pyprof::nvml {
namespace {

constexpr const char* kLibraryName = "libnvidia-ml.so.1";
constexpr int64_t kFirstRetryNs = kNsPerS;
constexpr int64_t kLastRetryNs = 30 * kNsPerS;

using vendor::look_up;
using vendor::refuse;

void look_up_all(Library& library) {
  void* const handle = library.handle;
  look_up(handle, "nvmlInit_v2", library.init);
  look_up(handle, "nvmlShutdown", library.shutdown);
  look_up(handle, "nvmlErrorString", library.error_string);
  look_up(handle, "nvmlDeviceGetCount_v2", library.count);
  look_up(handle, "nvmlDeviceGetHandleByIndex_v2", library.by_index);
  look_up(handle, "nvmlDeviceGetHandleByUUID", library.by_uuid);
  look_up(handle, "nvmlDeviceGetName", library.name);
  look_up(handle, "nvmlDeviceGetUUID", library.uuid);
  look_up(handle, "nvmlDeviceGetCudaComputeCapability", library.capability);
  look_up(handle, "nvmlDeviceGetEnforcedPowerLimit", library.enforced_limit);
  look_up(handle, "nvmlDeviceGetPowerManagementLimitConstraints", library.limit_range);
  look_up(handle, "nvmlDeviceGetMigMode", library.mig_mode);
  look_up(handle, "nvmlDeviceGetTotalEnergyConsumption", library.total_energy);
  look_up(handle, "nvmlDeviceGetFieldValues", library.field_values);
  look_up(handle, "nvmlDeviceGetPowerUsage", library.power_usage);
  look_up(handle, "nvmlDeviceGetUtilizationRates", library.utilisation);
  look_up(handle, "nvmlDeviceGetProcessUtilization", library.process_utilisation);
  look_up(handle, "nvmlDeviceGetClockInfo", library.clock);
  look_up(handle, "nvmlDeviceGetTemperature", library.temperature);
  // Later drivers call the same "clocks event reasons", and keep the older name.
  look_up(handle, "nvmlDeviceGetCurrentClocksThrottleReasons", library.throttle_reasons);
  look_up(handle, "nvmlDeviceGetSamples", library.samples);
  look_up(handle, "nvmlDeviceGetMPSComputeRunningProcesses_v3", library.mps_clients);
}

void refuse_missing_library(SourceState& state, const Places& places, const std::string& why) {
  if (!places.nvml.empty()) {
    refuse(state, "the NVML library could not be loaded: " + why,
           "give the driver's libnvidia-ml.so.1 with --nvml FILE or PYPROF_NVML");
  } else {
    refuse(state, "the NVIDIA driver's library can't be loaded: " + why,
           "install the NVIDIA driver; in a container pass the GPUs in (docker run --gpus all)");
  }
}

void refuse_init(SourceState& state, const Library& library, nvmlReturn_t code) {
  if (code == NVML_ERROR_DRIVER_NOT_LOADED) {
    refuse(state, "NVML is installed but the NVIDIA driver is not loaded", "sudo modprobe nvidia");
  } else if (code == NVML_ERROR_NO_PERMISSION) {
    refuse(state, "NVML may not be used by this user: " + words(library, code),
           "sudo chmod a+rw /dev/nvidiactl /dev/nvidia[0-9]*");
  } else if (code == NVML_ERROR_LIB_RM_VERSION_MISMATCH) {
    refuse(state, "the NVML library and the loaded driver are of different versions",
           "reboot, so that the installed driver is the one that is loaded");
  } else {
    refuse(state, "NVML did not start: " + words(library, code), "nvidia-smi");
  }
}

std::shared_ptr<Library> load(const Places& places, SourceState& state) {
  const char* const path = places.nvml.empty() ? kLibraryName : places.nvml.c_str();
  auto library = std::make_shared<Library>();
  std::string why;
  library->handle = vendor::load({path}, why);
  if (library->handle == nullptr) {
    refuse_missing_library(state, places, why);
    return nullptr;
  }
  look_up_all(*library);
  if (library->init == nullptr || library->count == nullptr || library->by_index == nullptr) {
    refuse(state, std::string(path) + " lacks the entry points of NVML",
           "give the driver's libnvidia-ml.so.1 with --nvml FILE or PYPROF_NVML");
    return nullptr;
  }
  const nvmlReturn_t code = library->init();
  if (code != NVML_SUCCESS) {
    refuse_init(state, *library, code);
    return nullptr;
  }
  library->owner = own_pid();
  return library;
}

}  // namespace

std::string words(const Library& library, nvmlReturn_t code) {
  const char* text = library.error_string != nullptr ? library.error_string(code) : nullptr;
  const std::string number = "NVML error " + std::to_string(static_cast<int>(code));
  return text != nullptr ? std::string(text) + " (" + number + ")" : number;
}

std::shared_ptr<Library> open_library(const Places& places, SourceState& state) {
  static vendor::Shared<Library> shared;
  return shared.get(places.nvml, [&] { return load(places, state); });
}

Sample::Status status_of(nvmlReturn_t code) {
  switch (code) {
    case NVML_SUCCESS:
      return Sample::Status::kOk;
    case NVML_ERROR_NO_PERMISSION:
      return Sample::Status::kDenied;
    case NVML_ERROR_UNINITIALIZED:
    case NVML_ERROR_GPU_IS_LOST:
    case NVML_ERROR_RESET_REQUIRED:
      return Sample::Status::kLost;
    default:
      return Sample::Status::kFailed;
  }
}

std::string uuid_of(const Library& library, nvmlDevice_t device) {
  std::array<char, NVML_DEVICE_UUID_V2_BUFFER_SIZE> text{};
  const bool told =
      library.uuid != nullptr && library.uuid(device, text.data(), text.size()) == NVML_SUCCESS;
  return told ? std::string(text.data(), strnlen(text.data(), text.size())) : "";
}

nvmlDevice_t find_device(const Library& library, const std::string& uuid) {
  nvmlDevice_t device = nullptr;
  if (library.by_uuid != nullptr) {
    return library.by_uuid(uuid.c_str(), &device) == NVML_SUCCESS ? device : nullptr;
  }
  unsigned int count = 0;
  if (uuid.empty() || library.count(&count) != NVML_SUCCESS) return nullptr;
  for (unsigned index = 0; index < count; ++index) {
    if (library.by_index(index, &device) != NVML_SUCCESS) continue;
    if (uuid_of(library, device) == uuid) return device;
  }
  return nullptr;
}

void Device::read_doubtful(Ask ask, Sample& out) noexcept {
  Answer answer;
  const nvmlReturn_t code = call([&](const Library& library, nvmlDevice_t handle) {
    answer = ask(library, handle);
    return answer.code;
  });
  out = {answer.value, status_of(code), static_cast<int32_t>(code)};
}

void Device::fail(nvmlReturn_t code, Sample& out) noexcept {
  out = {0, status_of(code), static_cast<int32_t>(code)};
  if (out.status == Sample::Status::kLost) lose(code);
}

void Device::lose(nvmlReturn_t code) noexcept {
  lost_ = true;
  loss_ = code;
  delay_ns_ = delay_ns_ == 0 ? kFirstRetryNs : std::min(2 * delay_ns_, kLastRetryNs);
  retry_at_ns_ = monotonic_ns() + delay_ns_;
}

bool Device::resolve() noexcept {
  const int64_t now_ns = monotonic_ns();
  if (now_ns < retry_at_ns_ || uuid_.empty()) return false;
  if (loss_ == NVML_ERROR_UNINITIALIZED) library_->init();
  const nvmlDevice_t found = find_device(*library_, uuid_);
  if (found == nullptr) {
    lose(loss_);
    return false;
  }
  handle_ = found;
  lost_ = false;
  return true;
}

}  // namespace pyprof::nvml
