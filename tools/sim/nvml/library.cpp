// A libnvidia-ml.so.1 without hardware: the vendor's functions, answered from a spec.
//
// The spec is the file named by SIM_NVML_SPEC, else `machine.spec` beside the library. It is read
// whenever the library is initialised from nothing. Built with SIM_OLD_DRIVER it exports only what
// a driver had before total energy and field values.
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#pragma GCC visibility push(default)
#include <nvml.h>
#pragma GCC visibility pop

#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "device.h"

static_assert(sizeof(nvmlFieldValue_t) == 40, "the layout that callers were built against");

namespace {

using sim::Device;
using sim::Machine;

constexpr int64_t kNsPerUs = 1000;
constexpr int64_t kNsPerSecond = 1'000'000'000;

struct State {
  std::mutex guard;
  int users = 0;
  std::atomic<const Machine*> machine{nullptr};  // null: not initialised
  // Old ones are kept: a handle that outlived its initialisation must be refused, not followed.
  std::vector<std::unique_ptr<Machine>> all;
};

State& state() {
  static State* const only = new State;
  return *only;
}

// A child that was forked owns none of its parent's connections to the driver.
void forget_in_child() {
  new (&state().guard) std::mutex;
  state().users = 0;
  state().machine = nullptr;
}

std::string beside_library() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&forget_in_child), &info) == 0) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "machine.spec" : path.substr(0, slash + 1) + "machine.spec";
}

std::string spec_path() {
  const char* named = std::getenv("SIM_NVML_SPEC");
  return named != nullptr && *named != '\0' ? named : beside_library();
}

nvmlReturn_t start_machine(State& own) {
  try {
    own.all.push_back(std::make_unique<Machine>(sim::read_machine(spec_path())));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "simulated libnvidia-ml: %s: %s\n", spec_path().c_str(), error.what());
    return NVML_ERROR_DRIVER_NOT_LOADED;
  }
  own.machine = own.all.back().get();
  return NVML_SUCCESS;
}

nvmlReturn_t begin() {
  State& own = state();
  static const int watching_forks = pthread_atfork(nullptr, nullptr, forget_in_child);
  if (watching_forks != 0) return NVML_ERROR_UNKNOWN;
  const std::lock_guard lock(own.guard);
  if (own.users == 0) {
    if (const nvmlReturn_t code = start_machine(own); code != NVML_SUCCESS) return code;
  }
  ++own.users;
  return NVML_SUCCESS;
}

nvmlReturn_t end() {
  State& own = state();
  const std::lock_guard lock(own.guard);
  if (own.users == 0) return NVML_ERROR_UNINITIALIZED;
  if (--own.users == 0) own.machine = nullptr;
  return NVML_SUCCESS;
}

int64_t wall_us() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / kNsPerUs;
}

void sleep_until(int64_t monotonic_ns) {
  const timespec until{monotonic_ns / kNsPerSecond, static_cast<long>(monotonic_ns % kNsPerSecond)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

// One call about one device, at the time its answer is made.
struct Call {
  const Device& device;
  int64_t t_ns;
};

const Device* device_of(const Machine& machine, nvmlDevice_t handle) {
  for (const Device& device : machine.devices) {
    if (reinterpret_cast<nvmlDevice_t>(const_cast<Device*>(&device)) == handle) return &device;
  }
  return nullptr;
}

nvmlDevice_t handle_of(const Device& device) {
  return reinterpret_cast<nvmlDevice_t>(const_cast<Device*>(&device));
}

void take_time(const Device& device, int64_t epoch_ns) {
  const int64_t start_ns = sim::monotonic_ns();
  int64_t until_ns = start_ns + device.latency_ns;
  for (const sim::Span& hang : device.hangs) {
    if (hang.holds(start_ns - epoch_ns)) until_ns = std::max(until_ns, epoch_ns + hang.until_ns);
  }
  if (until_ns > start_ns) sleep_until(until_ns);
}

// Everything that a call about a device has in common: handle, waiting, faults.
template <typename Body>
nvmlReturn_t answer(const char* function, nvmlDevice_t handle, Body body) {
  const Machine* machine = state().machine;
  if (machine == nullptr) return NVML_ERROR_UNINITIALIZED;
  const Device* device = device_of(*machine, handle);
  if (device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  take_time(*device, machine->epoch_ns);
  const int64_t t_ns = sim::monotonic_ns() - machine->epoch_ns;
  const nvmlReturn_t fault = device->fault_of(function, t_ns);
  return fault != NVML_SUCCESS ? fault : body(Call{*device, t_ns});
}

// The most common shape: one value of a device into one place.
template <typename Value, typename Body>
nvmlReturn_t answer_one(const char* function, nvmlDevice_t handle, Value* out, Body body) {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return answer(function, handle, [&](const Call& call) {
    *out = body(call);
    return NVML_SUCCESS;
  });
}

template <typename Body>
nvmlReturn_t about_machine(Body body) {
  const Machine* machine = state().machine;
  return machine == nullptr ? NVML_ERROR_UNINITIALIZED : body(*machine);
}

nvmlReturn_t copy_text(const std::string& text, char* out, unsigned int length) {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  if (length < text.size() + 1) return NVML_ERROR_INSUFFICIENT_SIZE;
  std::memcpy(out, text.c_str(), text.size() + 1);
  return NVML_SUCCESS;
}

template <typename Same>
nvmlReturn_t find_device(nvmlDevice_t* out, Same same) {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return about_machine([&](const Machine& machine) {
    for (const Device& device : machine.devices) {
      if (!same(device)) continue;
      *out = handle_of(device);
      return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
  });
}

unsigned int milliwatts(double power_w) {
  return static_cast<unsigned int>(std::llround(std::max(0.0, power_w) * 1e3));
}

unsigned int percent(double part) { return static_cast<unsigned int>(std::lround(part * 100.0)); }

unsigned int power_limit_mw(const Call& call) { return milliwatts(call.device.limit_w); }

unsigned int lowest_limit_mw(const Call& call) { return milliwatts(call.device.limit_w / 2); }

nvmlReturn_t device_count(unsigned int* count) {
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return about_machine([&](const Machine& machine) {
    *count = static_cast<unsigned int>(machine.devices.size());
    return NVML_SUCCESS;
  });
}

nvmlReturn_t device_by_index(unsigned int index, nvmlDevice_t* device) {
  const nvmlReturn_t code =
      find_device(device, [index](const Device& candidate) { return candidate.index == index; });
  return code == NVML_ERROR_NOT_FOUND ? NVML_ERROR_INVALID_ARGUMENT : code;
}

nvmlReturn_t device_by_bus(const char* text, nvmlDevice_t* device) {
  unsigned int domain = 0;
  unsigned int bus = 0;
  unsigned int slot = 0;
  if (text == nullptr || std::sscanf(text, "%x:%x:%x", &domain, &bus, &slot) != 3) {
    return NVML_ERROR_INVALID_ARGUMENT;
  }
  return find_device(device, [=](const Device& candidate) {
    return candidate.pci_domain == domain && candidate.pci_bus == bus && candidate.pci_slot == slot;
  });
}

nvmlReturn_t pci_info(const char* function, nvmlDevice_t device, nvmlPciInfo_t* out) {
  return answer_one(function, device, out, [](const Call& call) {
    nvmlPciInfo_t info{};
    info.domain = call.device.pci_domain;
    info.bus = call.device.pci_bus;
    info.device = call.device.pci_slot;
    info.pciDeviceId = 0x10DEU;
    copy_text(call.device.bus_id(), info.busId, sizeof(info.busId));
    copy_text(call.device.legacy_bus_id(), info.busIdLegacy, sizeof(info.busIdLegacy));
    return info;
  });
}

nvmlReturn_t cuda_version(int* version) {
  if (version == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return about_machine([&](const Machine& machine) {
    *version = machine.cuda_version;
    return NVML_SUCCESS;
  });
}

unsigned long long used_memory(const Device& device, int64_t t_ns) {
  unsigned long long used = static_cast<unsigned long long>(
      device.load(t_ns) * 0.5 * static_cast<double>(device.memory_bytes));
  for (const sim::Process& each : device.processes()) used += each.memory_bytes;
  return std::min(used, device.memory_bytes);
}

// How callers learn the length of a list: too small a place gives the number that is needed.
template <typename Info, typename Fill>
nvmlReturn_t list_processes(const char* function, nvmlDevice_t device, unsigned int* count,
                            Info* infos, Fill fill) {
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return answer(function, device, [&](const Call& call) {
    const std::vector<sim::Process> found = call.device.processes();
    const bool fits = found.size() <= *count && (infos != nullptr || found.empty());
    *count = static_cast<unsigned int>(found.size());
    if (!fits) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (size_t each = 0; each < found.size(); ++each) fill(found[each], infos[each]);
    return NVML_SUCCESS;
  });
}

double usage_w(const Call& call) {
  const sim::Sensors& sensors = call.device.gpu();
  const auto& shown = call.device.usage_is_average ? sensors.average : sensors.instant;
  return shown.power_at(call.t_ns);
}

// Power samples are watts, those of the load percents; stamps are those of the wall clock.
struct SampleKind {
  const pyprof::SensorModel* sensor;
  bool power;
};

SampleKind sample_kind(const Device& device, nvmlSamplingType_t type) {
  if (type == NVML_TOTAL_POWER_SAMPLES) return {&device.gpu().samples, true};
  if (type == NVML_GPU_UTILIZATION_SAMPLES) return {&device.gpu().samples, false};
  const auto module = device.scopes.find(NVML_POWER_SCOPE_MODULE);
  if (type == NVML_MODULE_POWER_SAMPLES && module != device.scopes.end()) {
    return {&module->second.samples, true};
  }
  return {nullptr, false};
}

nvmlSample_t sample_at(const Call& call, const SampleKind& kind, int64_t update_ns) {
  nvmlSample_t sample{};
  sample.timeStamp =
      static_cast<unsigned long long>(wall_us() - (call.t_ns - update_ns) / kNsPerUs);
  sample.sampleValue.uiVal = kind.power ? milliwatts(kind.sensor->power_at(update_ns))
                                        : percent(call.device.load(update_ns));
  return sample;
}

// Oldest first, those after `last_seen_us` only.
std::vector<nvmlSample_t> samples_since(const Call& call, const SampleKind& kind,
                                        unsigned long long last_seen_us) {
  std::vector<nvmlSample_t> found;
  int64_t update_ns = kind.sensor->last_update_ns(call.t_ns);
  while (found.size() < call.device.sample_buffer) {
    const nvmlSample_t sample = sample_at(call, kind, update_ns);
    if (sample.timeStamp <= last_seen_us) break;
    found.push_back(sample);
    update_ns = kind.sensor->last_update_ns(update_ns - 1);
  }
  std::reverse(found.begin(), found.end());
  return found;
}

#ifndef SIM_OLD_DRIVER

nvmlProcessInfo_v2_t process_info(const sim::Process& process) {
  constexpr unsigned int kNoInstance = 0xFFFFFFFFU;
  return {process.pid, process.memory_bytes, kNoInstance, kNoInstance};
}

void set_power(nvmlFieldValue_t& field, unsigned int power_mw) {
  field.valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
  field.value.uiVal = power_mw;
}

nvmlReturn_t power_field(const Call& call, nvmlFieldValue_t& field) {
  const auto scope = call.device.scopes.find(field.scopeId);
  if (scope == call.device.scopes.end()) return NVML_ERROR_NOT_SUPPORTED;
  const bool average = field.fieldId == NVML_FI_DEV_POWER_AVERAGE;
  const auto& sensor = average ? scope->second.average : scope->second.instant;
  set_power(field, milliwatts(sensor.power_at(call.t_ns)));
  return NVML_SUCCESS;
}

nvmlReturn_t fill_field(const Call& call, nvmlFieldValue_t& field) {
  switch (field.fieldId) {
    case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
    case NVML_FI_DEV_ENERGY:
      field.valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
      field.value.ullVal = call.device.energy_mj(call.t_ns);
      return NVML_SUCCESS;
    case NVML_FI_DEV_POWER_AVERAGE:
    case NVML_FI_DEV_POWER_INSTANT:
      return power_field(call, field);
    case NVML_FI_DEV_POWER_MIN_LIMIT:
      set_power(field, lowest_limit_mw(call));
      return NVML_SUCCESS;
    case NVML_FI_DEV_POWER_MAX_LIMIT:
    case NVML_FI_DEV_POWER_DEFAULT_LIMIT:
    case NVML_FI_DEV_POWER_CURRENT_LIMIT:
    case NVML_FI_DEV_POWER_REQUESTED_LIMIT:
      set_power(field, power_limit_mw(call));
      return NVML_SUCCESS;
    default:
      return NVML_ERROR_NOT_SUPPORTED;
  }
}

// Each entry has a return code of its own.
void answer_field(const Call& call, nvmlFieldValue_t& field) {
  field.timestamp = wall_us();
  field.latencyUsec = call.device.latency_ns / kNsPerUs;
  field.value.ullVal = 0;
  const std::string target = "field:" + std::to_string(field.fieldId);
  field.nvmlReturn = call.device.fault_of(target, call.t_ns);
  if (field.nvmlReturn == NVML_SUCCESS) field.nvmlReturn = fill_field(call, field);
}

#endif

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

nvmlReturn_t nvmlInit() { return begin(); }
nvmlReturn_t nvmlInit_v2() { return begin(); }
nvmlReturn_t nvmlInitWithFlags(unsigned int) { return begin(); }
nvmlReturn_t nvmlShutdown() { return end(); }

const char* nvmlErrorString(nvmlReturn_t result) {
  switch (result) {
    case NVML_SUCCESS:
      return "Success";
    case NVML_ERROR_UNINITIALIZED:
      return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT:
      return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED:
      return "Not Supported";
    case NVML_ERROR_NO_PERMISSION:
      return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND:
      return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE:
      return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED:
      return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT:
      return "Timeout";
    case NVML_ERROR_GPU_IS_LOST:
      return "GPU is lost";
    case NVML_ERROR_RESET_REQUIRED:
      return "GPU requires reset";
    default:
      return "Unknown Error";
  }
}

nvmlReturn_t nvmlSystemGetDriverVersion(char* version, unsigned int length) {
  return about_machine(
      [&](const Machine& machine) { return copy_text(machine.driver_version, version, length); });
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char* version, unsigned int length) {
  return about_machine([&](const Machine& machine) {
    return copy_text(std::to_string(machine.cuda_version / 1000) + "." + machine.driver_version,
                     version, length);
  });
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int* version) { return cuda_version(version); }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int* version) { return cuda_version(version); }

nvmlReturn_t nvmlDeviceGetCount(unsigned int* count) { return device_count(count); }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int* count) { return device_count(count); }

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t* device) {
  return device_by_index(index, device);
}
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t* device) {
  return device_by_index(index, device);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice_t* device) {
  if (uuid == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return find_device(device, [uuid](const Device& each) { return each.uuid == uuid; });
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char* bus, nvmlDevice_t* device) {
  return device_by_bus(bus, device);
}
nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char* bus, nvmlDevice_t* device) {
  return device_by_bus(bus, device);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char* name, unsigned int length) {
  return answer(__func__, device,
                [&](const Call& call) { return copy_text(call.device.name, name, length); });
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char* uuid, unsigned int length) {
  return answer(__func__, device,
                [&](const Call& call) { return copy_text(call.device.uuid, uuid, length); });
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int* index) {
  return answer_one(__func__, device, index, [](const Call& call) { return call.device.index; });
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int* minor) {
  return answer_one(__func__, device, minor, [](const Call& call) { return call.device.index; });
}

nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_t* pci) {
  return pci_info(__func__, device, pci);
}
nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_t* pci) {
  return pci_info(__func__, device, pci);
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int* power) {
  return answer_one(__func__, device, power,
                    [](const Call& call) { return milliwatts(usage_w(call)); });
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned int* limit) {
  return answer_one(__func__, device, limit, power_limit_mw);
}
nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, unsigned int* limit) {
  return answer_one(__func__, device, limit, power_limit_mw);
}
nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t device, unsigned int* limit) {
  return answer_one(__func__, device, limit, power_limit_mw);
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned int* lowest,
                                                          unsigned int* highest) {
  if (lowest == nullptr || highest == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return answer(__func__, device, [&](const Call& call) {
    *lowest = lowest_limit_mw(call);
    *highest = power_limit_mw(call);
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t* rates) {
  return answer_one(__func__, device, rates, [](const Call& call) {
    const double load = call.device.load(call.t_ns);
    return nvmlUtilization_t{percent(load), percent(load / 2)};
  });
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* memory) {
  return answer_one(__func__, device, memory, [](const Call& call) {
    const unsigned long long used = used_memory(call.device, call.t_ns);
    return nvmlMemory_t{call.device.memory_bytes, call.device.memory_bytes - used, used};
  });
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t,
                                      unsigned int* celsius) {
  return answer_one(__func__, device, celsius, [](const Call& call) {
    return 35U + static_cast<unsigned int>(40.0 * call.device.load(call.t_ns));
  });
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t, unsigned int* mhz) {
  return answer_one(__func__, device, mhz, [](const Call& call) {
    return 210U + static_cast<unsigned int>(1500.0 * call.device.load(call.t_ns));
  });
}

// At its limit a part is held there by its power cap.
nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device,
                                                       unsigned long long* reasons) {
  return answer_one(__func__, device, reasons, [](const Call& call) {
    return call.device.load(call.t_ns) >= 1.0 ? nvmlClocksThrottleReasonSwPowerCap
                                              : nvmlClocksThrottleReasonNone;
  });
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, nvmlEnableState_t* mode) {
  return answer_one(__func__, device, mode, [](const Call&) { return NVML_FEATURE_ENABLED; });
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int* major, int* minor) {
  if (major == nullptr || minor == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return answer(__func__, device, [&](const Call& call) {
    *major = call.device.capability_major;
    *minor = call.device.capability_minor;
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device, unsigned int* count,
                                                  nvmlProcessInfo_v1_t* infos) {
  return list_processes(__func__, device, count, infos,
                        [](const sim::Process& process, nvmlProcessInfo_v1_t& info) {
                          info = {process.pid, process.memory_bytes};
                        });
}

nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, nvmlSamplingType_t type,
                                  unsigned long long last_seen_us, nvmlValueType_t* value_type,
                                  unsigned int* count, nvmlSample_t* samples) {
  if (value_type == nullptr || count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return answer(__func__, device, [&](const Call& call) {
    const SampleKind kind = sample_kind(call.device, type);
    if (kind.sensor == nullptr) return NVML_ERROR_NOT_SUPPORTED;
    *value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
    if (samples == nullptr) {
      *count = static_cast<unsigned int>(call.device.sample_buffer);
      return NVML_SUCCESS;
    }
    const std::vector<nvmlSample_t> found = samples_since(call, kind, last_seen_us);
    if (found.empty()) return NVML_ERROR_NOT_FOUND;
    *count = std::min(*count, static_cast<unsigned int>(found.size()));
    std::copy_n(found.begin(), *count, samples);
    return NVML_SUCCESS;
  });
}

#ifndef SIM_OLD_DRIVER

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t* pci) {
  return pci_info(__func__, device, pci);
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long* energy) {
  return answer_one(__func__, device, energy, [](const Call& call) {
    return static_cast<unsigned long long>(call.device.energy_mj(call.t_ns));
  });
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t* values) {
  if (values == nullptr || count < 1) return NVML_ERROR_INVALID_ARGUMENT;
  return answer(__func__, device, [&](const Call& call) {
    for (int each = 0; each < count; ++each) answer_field(call, values[each]);
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t* memory) {
  if (memory == nullptr || memory->version != nvmlMemory_v2) return NVML_ERROR_INVALID_ARGUMENT;
  return answer_one(__func__, device, memory, [](const Call& call) {
    const unsigned long long used = used_memory(call.device, call.t_ns);
    const unsigned long long total = call.device.memory_bytes;
    return nvmlMemory_v2_t{nvmlMemory_v2, total, 0, total - used, used};
  });
}

nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, nvmlDeviceArchitecture_t* arch) {
  return answer_one(__func__, device, arch,
                    [](const Call& call) { return call.device.architecture; });
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned int* count,
                                                     nvmlProcessInfo_v2_t* infos) {
  return list_processes(__func__, device, count, infos,
                        [](const sim::Process& process, nvmlProcessInfo_v2_t& info) {
                          info = process_info(process);
                        });
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int* count,
                                                     nvmlProcessInfo_t* infos) {
  return list_processes(
      __func__, device, count, infos,
      [](const sim::Process& process, nvmlProcessInfo_t& info) { info = process_info(process); });
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device,
                                             nvmlProcessUtilizationSample_t* samples,
                                             unsigned int* count, unsigned long long last_seen_us) {
  const auto now_us = static_cast<unsigned long long>(wall_us());
  const nvmlReturn_t code = list_processes(
      __func__, device, count, samples,
      [now_us](const sim::Process& process, nvmlProcessUtilizationSample_t& sample) {
        sample = {process.pid, now_us, process.busy_percent, process.busy_percent / 2, 0, 0};
      });
  const bool nothing = code == NVML_SUCCESS && (*count == 0 || now_us <= last_seen_us);
  return nothing ? NVML_ERROR_NOT_FOUND : code;
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int* count,
                                                        nvmlProcessInfo_t* infos) {
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return answer(__func__, device, [&](const Call& call) {
    const unsigned int clients = call.device.mps_clients;
    const bool fits = clients <= *count && (infos != nullptr || clients == 0);
    *count = clients;
    if (!fits) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned int each = 0; each < clients; ++each) {
      infos[each] = process_info({each + 1, 0, 0});
    }
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int* current,
                                  unsigned int* pending) {
  if (current == nullptr || pending == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return answer(__func__, device, [&](const Call& call) {
    if (call.device.mig_mode < 0) return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = static_cast<unsigned int>(call.device.mig_mode);
    return NVML_SUCCESS;
  });
}

#endif

}  // extern "C"
#pragma GCC visibility pop
