// Rows of numbers as the text of which they carry the checksum.
#include <pybind11/pybind11.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <string>

#include "bind/bind.h"

namespace py = pybind11;

namespace pyprof {
namespace {

// False for what is no plain number or None, or has another form in Python than in JSON.
bool append(PyObject* value, std::string& out) {
  if (value == Py_None) {
    out += "null";
    return true;
  }
  if (PyLong_CheckExact(value)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) return false;
    char digits[24];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
    return true;
  }
  if (!PyFloat_CheckExact(value) || !std::isfinite(PyFloat_AS_DOUBLE(value))) return false;
  const std::unique_ptr<char, decltype(&PyMem_Free)> digits(
      PyOS_double_to_string(PyFloat_AS_DOUBLE(value), 'r', 0, Py_DTSF_ADD_DOT_0, nullptr),
      &PyMem_Free);
  if (digits == nullptr) throw py::error_already_set();
  out += digits.get();
  return true;
}

py::object json_row(const py::sequence& values) {
  const auto fast =
      py::reinterpret_steal<py::object>(PySequence_Fast(values.ptr(), "a row is a sequence"));
  if (!fast) throw py::error_already_set();
  std::string out = "[";
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.ptr()); ++i) {
    if (i > 0) out += ',';
    if (!append(PySequence_Fast_GET_ITEM(fast.ptr(), i), out)) return py::none();
  }
  out += ']';
  return py::bytes(out);
}

}  // namespace

void bind_rows(py::module_& module) { module.def("json_row", &json_row, py::arg("values")); }

}  // namespace pyprof
