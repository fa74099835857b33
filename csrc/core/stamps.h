// When a sensor made each change, from all readings before and after it.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/channel.h"
#include "core/frame.h"

namespace pyprof {

struct Stamp {
  int64_t at_ns = 0;
  // Half-width of the window which, were any place in it as good, would be as wide in the mean
  // square as what is known: 1.1 of it hold the change in 95 % of cases. Negative: the changes
  // around say nothing about this one.
  float half_s = -1;
  // Standard error of it as it counts in a mean over changes beside it: those err alike where the
  // rhythm tells more than the reads.
  float apart_s = 0;
};

// One for each change, in order: by the sensor's rhythm changes tell of each other. `period_ns` is
// the sensor's, about, 0: unknown; `spread_ns` the interquartile range of its updates about their
// prediction, 0: unknown.
std::vector<Stamp> place_changes(std::span<const Change> changes, int64_t period_ns,
                                 int64_t spread_ns);

// The time within which changes are placed by all readings around them; outside it by what was
// known when they were read, which pieces of a track that meet agree on.
struct Settled {
  int64_t from_ns = std::numeric_limits<int64_t>::min();
  int64_t to_ns = std::numeric_limits<int64_t>::max();
};

// The stamps that all changes together give each of them, in order of the reads that saw them.
class Stamps {
 public:
  Stamps(const std::vector<Frame>& frames, const Channel& channel, int64_t period_ns,
         const Settled& settled);
  // Of the change that was first seen at `first_new_ns`; asked in order. Null: there is none.
  const Stamp* at(int64_t first_new_ns);

 private:
  void place_ends(int64_t period_ns, int64_t spread_ns);

  std::vector<Change> changes_;
  std::vector<Stamp> stamps_;
  size_t next_ = 0;
};

}  // namespace pyprof
