// How much a power that lasts varies from one update to the next.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace pyprof {

// By power, as a device that works varies more than one at rest.
class Flicker {
 public:
  // Of two intervals with a power: the square of what they differ by beyond what stamps explain, as
  // a share of it, for each of the two; `weight` is how likely they are of one power.
  struct Pair {
    double log_w, excess, weight;
  };
  // The same share at every power.
  explicit Flicker(double share = 0) { variance_.fill(share * share); }
  // As the pairs tell; `share` counts as much as a few of them.
  Flicker(double share, std::span<const Pair> pairs);
  // As a share of the power, squared.
  double variance(double power_w) const;

 private:
  static constexpr size_t kPlaces = 16;
  double low_ = 0, apart_ = 1;  // logarithms of powers
  std::array<double, kPlaces> variance_;
};

}  // namespace pyprof
