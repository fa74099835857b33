// Frames of changes, made, described, joined and made into others, as Python sees them.
#include <pybind11/stl.h>

#include <optional>
#include <utility>

#include "bind/bind.h"
#include "bind/convert.h"
#include "core/coarse.h"
#include "core/frame.h"
#include "core/join.h"
#include "core/roll.h"
#include "core/splice.h"

namespace pyprof {
namespace {

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

py::bytes join(const py::bytes& bytes, size_t most) {
  std::vector<uint8_t> out;
  const auto input = view(bytes);
  {
    const py::gil_scoped_release release;
    join_frames(input, most, out);
  }
  return to_bytes(out);
}

py::bytes cut(const py::bytes& bytes, int64_t from_ns, int64_t to_ns, size_t context) {
  std::vector<uint8_t> out;
  const auto input = view(bytes);
  {
    const py::gil_scoped_release release;
    cut_frames(input, from_ns, to_ns, context, out);
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

py::tuple roll(const Channel& channel, const py::bytes& frames, int64_t from_ns, int64_t grain_ns,
               int64_t until_ns, bool last) {
  RollUp made;
  {
    std::vector<Frame> decoded = decode_frames(view(frames)).frames;
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

}  // namespace

void bind_frames(py::module_& module) {
  module.def("frame_info", &frame_info, py::arg("frames"));
  module.def("join_frames", &join, py::arg("frames"), py::arg("most") = 4096);
  module.def("cut_frames", &cut, py::arg("frames"), py::arg("from_ns"), py::arg("to_ns"),
             py::arg("context"));
  module.def("make_frame", &make_frame, py::kw_only(), py::arg("channel"), py::arg("first_seq"),
             py::arg("last_old_ns"), py::arg("first_new_ns"), py::arg("at_ns"), py::arg("raw"),
             py::arg("first_flags"), py::arg("last_read_ns"), py::arg("period_ns"),
             py::arg("interval_ns"));
  module.def("make_marks", &make_marks, py::kw_only(), py::arg("seq"), py::arg("names"),
             py::arg("marks"));
  module.def("roll_up", &roll, py::arg("channel"), py::arg("frames"), py::arg("from_ns"),
             py::arg("grain_ns"), py::arg("until_ns"), py::arg("last"));
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

}  // namespace pyprof
