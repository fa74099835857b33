// E(t) of one channel: one shared curve, so that neighbours which meet in an instant agree on it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/channel.h"
#include "core/frame.h"

namespace pyprof {

// Something that happened to a channel, found while its curve was built.
struct CurveEvent {
  int64_t t_ns;
  std::string kind;  // gap, wrap, reset, note
  uint64_t count;
  std::string text;
};

// Energy since the run's start with what is known about it. down_j and up_j are the half-widths of
// a 95 % interval of this one value (edges, quantum, gaps, averaging window; not the tolerance).
struct Estimate {
  double energy_j;
  double down_j;
  double up_j;
};

class Curve {
 public:
  // `frames` of this channel in order of first_seq; [start_ns, end_ns] is the run.
  // `marks` are the times of stage marks, sorted: likely moments of a change of power.
  Curve(const Channel& channel, std::vector<Frame> frames, int64_t start_ns, int64_t end_ns,
        std::span<const int64_t> marks);

  bool empty() const;  // no reading at all: the energy is unknown, not zero

  // Energy between two instants of the run, with its interval. Exactly additive in energy_j.
  Estimate between(int64_t from_ns, int64_t to_ns) const;
  // The value of the curve alone; non-decreasing calls are O(1) amortised with a cursor.
  struct Cursor {
    size_t at = 0;
  };
  Estimate at(int64_t t_ns, Cursor& cursor) const;

  double coverage(int64_t from_ns, int64_t to_ns) const;  // share bracketed by readings
  double peak_w() const;         // highest mean power between two changes; NaN if unknown
  int64_t update_period_ns() const;  // 0: unknown
  int64_t read_interval_ns() const;  // 0: unknown
  const std::vector<CurveEvent>& events() const;
};

}  // namespace pyprof
