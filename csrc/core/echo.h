// Loads in step with a counter's readings: the power changes at the same places of the updates each
// time, so that no number of repeats tells where.
#pragma once

#include <cstdint>
#include <span>

namespace pyprof {

struct Track;

// Marks the intervals of counters in which the load or its marks come again as they were some
// updates before, for many updates (`Knot::echo`), and notes the former.
void find_echoes(Track& track, std::span<const int64_t> marks);

}  // namespace pyprof
