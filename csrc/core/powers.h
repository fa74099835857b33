// The powers that a track shows: what is plausible, what was highest, what may hide between
// samples.
#pragma once

#include <cstddef>
#include <vector>

#include "core/track.h"

namespace pyprof {

// Sets the plausible powers of a track from those between its knots.
void find_powers(Track& track, const Channel& channel);

// A gauge that averages over less than its period does not see the rest: the variance of its
// samples tells what may have been there.
void find_variance(Track& track, const Channel& channel);

// The highest mean power between the knots `from` and `to`, over stretches long enough that the
// brackets of their ends hardly matter; NaN if there is none.
double highest_mean_w(const std::vector<Knot>& knots, size_t from, size_t to);

}  // namespace pyprof
