// How a stage is called and what phase it is of, as arguments give them.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/mark.h"

namespace pyprof {

// The name as it is recorded: an exact str that UTF-8 can hold, of bounded length, and not empty,
// since the empty path is the root's. Null with an exception set if it is no str.
PyObject* clean_name(PyObject* value);

const char* phase_text(Phase phase) noexcept;  // null if unset
PyObject* phase_object(Phase phase);           // None if unset

// None and null leave it unset; false with an exception set for what is no phase.
bool read_phase(PyObject* value, Phase& phase);

}  // namespace pyprof
