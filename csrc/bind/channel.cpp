// What one number of a sensor is, as Python sees it.
#include "core/channel.h"

#include <string>

#include "bind/bind.h"
#include "bind/convert.h"

namespace pyprof {
namespace {

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

}  // namespace

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

}  // namespace pyprof
