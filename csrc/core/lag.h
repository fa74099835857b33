// A power reading that follows the power slowly, as a capacitor is charged: how slowly, and the
// power it follows.
#pragma once

namespace pyprof {

struct Track;

// Looks for such a lag in the readings of a gauge that averages over no more than its period.
// Where every change of them is of that kind it is undone (with `undo`), else the track's `lag_s`
// only widens what is known.
void settle_lag(Track& track, bool undo);

}  // namespace pyprof
