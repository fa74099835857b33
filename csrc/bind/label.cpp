#include "bind/label.h"

#include <array>

namespace pyprof {
namespace {

constexpr std::array<const char*, 4> kPhaseNames = {nullptr, "development", "training",
                                                    "deployment"};

constexpr Py_ssize_t kMaxNameLength = 512;
constexpr Py_UCS4 kReplacement = 0xFFFD;

bool is_surrogate(Py_UCS4 c) noexcept { return c >= 0xD800 && c <= 0xDFFF; }

bool has_surrogate(PyObject* name) noexcept {
  const int kind = PyUnicode_KIND(name);
  if (kind == PyUnicode_1BYTE_KIND) return false;
  const void* data = PyUnicode_DATA(name);
  for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(name); ++i) {
    if (is_surrogate(PyUnicode_READ(kind, data, i))) return true;
  }
  return false;
}

PyObject* without_surrogates(PyObject* name) {
  const Py_ssize_t length = PyUnicode_GET_LENGTH(name);
  const int kind = PyUnicode_KIND(name);
  const void* data = PyUnicode_DATA(name);
  std::array<Py_UCS4, kMaxNameLength> points;
  for (Py_ssize_t i = 0; i < length; ++i) {
    const Py_UCS4 c = PyUnicode_READ(kind, data, i);
    points[static_cast<size_t>(i)] = is_surrogate(c) ? kReplacement : c;
  }
  return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, points.data(), length);
}

}  // namespace

PyObject* clean_name(PyObject* value) {
  if (!PyUnicode_Check(value)) {
    PyErr_Format(PyExc_TypeError, "the name of a stage must be a str, not %.100s",
                 Py_TYPE(value)->tp_name);
    return nullptr;
  }
  if (PyUnicode_GET_LENGTH(value) == 0) return PyUnicode_FromString("(unnamed)");
  PyObject* name = PyUnicode_GET_LENGTH(value) > kMaxNameLength
                       ? PyUnicode_Substring(value, 0, kMaxNameLength)
                       : PyUnicode_FromObject(value);
  if (name == nullptr || !has_surrogate(name)) return name;
  PyObject* replaced = without_surrogates(name);
  Py_DECREF(name);
  return replaced;
}

const char* phase_text(Phase phase) noexcept { return kPhaseNames[static_cast<size_t>(phase)]; }

PyObject* phase_object(Phase phase) {
  if (phase == Phase::kUnset) Py_RETURN_NONE;
  return PyUnicode_FromString(phase_text(phase));
}

bool read_phase(PyObject* value, Phase& phase) {
  phase = Phase::kUnset;
  if (value == nullptr || value == Py_None) return true;
  if (PyUnicode_Check(value)) {
    for (size_t i = 1; i < kPhaseNames.size(); ++i) {
      if (PyUnicode_CompareWithASCIIString(value, kPhaseNames[i]) != 0) continue;
      phase = static_cast<Phase>(i);
      return true;
    }
  }
  PyErr_Format(PyExc_ValueError, "phase must be development, training or deployment, not %R",
               value);
  return false;
}

}  // namespace pyprof
