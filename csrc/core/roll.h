// Roll-ups: what a channel did in equal grains of time, and curves that rest on them where the
// readings themselves are left alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/channel.h"
#include "core/frame.h"
#include "core/track.h"

namespace pyprof {

struct Roll {
  int64_t from_ns = 0, to_ns = 0;
  double energy_j = kUnknown;
  double peak_w = kUnknown;
  double covered_s = 0;    // bracketed by readings
  double lost_j = 0;       // may have been used unseen and is not in the energy
  double variance_j2 = 0;  // of what a gauge that looks away has not seen
};

struct RollUp {
  std::vector<Roll> rolls;
  std::vector<CurveEvent> events;  // found within their time
};

// Whole grains from `from_ns` on, up to `until_ns`, as far as the readings are settled: a few later
// changes must be known, so that both sides of a border see the same curve. With `last` everything
// up to `until_ns`, the last grain being what is left.
RollUp roll_up(const Channel& channel, std::vector<Frame> frames, int64_t from_ns, int64_t grain_ns,
               int64_t until_ns, bool last);

// The track of a run of which `rolls` (sorted, disjoint) stand for the readings of their time.
// `frames` reach a few changes into the rolls around. Edges within a roll are only bounded.
Track make_track(const Channel& channel, std::vector<Frame> frames, std::span<const Roll> rolls,
                 int64_t start_ns, int64_t end_ns);

}  // namespace pyprof
