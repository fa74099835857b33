// Passes over the ways to use one interval's energy: a load that jumps between a few powers, on a
// grid of cells of time and of energy.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "core/linear.h"

namespace pyprof {

// Cells of time in one interval at most, and cells of the energy above the lowest power in it.
inline constexpr size_t kMostCells = 20;
inline constexpr size_t kStride = 64, kBins = kStride - 1;
inline constexpr size_t kMostLevels = 24;  // powers

// One interval.
struct Grid {
  size_t cells;
  std::array<double, kMostCells + 1> border_s;
  std::array<bool, kMostCells> marked;  // at the beginning of each cell
  double bin_j, width_s, energy_j;
  std::array<float, kStride> likely;  // of each energy at the end, given the reading
};

// Weights over powers and energies at one border of a cell.
using Front = std::vector<float>;
// Weights over powers, from one interval to the next.
using Message = std::array<double, kMostLevels>;

// What passes over some intervals have found, added up.
struct Sums {
  std::array<double, kMostLevels> left{}, entered{}, time_s{};
  double at_marks = 0, marks = 0;
  // What the powers leave of the energies, against the time in each.
  Matrix time2_s2{kMostLevels};
  std::array<double, kMostLevels> rest_js{};
};

struct Chain {
  size_t size = 0;  // powers; the first one is the lowest
  std::array<double, kMostLevels> power_w{};
  std::array<double, kMostLevels> chosen{};   // of a change, to each power
  std::array<double, kMostLevels> rate_hz{};  // at which each power is left
  std::array<double, kMostLevels> present{};  // share of the time
  double at_mark = 0.5;                       // of marks that are changes

  // From the powers' weights at the interval's beginning to those at its end, and back. `fronts`
  // are before the change at each border, `changed` after it; either may be null.
  void forward(const Grid& grid, Message& message, std::vector<Front>* fronts) const;
  void backward(const Grid& grid, Message& message, std::vector<Front>* fronts,
                std::vector<Front>* changed) const;
  // Adds up how often each power was left and chosen, and how many marks are changes.
  void add_up(const Grid& grid, const std::vector<Front>& ahead, const std::vector<Front>& behind,
              Sums& sums) const;

 private:
  void leave(double width_s, bool marked, std::array<float, kMostLevels>& share) const;
  void jump(Front& front, const std::array<float, kMostLevels>& share) const;
  void jump_back(Front& front, const std::array<float, kMostLevels>& share) const;
  void shift(const Grid& grid, size_t cell, Front& front) const;
  void shift_back(const Grid& grid, size_t cell, Front& front) const;
};

}  // namespace pyprof
