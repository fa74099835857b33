// The door between Python and the core: converts and documents, decides nothing.
#include <pybind11/pybind11.h>

#include "bind/bind.h"
#include "bind/stage.h"
#include "core/clock.h"

namespace {

pybind11::tuple anchor() {
  const pyprof::Anchor at = pyprof::read_anchor();
  return pybind11::make_tuple(at.monotonic_ns, at.boot_ns, at.wall_ns);
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "The native core of pyprof: sampling, stage marks and accounting.";
  module.attr("__version__") = PYPROF_VERSION;
  module.def("monotonic_ns", &pyprof::monotonic_ns);
  module.def("anchor", &anchor);
  pyprof::bind_channel(module);
  pyprof::bind_hardware(module);
  pyprof::bind_sampler(module);
  pyprof::bind_account(module);
  pyprof::bind_frames(module);
  pyprof::bind_rows(module);
  if (pyprof_add_stage(module.ptr()) != 0) throw pybind11::error_already_set();
}
