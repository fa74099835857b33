// The one place where two readings of a counter become a difference.
#pragma once

#include <cstdint>

namespace pyprof {

// Three outcomes, so that a caller can't mistake one for another. `kUnknowable`: more than one wrap
// fits into the time between the readings, so the difference is known only modulo the range.
struct Step {
  enum class Kind : uint8_t { kDifference, kWrapped, kReset, kUnknowable };
  Kind kind;
  uint64_t counts;  // valid for kDifference and kWrapped; the least possible one for kUnknowable
};

// `range` 0 means a 64-bit counter, whose fall is always a reset. `most_counts` is the highest
// plausible difference for the time that passed (0: no limit known).
constexpr Step step(uint64_t before, uint64_t after, uint64_t range, uint64_t most_counts) {
  if (range == 0) {
    return after >= before ? Step{Step::Kind::kDifference, after - before}
                           : Step{Step::Kind::kReset, 0};
  }
  if (after >= range || before >= range) {
    // The sensor exceeds its own range: trust only a rise.
    return after >= before ? Step{Step::Kind::kDifference, after - before}
                           : Step{Step::Kind::kReset, 0};
  }
  const bool fell = after < before;
  const uint64_t least = fell ? range - before + after : after - before;
  if (most_counts != 0 && most_counts >= range && most_counts - range >= least) {
    return {Step::Kind::kUnknowable, least};
  }
  if (!fell) return {Step::Kind::kDifference, least};
  if (most_counts != 0 && least > most_counts) return {Step::Kind::kReset, 0};
  return {Step::Kind::kWrapped, least};
}

}  // namespace pyprof
