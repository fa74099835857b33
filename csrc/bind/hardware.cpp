// The sources of this machine, as Python sees them.
#include <pybind11/stl.h>

#include <algorithm>
#include <utility>

#include "bind/bind.h"
#include "bind/convert.h"
#include "bind/machine.h"
#include "sources/conditions.h"
#include "sources/model.h"
#include "sources/precedence.h"
#include "sources/replay.h"
#include "sources/usage.h"

namespace pyprof {

Machine::Machine(Places at, const std::optional<std::vector<std::string>>& wanted)
    : places(std::move(at)) {
  std::vector<Found> answers;
  for (const SourceEntry& entry : source_table()) {
    if (wanted && std::find(wanted->begin(), wanted->end(), entry.name) == wanted->end()) continue;
    answers.push_back(entry.find(places));
  }
  settle(answers);
  for (Found& answer : answers) adopt_found(std::move(answer));
}

void Machine::adopt_found(Found result) {
  FoundView view{result.state, {}, result.unreadable, result.notes};
  for (auto& unit : result.units) {
    view.channels.insert(view.channels.end(), unit->channels().begin(), unit->channels().end());
    hardware.add(std::move(unit));
  }
  found.push_back(std::move(view));
}

namespace {

void add_replay(Machine& machine, const Channel& channel,
                const std::vector<std::tuple<int64_t, double, double>>& segments, bool repeat,
                int64_t sensor_period_ns, int64_t phase_ns, double jitter, double quantum_j,
                int64_t window_ns, uint64_t start_count, int64_t begin_ns) {
  ReplaySensor sensor{sensor_period_ns, phase_ns,    jitter,  quantum_j,
                      window_ns,        start_count, begin_ns};
  machine.hardware.add(replay(channel, segments, repeat, sensor));
}

// Gauges of who uses which device; what can't be told is given back in words.
std::vector<std::string> add_usage(
    Machine& machine, int32_t root, bool with_root, const std::string& cgroup,
    const std::vector<std::pair<std::string, std::vector<int>>>& packages,
    const std::vector<std::pair<std::string, std::string>>& gpus) {
  std::vector<SharedPackage> shared;
  for (const auto& [channel, cpus] : packages) shared.push_back({channel, cpus});
  const auto follower = follow(machine.places, {root, with_root, cgroup}, shared);
  if (!shared.empty()) machine.hardware.add(cpu_usage(machine.places, follower, shared));
  std::vector<std::string> notes;
  for (const auto& [channel, uuid] : gpus) {
    std::string why_not;
    auto unit = gpu_usage(machine.places, follower, {channel, uuid}, why_not);
    if (unit) {
      machine.hardware.add(std::move(unit));
    } else {
      notes.push_back("the processes on " + channel + " can't be told apart: " + why_not);
    }
  }
  return notes;
}

// Gauges of what explains the power of GPUs; of which nothing can be told is given back in words.
std::vector<std::string> add_conditions(
    Machine& machine, const std::vector<std::pair<std::string, std::string>>& gpus) {
  std::vector<std::string> notes;
  for (const auto& [channel, uuid] : gpus) {
    std::string why_not;
    if (auto unit = nvml_conditions(machine.places, channel, uuid, why_not)) {
      machine.hardware.add(std::move(unit));
    } else {
      notes.push_back("the conditions of " + channel + " can't be read: " + why_not);
    }
  }
  return notes;
}

}  // namespace

void bind_hardware(py::module_& module) {
  py::class_<FoundView>(module, "Found", py::is_final(), "What one source found.")
      .def_property_readonly("name", [](const FoundView& f) { return f.state.name; })
      .def_property_readonly("available", [](const FoundView& f) { return f.state.available; })
      .def_property_readonly("reason", [](const FoundView& f) { return f.state.reason; })
      .def_property_readonly("remedy", [](const FoundView& f) { return f.state.remedy; })
      .def_readonly("channels", &FoundView::channels)
      .def_readonly("unreadable", &FoundView::unreadable)
      .def_readonly("notes", &FoundView::notes);
  py::class_<Machine>(module, "Hardware", py::is_final(),
                      "Every source asked once: files opened, libraries loaded, nothing sampled.")
      .def(py::init([](const std::string& sysfs, const std::string& proc, const std::string& nvml,
                       const std::string& amd_smi, const std::string& level_zero,
                       const std::string& meter,
                       const std::optional<std::vector<std::string>>& sources) {
             const py::gil_scoped_release release;
             return std::make_unique<Machine>(Places{sysfs, proc, nvml, amd_smi, level_zero, meter},
                                              sources);
           }),
           py::kw_only(), py::arg("sysfs") = "/sys", py::arg("proc") = "/proc",
           py::arg("nvml") = "", py::arg("amd_smi") = "", py::arg("level_zero") = "",
           py::arg("meter") = "", py::arg("sources") = py::none())
      .def_readonly("found", &Machine::found)
      .def(
          "adopt",
          [](Machine& machine, const Channel& channel) {
            if (!machine.hardware.replace(channel)) throw py::key_error(channel.id);
          },
          py::arg("channel"))
      .def(
          "drop",
          [](Machine& machine, const std::string& id) {
            if (!machine.hardware.drop(id)) throw py::key_error(id);
          },
          py::arg("channel_id"))
      .def(
          "add_load_model",
          [](Machine& machine, const Channel& channel, double idle_w, double design_w) {
            machine.hardware.add(load_model(machine.places, channel, idle_w, design_w));
          },
          py::arg("channel"), py::arg("idle_w"), py::arg("design_w"))
      .def(
          "add_constant_model",
          [](Machine& machine, const Channel& channel, double power_w) {
            machine.hardware.add(constant_model(channel, power_w));
          },
          py::arg("channel"), py::arg("power_w"))
      .def(
          "add_utilisation_model",
          [](Machine& machine, const Channel& channel, double idle_w, double design_w) {
            auto unit = nvml_utilisation(machine.places, channel, idle_w, design_w);
            if (!unit) {
              throw std::runtime_error("the utilisation of " + channel.id + " can't be read");
            }
            machine.hardware.add(std::move(unit));
          },
          py::arg("channel"), py::arg("idle_w"), py::arg("design_w"))
      .def(
          "add_power_beside",
          [](Machine& machine, const Channel& counter) {
            auto unit = nvml_power_beside(machine.places, counter);
            if (!unit) return false;
            machine.hardware.add(std::move(unit));
            return true;
          },
          py::arg("counter"), py::call_guard<py::gil_scoped_release>())
      .def("add_usage", &add_usage, py::kw_only(), py::arg("root"), py::arg("with_root"),
           py::arg("cgroup"), py::arg("packages"), py::arg("gpus"),
           py::call_guard<py::gil_scoped_release>())
      .def("add_conditions", &add_conditions, py::arg("gpus"),
           py::call_guard<py::gil_scoped_release>())
      .def("add_replay", &add_replay, py::arg("channel"), py::arg("segments"), py::arg("repeat"),
           py::kw_only(), py::arg("sensor_period_ns"), py::arg("phase_ns") = 0,
           py::arg("jitter") = 0.0, py::arg("quantum_j") = 0.0, py::arg("window_ns") = 0,
           py::arg("start_count") = 0, py::arg("begin_ns") = 0)
      .def_property_readonly("channels",
                             [](const Machine& machine) { return machine.hardware.channels(); });
  module.def("source_names", [] {
    std::vector<std::string> names;
    for (const SourceEntry& entry : source_table()) names.emplace_back(entry.name);
    return names;
  });
}

}  // namespace pyprof
