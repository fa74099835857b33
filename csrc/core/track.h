// The readings of one channel made into knots of energy over time: wraps counted, resets and gaps
// told apart, powers integrated.
#pragma once

#include <cstdint>
#include <vector>

#include "core/channel.h"
#include "core/curve.h"
#include "core/flicker.h"
#include "core/frame.h"
#include "core/stamps.h"

namespace pyprof {

struct Knot {
  // Of the time from this knot to the next.
  enum class Kind : uint8_t {
    kPlain,     // the energy is the difference of two readings
    kBridged,   // it is, but nothing was read for a while between them
    kRamp,      // integrated from power, which runs straight from this knot's to the next one's
    kUnfolded,  // of constant power, found behind means over a longer time
    kFlat,      // nothing is known; see the blanks
    kBeyond,    // before the first or after the last reading
  };
  // Whether what happens until the next knot came before, again and again, at the same places.
  enum class Echo : uint8_t {
    kNone,
    kMarks,       // the marks do
    kQuietMarks,  // they do, and the power looks constant
    kPowers,      // the powers do
  };
  int64_t t_ns = 0;
  double energy_j = 0;
  float half_s = 0;   // half-width of the window in which the sensor changed (see Stamp)
  float power_w = 0;  // gauges: at this knot
  Kind kind = Kind::kPlain;
  // How far it and the next one are displaced together: 255 of 255 parts at most.
  uint8_t tied = 0;
  Echo echo = Echo::kNone;
  float apart_s = 0;  // see Stamp; 0: unknown, and the knot stays where it is
};

// A stretch with something missing.
struct Blank {
  int64_t from_ns = 0, to_ns = 0;
  double lost_j = 0;    // may have been used and is not in the energy; runs straight over the time
  double before_j = 0;  // sum of lost_j of the blanks before
  int64_t before_ns = 0;  // uncovered time before
  bool covered = false;   // readings bracket it nevertheless
};

struct Track {
  std::vector<Knot> knots;
  std::vector<Blank> blanks;  // sorted, disjoint
  std::vector<CurveEvent> events;
  std::vector<double> variance_j2;  // gauges that look away: sum up to each knot
  int64_t period_ns = 0;            // of the updates, 0: unknown
  int64_t interval_ns = 0;          // between reads, 0: unknown
  int64_t window_ns = 0;            // gauges: averaging window
  double lag_s = 0;                 // gauges: time constant with which readings follow the power
  double quantum_j = 0;             // counters
  double step_w = 0;                // gauges: one count
  double limit_w = 0;               // no plausible power is higher
  double low_w = 0, high_w = 0;     // plausible powers, from the powers seen
  double least_w = 0, most_w = 0;   // the same with those too short to be seen
  double peak_w = kUnknown;
  Flicker flicker;  // counters: of powers that last
  double kink = 0;  // and how much these change at a mark, as a share, squared
};

// For a channel whose source knows no limit: no single device or package draws more.
inline constexpr double kAssumedLimitW = 2000;

Track make_track(const Channel& channel, std::vector<Frame> frames, int64_t start_ns,
                 int64_t end_ns, const Settled& settled = {});

}  // namespace pyprof
