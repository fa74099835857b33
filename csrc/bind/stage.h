// The stage mark as a plain CPython type: a class of pybind11 would double what a mark costs.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/mark.h"

namespace pyprof {

// The log that this process' marks go to. Another one from the next start or reset on.
MarkLog& process_marks();

}  // namespace pyprof

// Adds `stage` and the functions that steer it; -1 with an exception set if that fails.
int pyprof_add_stage(PyObject* module);
