#include "device.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>

namespace sim {
namespace {

// What the lines of one device said, until its sensors can be made.
struct Draft {
  Device device;
  std::map<unsigned int, SignalDraft> signals;
  unsigned int scope = NVML_POWER_SCOPE_GPU;
  std::map<std::string, pyprof::SensorSpec> sensors;
};

unsigned int small(const Line& line, size_t place) {
  return static_cast<unsigned int>(line.integer(place));
}

using Reader = std::function<void(const Line&, Draft&)>;

void read_pci(const Line& line, Draft& draft) {
  draft.device.pci_domain = small(line, 0);
  draft.device.pci_bus = small(line, 1);
  draft.device.pci_slot = small(line, 2);
}

void read_capability(const Line& line, Draft& draft) {
  draft.device.capability_major = static_cast<int>(line.integer(0));
  draft.device.capability_minor = static_cast<int>(line.integer(1));
}

void read_signal(const Line& line, Draft& draft) { draft.signals[draft.scope].begin(line); }

void read_segment(const Line& line, Draft& draft) { draft.signals[draft.scope].add(line); }

void read_sensor(const Line& line, Draft& draft) { draft.sensors[line.key] = sensor_of(line); }

void read_fault(const Line& line, Draft& draft) {
  draft.device.faults.push_back(
      {span_of(line), static_cast<nvmlReturn_t>(line.integer(2)), line.word(3)});
}

const std::map<std::string, Reader>& readers() {
  static const std::map<std::string, Reader> table{
      {"uuid", [](const Line& l, Draft& d) { d.device.uuid = l.word(0); }},
      {"name", [](const Line& l, Draft& d) { d.device.name = l.text(); }},
      {"pci", read_pci},
      {"architecture", [](const Line& l, Draft& d) { d.device.architecture = small(l, 0); }},
      {"capability", read_capability},
      {"mig", [](const Line& l, Draft& d) { d.device.mig_mode = static_cast<int>(l.integer(0)); }},
      {"mps_clients", [](const Line& l, Draft& d) { d.device.mps_clients = small(l, 0); }},
      {"counter_scope", [](const Line& l, Draft& d) { d.device.counter_scope = small(l, 0); }},
      {"usage",
       [](const Line& l, Draft& d) { d.device.usage_is_average = l.word(0) == "average"; }},
      {"idle_w", [](const Line& l, Draft& d) { d.device.idle_w = l.real(0); }},
      {"limit_w", [](const Line& l, Draft& d) { d.device.limit_w = l.real(0); }},
      {"memory_bytes",
       [](const Line& l, Draft& d) {
         d.device.memory_bytes = static_cast<unsigned long long>(l.integer(0));
       }},
      {"latency_ns", [](const Line& l, Draft& d) { d.device.latency_ns = l.integer(0); }},
      {"processes", [](const Line& l, Draft& d) { d.device.processes_path = l.text(); }},
      {"scope", [](const Line& l, Draft& d) { d.scope = small(l, 0); }},
      {"signal", read_signal},
      {"segment", read_segment},
      {"counter", read_sensor},
      {"instant", read_sensor},
      {"average", read_sensor},
      {"samples", read_sensor},
      {"reset", [](const Line& l, Draft& d) { d.device.resets_ns.push_back(l.integer(0)); }},
      {"hang", [](const Line& l, Draft& d) { d.device.hangs.push_back(span_of(l)); }},
      {"fault", read_fault},
  };
  return table;
}

[[noreturn]] void refuse(const Line& line, const std::string& why) {
  throw std::runtime_error("line " + std::to_string(line.number) + " (" + line.key + "): " + why);
}

Sensors sensors_of(const Draft& draft, const pyprof::Signal& signal) {
  const auto model = [&](const char* key) {
    const auto found = draft.sensors.find(key);
    if (found == draft.sensors.end()) throw std::runtime_error(std::string("no sensor ") + key);
    return pyprof::SensorModel(signal, found->second);
  };
  return {model("counter"), model("instant"), model("average"), model("samples")};
}

Device finish(const Draft& draft) {
  Device device = draft.device;
  for (const auto& [scope, signal] : draft.signals) {
    device.scopes.emplace(scope, sensors_of(draft, signal.finish()));
  }
  if (!device.scopes.contains(NVML_POWER_SCOPE_GPU) ||
      !device.scopes.contains(device.counter_scope)) {
    throw std::runtime_error(device.name + " has no signal for its power or its counter");
  }
  return device;
}

void read_machine_line(const Line& line, Machine& machine) {
  if (line.key == "epoch_ns") {
    machine.epoch_ns = line.integer(0);
  } else if (line.key == "driver") {
    machine.driver_version = line.word(0);
  } else if (line.key == "cuda") {
    machine.cuda_version = static_cast<int>(line.integer(0));
  } else {
    refuse(line, "unknown key, or no device yet");
  }
}

}  // namespace

Machine read_machine(const std::string& path) {
  Machine machine;
  std::vector<Draft> drafts;
  for (const Line& line : read_spec(path)) {
    if (line.key == "device") {
      drafts.emplace_back();
      drafts.back().device.index = static_cast<unsigned int>(drafts.size() - 1);
    } else if (drafts.empty()) {
      read_machine_line(line, machine);
    } else if (const auto reader = readers().find(line.key); reader != readers().end()) {
      reader->second(line, drafts.back());
    } else {
      refuse(line, "unknown key");
    }
  }
  for (const Draft& draft : drafts) machine.devices.push_back(finish(draft));
  return machine;
}

nvmlReturn_t Device::fault_of(const std::string& target, int64_t t_ns) const {
  for (const Fault& fault : faults) {
    if (fault.span.holds(t_ns) && (fault.target == target || fault.target == "*")) {
      return fault.code;
    }
  }
  return NVML_SUCCESS;
}

uint64_t Device::energy_mj(int64_t t_ns) const {
  const pyprof::SensorModel& counter = scopes.at(counter_scope).counter;
  const uint64_t counts = counter_after_resets(counter, resets_ns, t_ns);
  const double mj_per_count = counter.spec().quantum_j * 1e3;
  return static_cast<uint64_t>(static_cast<double>(counts) * mj_per_count + 0.5);
}

double Device::load(int64_t t_ns) const {
  if (limit_w <= idle_w) return 0.0;
  return std::clamp((gpu().average.power_at(t_ns) - idle_w) / (limit_w - idle_w), 0.0, 1.0);
}

std::vector<Process> Device::processes() const {
  std::vector<Process> found;
  std::ifstream file(processes_path);
  for (Process each; file >> each.pid >> each.busy_percent >> each.memory_bytes;) {
    found.push_back(each);
  }
  return found;
}

std::string Device::bus_id() const {
  char text[NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE];
  std::snprintf(text, sizeof(text), NVML_DEVICE_PCI_BUS_ID_FMT, pci_domain, pci_bus, pci_slot);
  return text;
}

std::string Device::legacy_bus_id() const {
  char text[NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE];
  std::snprintf(text, sizeof(text), NVML_DEVICE_PCI_BUS_ID_LEGACY_FMT, pci_domain, pci_bus,
                pci_slot);
  return text;
}

}  // namespace sim
