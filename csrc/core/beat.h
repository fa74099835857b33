// Loops that a power sensor may always meet at the same point.
#pragma once

#include <cstdint>
#include <vector>

#include "core/sweep.h"

namespace pyprof {

// How regularly a row begins.
struct Rhythm {
  double period_s = 0;  // 0: it has none
  uint64_t count = 0;
};
std::vector<Rhythm> find_rhythms(const Sweep& swept);

// Whether readings each `sensor_s`, of the mean over `window_s`, may see too little of a load of
// that rhythm: it repeats near a multiple of half the period, or of a window longer than it, and
// has not drifted past it by the end.
bool beats(const Rhythm& rhythm, double sensor_s, double window_s);

}  // namespace pyprof
