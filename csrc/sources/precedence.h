// Which of several readings of the same thing is sampled, and which of those is counted.
#pragma once

#include <vector>

#include "core/unit.h"

namespace pyprof {

// One RAPL interface per domain is sampled: the first in order of preference that reads all of it.
// What measures a whole is not counted beside its parts.
void settle(std::vector<Found>& found);

}  // namespace pyprof
