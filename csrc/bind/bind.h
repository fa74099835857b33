// Each part of the core adds its classes and functions to the module.
#pragma once

#include <pybind11/pybind11.h>

namespace pyprof {

void bind_channel(pybind11::module_& module);
void bind_hardware(pybind11::module_& module);
void bind_sampler(pybind11::module_& module);
void bind_frames(pybind11::module_& module);
void bind_account(pybind11::module_& module);
void bind_rows(pybind11::module_& module);

}  // namespace pyprof
