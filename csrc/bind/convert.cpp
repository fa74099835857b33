#include "bind/convert.h"

#include <cmath>

namespace pyprof {

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

py::str text(const std::string& bytes) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
}

}  // namespace pyprof
