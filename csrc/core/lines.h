// Changes of a counter placed by the energies between them: while a power lasts, they lie on a
// line.
#pragma once

#include <cstdint>
#include <span>

namespace pyprof {

struct Track;

// Moves the loose knots of a counter near the marks (sorted) to where all changes of the same power
// put them together, and narrows their windows by as much.
void hold_to_lines(Track& track, std::span<const int64_t> marks);

}  // namespace pyprof
