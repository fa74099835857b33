// The door between Python and the core: converts and documents, decides nothing.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <stdexcept>
#include <utility>

#include "bind/stage.h"
#include "core/account.h"
#include "core/clock.h"
#include "core/coarse.h"
#include "core/frame.h"
#include "core/hardware.h"
#include "core/sampler.h"
#include "core/splice.h"
#include "sources/model.h"
#include "sources/precedence.h"
#include "sources/replay.h"
#include "sources/table.h"
#include "sources/usage.h"

namespace py = pybind11;

namespace pyprof {
namespace {

py::object number(double value) {
  if (std::isnan(value)) return py::none();
  return py::float_(value);
}

py::bytes to_bytes(const std::vector<uint8_t>& bytes) {
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::span<const uint8_t> view(const py::bytes& bytes) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(bytes.ptr(), &data, &size) != 0) throw py::error_already_set();
  return {reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(size)};
}

Phase phase_of(const std::string& name) {
  if (name == "development") return Phase::kDevelopment;
  if (name == "training") return Phase::kTraining;
  if (name == "deployment") return Phase::kDeployment;
  throw py::value_error("phase must be development, training or deployment, not '" + name + "'");
}

const char* phase_name(Phase phase) {
  switch (phase) {
    case Phase::kDevelopment:
      return "development";
    case Phase::kDeployment:
      return "deployment";
    default:
      return "training";
  }
}

// -- channels -------------------------------------------------------------------------------------

Kind kind_of(const std::string& name) {
  if (name == "counter") return Kind::kCounter;
  if (name == "gauge") return Kind::kGauge;
  throw py::value_error("kind must be counter or gauge, not '" + name + "'");
}

template <typename T>
void set_field(const py::handle& value, T& field) {
  field = value.cast<T>();
}

void set_channel(Channel& channel, const std::string& key, const py::handle& value) {
  if (key == "id") return set_field(value, channel.id);
  if (key == "domain") return set_field(value, channel.domain);
  if (key == "device") return set_field(value, channel.device);
  if (key == "uuid") return set_field(value, channel.uuid);
  if (key == "parent") return set_field(value, channel.parent);
  if (key == "source") return set_field(value, channel.source);
  if (key == "scope") return set_field(value, channel.scope);
  if (key == "quality") return set_field(value, channel.quality);
  if (key == "method") return set_field(value, channel.method);
  if (key == "reason") return set_field(value, channel.reason);
  if (key == "counted") return set_field(value, channel.counted);
  if (key == "unit") return set_field(value, channel.unit);
  if (key == "range") return set_field(value, channel.range);
  if (key == "limit_w") return set_field(value, channel.limit_w);
  if (key == "low_ratio") return set_field(value, channel.low_ratio);
  if (key == "high_ratio") return set_field(value, channel.high_ratio);
  if (key == "window_ns") return set_field(value, channel.window_ns);
  if (key == "period_ns") return set_field(value, channel.period_ns);
  if (key == "kind") {
    channel.kind = kind_of(value.cast<std::string>());
    return;
  }
  if (key == "tolerance") {
    channel.tolerance = value.is_none() ? kUnknown : value.cast<double>();
    return;
  }
  throw py::type_error("Channel has no field '" + key + "'");
}

Channel changed(Channel channel, const py::kwargs& changes) {
  for (const auto& [key, value] : changes) set_channel(channel, key.cast<std::string>(), value);
  return channel;
}

Channel make_channel(const py::kwargs& fields) {
  if (!fields.contains("id") || !fields.contains("domain")) {
    throw py::type_error("Channel needs id and domain");
  }
  return changed(Channel{}, fields);
}

void bind_channel(py::module_& module) {
  py::class_<Channel>(module, "Channel", py::is_final(), "What one number of a sensor is. Frozen.")
      .def(py::init(&make_channel))
      .def_readonly("id", &Channel::id)
      .def_readonly("domain", &Channel::domain)
      .def_readonly("device", &Channel::device)
      .def_readonly("uuid", &Channel::uuid)
      .def_readonly("parent", &Channel::parent)
      .def_readonly("source", &Channel::source)
      .def_readonly("scope", &Channel::scope)
      .def_readonly("quality", &Channel::quality)
      .def_readonly("method", &Channel::method)
      .def_readonly("reason", &Channel::reason)
      .def_readonly("counted", &Channel::counted)
      .def_readonly("unit", &Channel::unit)
      .def_readonly("range", &Channel::range)
      .def_readonly("limit_w", &Channel::limit_w)
      .def_readonly("low_ratio", &Channel::low_ratio)
      .def_readonly("high_ratio", &Channel::high_ratio)
      .def_readonly("window_ns", &Channel::window_ns)
      .def_readonly("period_ns", &Channel::period_ns)
      .def_property_readonly("tolerance", [](const Channel& c) { return number(c.tolerance); })
      .def_property_readonly(
          "kind", [](const Channel& c) { return c.kind == Kind::kCounter ? "counter" : "gauge"; })
      .def("replace", [](const Channel& channel,
                         const py::kwargs& changes) { return changed(channel, changes); })
      .def("__repr__", [](const Channel& c) { return "<Channel " + c.id + " " + c.quality + ">"; });
}

// -- hardware -------------------------------------------------------------------------------------

struct FoundView {
  SourceState state;
  std::vector<Channel> channels;
  std::vector<Channel> unreadable;
  std::vector<std::string> notes;
};

struct Machine {
  Places places;
  Hardware hardware;
  std::vector<FoundView> found;

  Machine(Places at, const std::optional<std::vector<std::string>>& wanted)
      : places(std::move(at)) {
    std::vector<Found> answers;
    for (const SourceEntry& entry : source_table()) {
      if (wanted && std::find(wanted->begin(), wanted->end(), entry.name) == wanted->end())
        continue;
      answers.push_back(entry.find(places));
    }
    settle(answers);
    for (Found& answer : answers) adopt_found(std::move(answer));
  }

  void adopt_found(Found result) {
    FoundView view{result.state, {}, result.unreadable, result.notes};
    for (auto& unit : result.units) {
      view.channels.insert(view.channels.end(), unit->channels().begin(), unit->channels().end());
      hardware.add(std::move(unit));
    }
    found.push_back(std::move(view));
  }
};

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

// -- sampler --------------------------------------------------------------------------------------

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

// -- frames and accounting ------------------------------------------------------------------------

py::list frame_info(const py::bytes& bytes) {
  py::list info;
  for (const Frame& frame : decode_frames(view(bytes)).frames) {
    const int64_t first =
        frame.changes.empty() ? frame.pulse.last_read_ns : frame.changes.front().first_new_ns;
    info.append(py::make_tuple(frame.channel, frame.first_seq, frame.changes.size(), first,
                               frame.pulse.last_read_ns));
  }
  return info;
}

// One frame in parts of `most` changes; each part was read up to its own last change.
void encode_parts(Frame frame, size_t most, std::vector<uint8_t>& out) {
  const std::vector<Change> all = std::move(frame.changes);
  const Pulse pulse = frame.pulse;
  size_t from = 0;
  do {
    const size_t count = std::min(most, all.size() - from);
    const auto begin = all.begin() + static_cast<ptrdiff_t>(from);
    frame.changes.assign(begin, begin + static_cast<ptrdiff_t>(count));
    frame.pulse = pulse;
    from += count;
    if (from < all.size()) frame.pulse.last_read_ns = frame.changes.back().first_new_ns;
    encode_frame(frame, out);
    frame.first_seq += count;
  } while (from < all.size());
}

py::bytes join(const py::bytes& bytes, size_t most) {
  most = std::max<size_t>(most, 1);
  std::vector<uint8_t> out;
  {
    const auto input = view(bytes);
    const py::gil_scoped_release release;
    std::map<uint32_t, std::vector<Frame>> channels;
    for (Frame& frame : decode_frames(input).frames) {
      channels[frame.channel].push_back(std::move(frame));
    }
    for (auto& [channel, frames] : channels) {
      std::stable_sort(frames.begin(), frames.end(),
                       [](const Frame& a, const Frame& b) { return a.first_seq < b.first_seq; });
      Frame joined = std::move(frames.front());
      for (size_t i = 1; i < frames.size(); ++i) {
        if (frames[i].first_seq != joined.first_seq + joined.changes.size()) {
          // Changes are missing between: their numbers must show it.
          encode_parts(std::exchange(joined, std::move(frames[i])), most, out);
          continue;
        }
        joined.changes.insert(joined.changes.end(), frames[i].changes.begin(),
                              frames[i].changes.end());
        if (frames[i].pulse.last_read_ns >= joined.pulse.last_read_ns) {
          joined.pulse = frames[i].pulse;
        }
      }
      encode_parts(std::move(joined), most, out);
    }
  }
  return to_bytes(out);
}

// Frames of one channel from columns of numbers, as tests and imports have them.
py::bytes make_frame(uint32_t channel, uint64_t first_seq, const std::vector<int64_t>& last_old_ns,
                     const std::vector<int64_t>& first_new_ns, const std::vector<int64_t>& at_ns,
                     const std::vector<uint64_t>& raw, uint8_t first_flags, int64_t last_read_ns,
                     int64_t period_ns, int64_t interval_ns) {
  const size_t count = raw.size();
  if (last_old_ns.size() != count || first_new_ns.size() != count || at_ns.size() != count) {
    throw py::value_error("the columns of a frame differ in length");
  }
  Frame frame{channel, first_seq, {last_read_ns, period_ns, 0, interval_ns}, {}};
  frame.changes.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const uint8_t flags = i == 0 ? first_flags : uint8_t{0};
    frame.changes.push_back({last_old_ns[i], first_new_ns[i], at_ns[i], raw[i], flags});
  }
  std::vector<uint8_t> out;
  encode_frame(frame, out);
  return to_bytes(out);
}

// (kind, t_ns, token, parent, name)
using MarkRow = std::tuple<uint8_t, int64_t, uint64_t, uint64_t, uint32_t>;

py::bytes make_marks(uint64_t seq, std::vector<std::pair<uint32_t, std::string>> names,
                     const std::vector<MarkRow>& marks) {
  MarkFrame frame{seq, std::move(names), {}};
  for (const auto& [kind, t_ns, token, parent, name] : marks) {
    const auto known = kind == 1 ? Mark::Kind::kBegin : Mark::Kind::kEnd;
    frame.marks.push_back({known, 0, Phase::kUnset, t_ns, token, parent, name});
  }
  std::vector<uint8_t> out;
  encode_marks(frame, out);
  return to_bytes(out);
}

std::vector<Frame> frames_in(const py::bytes& bytes) {
  Decoded decoded = decode_frames(view(bytes));
  return std::move(decoded.frames);
}

py::tuple roll(const Channel& channel, const py::bytes& frames, int64_t from_ns, int64_t grain_ns,
               int64_t until_ns, bool last) {
  RollUp made;
  {
    std::vector<Frame> decoded = frames_in(frames);
    const py::gil_scoped_release release;
    made = roll_up(channel, std::move(decoded), from_ns, grain_ns, until_ns, last);
  }
  py::list rolls, events;
  for (const Roll& each : made.rolls) {
    rolls.append(py::make_tuple(each.from_ns, each.to_ns, number(each.energy_j),
                                number(each.peak_w), each.covered_s, each.lost_j,
                                each.variance_j2));
  }
  for (const CurveEvent& event : made.events) {
    events.append(py::make_tuple(event.t_ns, event.kind, event.count, event.text));
  }
  return py::make_tuple(rolls, events);
}

// (from_ns, to_ns, energy_j or None, peak_w or None, covered_s, lost_j, variance_j2)
using RollRow = std::tuple<int64_t, int64_t, std::optional<double>, std::optional<double>, double,
                           double, double>;

void add_rolls(Account& account, uint32_t channel, const std::vector<RollRow>& given) {
  std::vector<Roll> rolls;
  rolls.reserve(given.size());
  for (const auto& [from, to, energy_j, peak_w, covered_s, lost_j, variance_j2] : given) {
    rolls.push_back({from, to, energy_j.value_or(kUnknown), peak_w.value_or(kUnknown), covered_s,
                     lost_j, variance_j2});
  }
  account.add_rolls(channel, std::move(rolls));
}

py::dict bound_dict(const Causes& causes) {
  py::dict out;
  for (size_t i = 0; i < kCauses; ++i) {
    if (causes[i] > 0) out[cause_name(static_cast<Cause>(i))] = causes[i];
  }
  return out;
}

py::list solved_list(const StageResult& stage) {
  py::list out;
  for (const SolvedResult& solved : stage.solved) {
    py::dict row;
    row["channel"] = solved.channel;
    row["energy_j"] = number(solved.energy_j);
    row["low_j"] = number(solved.low_j);
    row["high_j"] = number(solved.high_j);
    row["mean_w"] = number(solved.mean_w);
    row["iterations"] = solved.iterations;
    row["lag_s"] = number(solved.lag_s);
    out.append(row);
  }
  return out;
}

py::object channel_dict(const ChannelResult& channel) {
  if (!channel.known) return py::none();
  py::dict out;
  out["energy_j"] = number(channel.energy_j);
  out["low_j"] = number(channel.low_j);
  out["high_j"] = number(channel.high_j);
  out["mean_w"] = number(channel.mean_w);
  out["peak_w"] = number(channel.peak_w);
  out["coverage"] = number(channel.coverage);
  out["update_period_s"] = number(channel.update_period_s);
  out["bound"] = bound_dict(channel.bound);
  return std::move(out);
}

py::str text(const std::string& bytes) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
}

py::dict stage_dict(const StageResult& stage) {
  py::list channels;
  for (const double energy : stage.channels_j) channels.append(number(energy));
  py::dict out;
  out["path"] = text(stage.path);
  out["phase"] = phase_name(stage.phase);
  out["count"] = stage.count;
  out["processes"] = stage.processes;
  out["duration_s"] = stage.duration_s;
  out["wall_s"] = stage.wall_s;
  out["energy_j"] = number(stage.energy_j);
  out["low_j"] = number(stage.low_j);
  out["high_j"] = number(stage.high_j);
  out["self_energy_j"] = number(stage.self_energy_j);
  out["channels_j"] = channels;
  out["unresolved"] = stage.unresolved;
  out["solved"] = solved_list(stage);
  out["bound"] = bound_dict(stage.bound);
  out["cut"] = stage.cut;
  out["synced"] = stage.synced;
  return out;
}

py::dict solve(const Account& account) {
  AccountResult result;
  {
    const py::gil_scoped_release release;
    result = account.solve();
  }
  py::list channels, stages, events;
  for (const ChannelResult& channel : result.channels) channels.append(channel_dict(channel));
  for (const StageResult& stage : result.stages) stages.append(stage_dict(stage));
  for (const auto& [channel, event] : result.events) {
    events.append(py::make_tuple(channel, event.t_ns, event.kind, event.count, event.text));
  }
  py::dict out;
  out["energy_j"] = number(result.energy_j);
  out["low_j"] = number(result.low_j);
  out["high_j"] = number(result.high_j);
  out["channels"] = channels;
  out["stages"] = stages;
  out["events"] = events;
  out["damaged_bytes"] = result.damaged_bytes;
  return out;
}

py::list series(const Account& account, int64_t from_ns, int64_t to_ns, size_t steps) {
  py::list rows;
  for (const auto& row : account.series(from_ns, to_ns, steps)) {
    py::list values;
    for (const double value : row) values.append(number(value));
    rows.append(values);
  }
  return rows;
}

py::list own(const Account& account, const std::vector<int64_t>& times_ns) {
  OwnSeries series;
  {
    const py::gil_scoped_release release;
    series = account.own(times_ns);
  }
  py::list rows;
  for (size_t row = 0; row < series.rows.size(); ++row) {
    py::list joules;
    for (const auto& own_j : series.own_j) joules.append(number(series.known ? own_j[row] : NAN));
    rows.append(
        py::make_tuple(text(series.rows[row].path), phase_name(series.rows[row].phase), joules));
  }
  return rows;
}

void bind_account(py::module_& module) {
  module.def("frame_info", &frame_info, py::arg("frames"));
  module.def("join_frames", &join, py::arg("frames"), py::arg("most") = 4096);
  module.def("make_frame", &make_frame, py::kw_only(), py::arg("channel"), py::arg("first_seq"),
             py::arg("last_old_ns"), py::arg("first_new_ns"), py::arg("at_ns"), py::arg("raw"),
             py::arg("first_flags"), py::arg("last_read_ns"), py::arg("period_ns"),
             py::arg("interval_ns"));
  module.def("make_marks", &make_marks, py::kw_only(), py::arg("seq"), py::arg("names"),
             py::arg("marks"));
  module.def("roll_up", &roll, py::arg("channel"), py::arg("frames"), py::arg("from_ns"),
             py::arg("grain_ns"), py::arg("until_ns"), py::arg("last"));
  py::class_<Account>(module, "Account", py::is_final(),
                      "Frames and marks of one run in, joules of channels and stages out.")
      .def(py::init([](std::vector<Channel> channels, int64_t start_ns, int64_t end_ns,
                       const std::string& phase) {
             return std::make_unique<Account>(std::move(channels), start_ns, end_ns,
                                              phase_of(phase));
           }),
           py::arg("channels"), py::arg("start_ns"), py::arg("end_ns"), py::arg("phase"))
      .def(
          "add_frames",
          [](Account& account, const py::bytes& frames) { account.add_frames(view(frames)); },
          py::arg("frames"))
      .def("add_rolls", &add_rolls, py::arg("channel"), py::arg("rolls"))
      .def("times_ns", &Account::times_ns)
      .def(
          "add_marks",
          [](Account& account, uint32_t process, const py::bytes& marks, int64_t shift_ns) {
            account.add_marks(process, view(marks), shift_ns);
          },
          py::arg("process"), py::arg("marks"), py::arg("shift_ns") = 0)
      .def("solve", &solve)
      .def("series", &series, py::arg("from_ns"), py::arg("to_ns"), py::arg("steps"))
      .def("own", &own, py::arg("times_ns"));
}

// -- frames made into others ----------------------------------------------------------------------

template <typename Maker>
py::bytes remade(Maker& maker, const py::bytes& frames) {
  std::vector<uint8_t> out;
  const auto input = view(frames);
  {
    const py::gil_scoped_release release;
    maker.add(input, out);
  }
  return to_bytes(out);
}

Grain grain_of(int64_t step_ns, double quantum_j) {
  if (step_ns < 0 || (step_ns > 0 && !(quantum_j > 0))) {
    throw py::value_error("a grain needs a step of 0 ns or more and a quantum above 0 J");
  }
  return {step_ns, quantum_j};
}

void bind_remakers(py::module_& module) {
  py::class_<Splice>(module, "Splice", py::is_final(),
                     "The changes of several recordings of the same sensors made into one.")
      .def(py::init<size_t>(), py::arg("channels"))
      .def("begin", &Splice::begin, py::arg("stream"), py::arg("channels"), py::arg("shift_ns") = 0)
      .def("add", &remade<Splice>, py::arg("frames"));
  py::class_<Coarse>(module, "Coarse", py::is_final(),
                     "Readings made coarser before others may see them; no energy is lost.")
      .def(py::init([](std::vector<Channel> channels,
                       const std::vector<std::pair<int64_t, double>>& grains) {
             std::vector<Grain> checked;
             for (const auto& [step_ns, quantum_j] : grains) {
               checked.push_back(grain_of(step_ns, quantum_j));
             }
             return std::make_unique<Coarse>(std::move(channels), std::move(checked));
           }),
           py::arg("channels"), py::arg("grains"))
      .def("add", &remade<Coarse>, py::arg("frames"));
  module.def(
      "coarse_channel",
      [](const Channel& channel, int64_t step_ns, double quantum_j) {
        return coarse_channel(channel, grain_of(step_ns, quantum_j));
      },
      py::arg("channel"), py::arg("step_ns"), py::arg("quantum_j"));
}

py::tuple anchor() {
  const Anchor at = read_anchor();
  return py::make_tuple(at.monotonic_ns, at.boot_ns, at.wall_ns);
}

}  // namespace
}  // namespace pyprof

PYBIND11_MODULE(_native, module) {
  module.doc() = "The native core of pyprof: sampling, stage marks and accounting.";
  module.attr("__version__") = PYPROF_VERSION;
  module.def("monotonic_ns", &pyprof::monotonic_ns);
  module.def("anchor", &pyprof::anchor);
  pyprof::bind_channel(module);
  pyprof::bind_hardware(module);
  pyprof::bind_sampler(module);
  pyprof::bind_account(module);
  pyprof::bind_remakers(module);
  if (pyprof_add_stage(module.ptr()) != 0) throw py::error_already_set();
}
