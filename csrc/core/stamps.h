// When a sensor made each change, from all readings before and after it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/frame.h"

namespace pyprof {

struct Stamp {
  int64_t at_ns = 0;
  // Half-width of the window that holds the change in 95 % of cases. Negative: the changes around
  // say nothing about this one.
  float half_s = -1;
};

// One for each change, in order: by the sensor's rhythm changes tell of each other. `period_ns` is
// the sensor's, about, 0: unknown; `spread_ns` the interquartile range of its updates about their
// prediction, 0: unknown.
std::vector<Stamp> place_changes(std::span<const Change> changes, int64_t period_ns,
                                 int64_t spread_ns);

}  // namespace pyprof
