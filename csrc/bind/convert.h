// Values of the core as Python's, and back. None stands for what is not known.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/mark.h"

namespace py = pybind11;

namespace pyprof {

py::object number(double value);
py::bytes to_bytes(const std::vector<uint8_t>& bytes);
// The bytes stay Python's: the view lives no longer than they do.
std::span<const uint8_t> view(const py::bytes& bytes);
// What is not UTF-8 is replaced, as names come from files that anybody may have written.
py::str text(const std::string& bytes);
// Throws ValueError for a name that is no phase.
Phase phase_of(const std::string& name);
const char* phase_name(Phase phase);

}  // namespace pyprof
