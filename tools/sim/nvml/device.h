// One simulated GPU: what it is, what its sensors show at a time, and what goes wrong with it.
#pragma once

#include <nvml.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/sensor.h"
#include "spec.h"

namespace sim {

// Answers `code` to `target` (a function's name, `field:ID`, or `*` for every call about the
// device).
struct Fault {
  Span span;
  nvmlReturn_t code = NVML_SUCCESS;
  std::string target;
};

struct Process {
  unsigned int pid = 0;
  unsigned int busy_percent = 0;
  unsigned long long memory_bytes = 0;
};

// The sensors that look at one scope (the GPU, its module, its memory).
struct Sensors {
  pyprof::SensorModel counter;
  pyprof::SensorModel instant;
  pyprof::SensorModel average;
  pyprof::SensorModel samples;
};

struct Device {
  unsigned int index = 0;
  std::string uuid;
  std::string name;
  unsigned int pci_domain = 0;
  unsigned int pci_bus = 0;
  unsigned int pci_slot = 0;
  unsigned int architecture = NVML_DEVICE_ARCH_UNKNOWN;
  int capability_major = 0;
  int capability_minor = 0;
  int mig_mode = -1;  // -1: the part has no such mode
  unsigned int mps_clients = 0;
  unsigned int counter_scope = NVML_POWER_SCOPE_GPU;
  bool usage_is_average = true;  // what nvmlDeviceGetPowerUsage shows
  double idle_w = 0.0;
  double limit_w = 0.0;
  unsigned long long memory_bytes = 0;
  int64_t latency_ns = 0;
  size_t sample_buffer = 120;
  std::string processes_path;  // lines `PID BUSY_PERCENT MEMORY_BYTES`, read at each question
  std::map<unsigned int, Sensors> scopes;
  std::vector<int64_t> resets_ns;
  std::vector<Span> hangs;
  std::vector<Fault> faults;

  const Sensors& gpu() const { return scopes.at(NVML_POWER_SCOPE_GPU); }
  nvmlReturn_t fault_of(const std::string& target, int64_t t_ns) const;
  uint64_t energy_mj(int64_t t_ns) const;
  double load(int64_t t_ns) const;  // 0 at idle power, 1 at the limit, over the average's window
  std::vector<Process> processes() const;
  std::string bus_id() const;
  std::string legacy_bus_id() const;
};

struct Machine {
  int64_t epoch_ns = 0;
  std::string driver_version = "570.86.15";
  int cuda_version = 12080;
  std::vector<Device> devices;
};

// Throws std::exception with a sentence if the spec can't be read.
Machine read_machine(const std::string& path);

}  // namespace sim
