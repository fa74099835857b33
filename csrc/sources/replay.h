// Synthetic or recorded signals read through a simulated sensor: for demonstrations and tests.
#pragma once

#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

#include "core/unit.h"

namespace pyprof {

struct ReplaySensor {
  int64_t period_ns = 0;
  int64_t phase_ns = 0;
  double jitter = 0;  // of the period
  double quantum_j = 0;
  int64_t window_ns = 0;
  uint64_t start_count = 0;
  int64_t begin_ns = 0;  // of the signal on CLOCK_MONOTONIC; 0: when the unit is made
};

// Segments are (duration_ns, start_w, end_w); read through a sensor.
std::unique_ptr<Unit> replay(Channel channel,
                             const std::vector<std::tuple<int64_t, double, double>>& segments,
                             bool repeat, const ReplaySensor& sensor);

}  // namespace pyprof
