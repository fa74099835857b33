// Joules of channels and stages, as Python sees them.
#include "core/account.h"

#include <pybind11/stl.h>

#include <cmath>
#include <optional>
#include <utility>

#include "bind/bind.h"
#include "bind/convert.h"

namespace pyprof {
namespace {

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

}  // namespace

void bind_account(py::module_& module) {
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

}  // namespace pyprof
