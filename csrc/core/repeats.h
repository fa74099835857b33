// Stages that repeat faster than a channel updates: solved together, as mean power per state.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "core/joint.h"
#include "core/sweep.h"

namespace pyprof {

struct Track;

// A state is a set of open rows. Slice i of the run lasts from `times_ns[i]` to `times_ns[i + 1]`.
struct States {
  std::vector<uint32_t> of;                                 // of each slice
  std::vector<uint32_t> count;                              // slices of each state
  uint32_t between = std::numeric_limits<uint32_t>::max();  // the one without any stage
};
States find_states(const Sweep& swept);

struct Repeats {
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  bool tried = false;              // there are repeats that the channel can't see one by one
  std::vector<uint32_t> place_of;  // of each state: among the powers of the fit, or kNone
  JointFit fit;
  std::vector<bool> covers;  // intervals between changes that the fit describes
  std::string words;         // what is to be said of it, one sentence, else ""

  bool solved() const { return tried && fit.refusal.empty(); }
  bool describes(size_t interval) const { return interval < covers.size() && covers[interval]; }
  size_t powers() const { return fit.power_w.size(); }
  // Half-width of a 95 % interval of the energy of `spent_s`, the time in each power's state.
  double doubt_j(std::span<const double> spent_s) const;
};

// `times_ns` are those of the slices.
Repeats solve_repeats(const Track& track, std::span<const int64_t> times_ns, const States& states);

}  // namespace pyprof
