// Where the power changed between the readings of a counter: the course with the fewest changes
// that agrees with all of them, and in which a change at a stage's mark costs little.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace pyprof {

// Neighbouring changes of a counter: readings [first, first + count).
struct Window {
  static constexpr size_t kMost = 8;
  std::array<int64_t, kMost> t_ns;
  std::array<double, kMost> energy_j;
  std::array<double, kMost> half_s;  // half-width of the window in which the counter changed
  size_t count = 0;
  size_t wanted = 0;  // the interval from this reading to the next one is wanted
  double quantum_j = 0;
  double limit_w = 0;  // no plausible power is higher
};

// Mean power between neighbouring borders within the wanted interval.
struct Course {
  static constexpr size_t kCells = 20;  // of one interval
  std::array<double, kCells + 1> border_s;
  std::array<double, kCells> power_w;
};

// `marks` are sorted. The energy of the course is that between the two readings, exactly. False:
// there is nothing to find, as the power is the same everywhere.
bool deconvolve(const Window& window, std::span<const int64_t> marks, Course& course);

}  // namespace pyprof
