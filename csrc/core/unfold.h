// A power reading that is the mean over a time longer than its period: the powers behind it.
#pragma once

#include <cstdint>
#include <span>

namespace pyprof {

struct Track;

// Replaces the knots of such a gauge by those of the course with the fewest changes of power whose
// trailing means are the readings; at a mark (sorted) a change costs little. Leaves others alone.
void unfold(Track& track, std::span<const int64_t> marks);

}  // namespace pyprof
