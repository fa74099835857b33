// GPUs of AMD and Intel as the simulated libraries of their vendors share them: an energy counter
// on a bus, and what goes wrong with it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/sensor.h"
#include "spec.h"

namespace sim {

struct Refusal {
  Span span;
  uint32_t code = 0;
};

struct Accelerator {
  std::string name;
  std::string uuid;
  std::array<uint32_t, 4> place{};  // domain, bus, device, function
  uint32_t processors = 1;          // that the part is split into
  int64_t limit_mw = -1;
  int64_t glitch_every = 0;  // > 0: each so manyth answer is near nothing
  std::vector<Refusal> refusals;
  std::vector<int64_t> resets_ns;
  std::vector<pyprof::SensorModel> counter;  // exactly one

  uint64_t count(int64_t t_ns) const;
  uint32_t refusal_at(int64_t t_ns) const;  // 0: none
};

struct Machine {
  int64_t epoch_ns = 0;
  std::vector<Accelerator> devices;
  int64_t now_ns() const { return monotonic_ns() - epoch_ns; }
};

// Of `machine.spec` in the folder of the library that holds `symbol`. Ends the process with a
// sentence if it can't be read.
const Machine& machine_beside(const void* symbol);

}  // namespace sim
