// The sampler, as Python sees it.
#include "core/sampler.h"

#include <pybind11/stl.h>

#include <utility>

#include "bind/bind.h"
#include "bind/convert.h"
#include "bind/machine.h"
#include "core/clock.h"
#include "core/frame.h"

namespace pyprof {
namespace {

py::list drain(Sampler& sampler) {
  std::vector<std::vector<uint8_t>> encoded;
  {
    const py::gil_scoped_release release;
    for (const Frame& frame : sampler.drain()) encode_frame(frame, encoded.emplace_back());
  }
  py::list frames;
  for (const auto& bytes : encoded) frames.append(to_bytes(bytes));
  return frames;
}

py::list take_events(Sampler& sampler) {
  py::list events;
  for (const SamplerEvent& event : sampler.events()) {
    events.append(py::make_tuple(event.t_ns, event.kind, event.channel, event.count, event.text));
  }
  return events;
}

const char* mode_name(Pacer::Mode mode) {
  switch (mode) {
    case Pacer::Mode::kAcquire:
      return "looking";
    case Pacer::Mode::kLocked:
      return "locked";
    case Pacer::Mode::kIrregular:
      return "irregular";
    default:
      return "grid";
  }
}

py::object seconds_or_none(int64_t ns) {
  if (ns <= 0) return py::none();
  return py::float_(static_cast<double>(ns) / kNsPerS);
}

py::dict source_dict(const SourceStats& source) {
  py::dict out;
  out["reads"] = source.reads;
  out["failed_reads"] = source.failed_reads;
  out["p50_s"] = static_cast<double>(source.latencies.quantile_ns(0.5)) / kNsPerS;
  out["p99_s"] = static_cast<double>(source.latencies.quantile_ns(0.99)) / kNsPerS;
  out["total_s"] = static_cast<double>(source.latencies.total_ns()) / kNsPerS;
  return out;
}

py::dict stats_of(const Sampler& sampler) {
  const SamplerStats stats = sampler.stats();
  py::dict sources;
  for (const auto& [name, source] : stats.sources) sources[py::str(name)] = source_dict(source);
  py::list channels;
  for (const ChannelStats& channel : stats.channels) {
    py::dict row;
    row["update_period_s"] = seconds_or_none(channel.period_ns);
    row["update_spread_s"] = seconds_or_none(channel.spread_ns);
    row["mode"] = mode_name(channel.mode);
    channels.append(row);
  }
  py::dict out;
  out["cpu_s"] = stats.cpu_s;
  out["wakes"] = stats.wakes;
  out["reads"] = stats.reads;
  out["late"] = stats.late;
  out["failed_reads"] = stats.failed_reads;
  out["thinned"] = stats.thinned;
  out["unseen"] = stats.unseen;
  out["slowed"] = stats.slowed;
  out["sources"] = sources;
  out["channels"] = channels;
  return out;
}

Following following_of(const std::string& name) {
  if (name == "default") return Following::kDefault;
  if (name == "fine") return Following::kFine;
  if (name == "finest") return Following::kFinest;
  throw py::value_error("pace must be default, fine or finest, not '" + name + "'");
}

std::unique_ptr<Sampler> make_sampler(Machine& machine, int64_t interval_ns,
                                      const std::string& pace, double budget,
                                      std::optional<int> nice, int realtime,
                                      std::vector<int> cpus) {
  SamplerOptions options;
  options.following = following_of(pace);
  options.interval_ns = interval_ns;
  options.budget = budget;
  options.scheduling = {nice.has_value(), nice.value_or(0), realtime, std::move(cpus)};
  return std::make_unique<Sampler>(machine.hardware.release(), std::move(options));
}

}  // namespace

void bind_sampler(py::module_& module) {
  py::class_<Sampler>(module, "Sampler", py::is_final(),
                      "Threads that read the hardware and never take the GIL.")
      .def(py::init(&make_sampler), py::arg("hardware"), py::arg("interval_ns") = 0, py::kw_only(),
           py::arg("pace") = "default", py::arg("budget") = 0.0, py::arg("nice") = py::none(),
           py::arg("realtime") = 0, py::arg("cpus") = std::vector<int>{})
      .def("start", &Sampler::start, py::call_guard<py::gil_scoped_release>())
      .def("stop", &Sampler::stop, py::arg("settle_ns") = 150 * kNsPerMs,
           py::call_guard<py::gil_scoped_release>())
      .def("drain", &drain)
      .def("events", &take_events)
      .def("stats", &stats_of)
      .def_property_readonly("running", &Sampler::running);
}

}  // namespace pyprof
