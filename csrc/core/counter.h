// The one place where two readings of a counter become a difference.
#pragma once

#include <cstdint>

namespace pyprof {

// Outcomes that a caller can't mistake for one another. `kUnknowable`: more than one wrap fits into
// the time between the readings, so the difference is known only modulo the range. `kImplausible`:
// it rose by more than any device can use.
struct Step {
  enum class Kind : uint8_t { kDifference, kWrapped, kReset, kUnknowable, kImplausible };
  Kind kind;
  uint64_t counts;  // valid for kDifference and kWrapped; the least possible one for kUnknowable
};

// Limits are nominal, and a late update brings the energy of several: so far beyond them a rise is
// still taken for energy.
inline constexpr uint64_t kGenerous = 4;

constexpr Step rise(uint64_t counts, uint64_t most_counts) {
  const bool plausible = most_counts == 0 || counts / kGenerous <= most_counts;
  return plausible ? Step{Step::Kind::kDifference, counts} : Step{Step::Kind::kImplausible, 0};
}

// `range` 0 means a 64-bit counter, whose fall is always a reset. `most_counts` is the highest
// plausible difference for the time that passed (0: no limit known).
constexpr Step step(uint64_t before, uint64_t after, uint64_t range, uint64_t most_counts) {
  if (range == 0) {
    return after >= before ? rise(after - before, most_counts) : Step{Step::Kind::kReset, 0};
  }
  if (after >= range || before >= range) {
    // The sensor exceeds its own range: trust only a rise.
    return after >= before ? rise(after - before, most_counts) : Step{Step::Kind::kReset, 0};
  }
  const bool fell = after < before;
  const uint64_t least = fell ? range - before + after : after - before;
  if (most_counts != 0 && most_counts >= range && most_counts - range >= least) {
    return {Step::Kind::kUnknowable, least};
  }
  if (!fell) return rise(least, most_counts);
  if (most_counts != 0 && least > most_counts) return {Step::Kind::kReset, 0};
  return {Step::Kind::kWrapped, least};
}

}  // namespace pyprof
