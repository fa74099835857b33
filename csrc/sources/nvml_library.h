// The NVIDIA driver's library, loaded when asked for and never linked against, and its devices.
#pragma once

#include <nvml.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "core/clock.h"
#include "core/process.h"
#include "core/unit.h"

namespace pyprof::nvml {

// The driver's library, initialised once for everybody who uses the same path. Entry points that
// an old driver lacks are null.
struct Library {
  void* handle = nullptr;
  pid_t owner = -1;  // NVML is not initialised in the child of a fork and must not be called there

  decltype(&nvmlInit_v2) init = nullptr;
  decltype(&nvmlShutdown) shutdown = nullptr;
  decltype(&nvmlErrorString) error_string = nullptr;
  decltype(&nvmlDeviceGetCount_v2) count = nullptr;
  decltype(&nvmlDeviceGetHandleByIndex_v2) by_index = nullptr;
  decltype(&nvmlDeviceGetHandleByUUID) by_uuid = nullptr;
  decltype(&nvmlDeviceGetName) name = nullptr;
  decltype(&nvmlDeviceGetUUID) uuid = nullptr;
  decltype(&nvmlDeviceGetCudaComputeCapability) capability = nullptr;
  decltype(&nvmlDeviceGetEnforcedPowerLimit) enforced_limit = nullptr;
  decltype(&nvmlDeviceGetPowerManagementLimitConstraints) limit_range = nullptr;
  decltype(&nvmlDeviceGetMigMode) mig_mode = nullptr;
  decltype(&nvmlDeviceGetTotalEnergyConsumption) total_energy = nullptr;
  decltype(&nvmlDeviceGetFieldValues) field_values = nullptr;
  decltype(&nvmlDeviceGetPowerUsage) power_usage = nullptr;
  decltype(&nvmlDeviceGetUtilizationRates) utilisation = nullptr;
  decltype(&nvmlDeviceGetProcessUtilization) process_utilisation = nullptr;
  decltype(&nvmlDeviceGetClockInfo) clock = nullptr;
  decltype(&nvmlDeviceGetTemperature) temperature = nullptr;
  decltype(&nvmlDeviceGetCurrentClocksThrottleReasons) throttle_reasons = nullptr;
  decltype(&nvmlDeviceGetSamples) samples = nullptr;
  decltype(&nvmlDeviceGetMPSComputeRunningProcesses_v3) mps_clients = nullptr;

  Library() = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  // The code itself stays mapped: a driver's library may have left threads behind.
  ~Library() {
    if (inherited() || shutdown == nullptr) return;
    shutdown();
  }
  bool inherited() const { return owner != own_pid(); }
};

// What the driver says of a code, with its number.
std::string words(const Library& library, nvmlReturn_t code);

// One initialised library per path, kept as long as anybody uses it: every further initialisation
// talks to the driver, and a shutdown while others read would restart their counters. Null, with
// the reason in `state`, where there is none.
std::shared_ptr<Library> open_library(const Places& places, SourceState& state);

Sample::Status status_of(nvmlReturn_t code);

// What one vendor call gave.
struct Answer {
  nvmlReturn_t code = NVML_ERROR_FUNCTION_NOT_FOUND;
  uint64_t value = 0;
};

using Ask = Answer (*)(const Library&, nvmlDevice_t);

std::string uuid_of(const Library& library, nvmlDevice_t device);

// The GPU of that UUID, or null. A library that can't look one up is asked for each GPU's.
nvmlDevice_t find_device(const Library& library, const std::string& uuid);

// The handle of a GPU, which is not touched again once the GPU is lost (a stale one can crash the
// process): it is looked up anew by UUID, at growing distances.
class Device {
 public:
  Device(std::shared_ptr<Library> library, nvmlDevice_t handle, std::string uuid)
      : library_(std::move(library)), handle_(handle), uuid_(std::move(uuid)) {}

  void read(Ask ask, Sample& out) noexcept {
    if (library_->inherited() || lost_) [[unlikely]]
      return read_doubtful(ask, out);
    const Answer answer = ask(*library_, handle_);
    if (answer.code != NVML_SUCCESS) [[unlikely]]
      return fail(answer.code, out);
    out = {answer.value, Sample::Status::kOk, 0};
  }

  // Calls `question` with the library and the handle, unless the GPU is lost; its code.
  template <typename Question>
  nvmlReturn_t call(Question question) noexcept {
    if (library_->inherited()) return NVML_ERROR_UNINITIALIZED;
    if (lost_ && !resolve()) return loss_;
    const nvmlReturn_t code = question(*library_, handle_);
    if (status_of(code) == Sample::Status::kLost) {
      lose(code);
    } else {
      delay_ns_ = 0;
    }
    return code;
  }

  std::string describe(int32_t code) const {
    return words(*library_, static_cast<nvmlReturn_t>(code));
  }

 private:
  void read_doubtful(Ask ask, Sample& out) noexcept;
  void fail(nvmlReturn_t code, Sample& out) noexcept;
  void lose(nvmlReturn_t code) noexcept;
  bool resolve() noexcept;

  std::shared_ptr<Library> library_;
  nvmlDevice_t handle_;
  int64_t delay_ns_ = 0;
  bool lost_ = false;
  nvmlReturn_t loss_ = NVML_SUCCESS;
  int64_t retry_at_ns_ = 0;
  std::string uuid_;
};

}  // namespace pyprof::nvml
