#include "core/chain.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace pyprof {
namespace {

constexpr float kNothing = 1e-30F;  // smaller weights would be slow to reckon with
constexpr size_t kOften = 8;        // cells, after which the weights are made 1 in sum

// Sums in lanes of their own, so that they are taken several at once.
constexpr size_t kLanes = 8;

float dot(const float* a, const float* b) {
  float lanes[kLanes] = {};
  for (size_t i = 0; i < kStride; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

// Of something that happens so often in the mean: that it does, once.
double by_chance(double mean) { return mean / (1 + mean); }

void normalise(std::span<float> values) {
  float lanes[kLanes] = {};
  for (size_t i = 0; i < values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[i + lane];
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  if (!(sum > 0)) return;
  const float scale = 1 / sum;
  for (float& value : values) value *= scale;
}

}  // namespace

// The share of each power that is left at a border.
void Chain::leave(double width_s, bool marked, std::array<float, kMostLevels>& share) const {
  for (size_t j = 0; j < size; ++j) {
    const double by_itself = by_chance(rate_hz[j] * width_s);
    share[j] = static_cast<float>(marked ? at_mark + (1 - at_mark) * by_itself : by_itself);
  }
}

// A change goes to another power, by how often that one is chosen.
void Chain::jump(Front& front, const std::array<float, kMostLevels>& share) const {
  std::array<float, kStride> all{};
  std::array<float, kMostLevels> part;
  for (size_t j = 0; j < size; ++j) {
    part[j] = share[j] / static_cast<float>(1 - chosen[j]);
    const float* const row = &front[j * kStride];
    for (size_t b = 0; b < kStride; ++b) all[b] += part[j] * row[b];
  }
  for (size_t j = 0; j < size; ++j) {
    const auto to = static_cast<float>(chosen[j]);
    const float keep = 1 - share[j] - to * part[j];
    float* const row = &front[j * kStride];
    for (size_t b = 0; b < kStride; ++b)
      row[b] = std::max(keep * row[b] + to * all[b] - kNothing, 0.0F);
  }
}

void Chain::jump_back(Front& front, const std::array<float, kMostLevels>& share) const {
  std::array<float, kStride> all{};
  for (size_t j = 0; j < size; ++j) {
    const auto to = static_cast<float>(chosen[j]);
    const float* const row = &front[j * kStride];
    for (size_t b = 0; b < kStride; ++b) all[b] += to * row[b];
  }
  for (size_t j = 0; j < size; ++j) {
    const float part = share[j] / static_cast<float>(1 - chosen[j]);
    const float keep = 1 - share[j] - static_cast<float>(chosen[j]) * part;
    float* const row = &front[j * kStride];
    for (size_t b = 0; b < kStride; ++b)
      row[b] = std::max(keep * row[b] + part * all[b] - kNothing, 0.0F);
  }
}

// One cell's energy, which rarely is a whole number of bins: shared by the two beside it.
void Chain::shift(const Grid& grid, size_t cell, Front& front) const {
  const double width_s = grid.border_s[cell + 1] - grid.border_s[cell];
  std::array<float, 2 * kStride> padded{};
  for (size_t j = 0; j < size; ++j) {
    const double bins = std::min((power_w[j] - power_w[0]) * width_s / grid.bin_j, kBins + 0.0);
    const auto whole = static_cast<size_t>(bins);
    const auto rest = static_cast<float>(bins - static_cast<double>(whole));
    float* const row = &front[j * kStride];
    std::copy_n(row, kStride, &padded[kStride]);
    const float* const from = &padded[kStride - whole];
    for (size_t b = 0; b < kStride; ++b) {
      row[b] = (1 - rest) * from[b] + rest * from[static_cast<ptrdiff_t>(b) - 1];
    }
  }
}

void Chain::shift_back(const Grid& grid, size_t cell, Front& front) const {
  const double width_s = grid.border_s[cell + 1] - grid.border_s[cell];
  std::array<float, 2 * kStride> padded{};
  for (size_t j = 0; j < size; ++j) {
    const double bins = std::min((power_w[j] - power_w[0]) * width_s / grid.bin_j, kBins + 0.0);
    const auto whole = static_cast<size_t>(bins);
    const auto rest = static_cast<float>(bins - static_cast<double>(whole));
    float* const row = &front[j * kStride];
    std::copy_n(row, kStride, &padded[0]);
    const float* const from = &padded[whole];
    for (size_t b = 0; b < kStride; ++b) row[b] = (1 - rest) * from[b] + rest * from[b + 1];
  }
}

void Chain::forward(const Grid& grid, Message& message, std::vector<Front>* fronts) const {
  Front front(size * kStride);
  for (size_t j = 0; j < size; ++j) front[j * kStride] = static_cast<float>(message[j]);
  std::array<float, kMostLevels> share;
  for (size_t cell = 0; cell < grid.cells; ++cell) {
    if (fronts != nullptr) (*fronts)[cell] = front;
    leave(grid.border_s[cell + 1] - grid.border_s[cell], grid.marked[cell], share);
    jump(front, share);
    shift(grid, cell, front);
    if (cell % kOften == 0) normalise(front);
  }
  if (fronts != nullptr) (*fronts)[grid.cells] = front;
  double all = 0;
  for (size_t j = 0; j < size; ++j) {
    all += message[j] = dot(&front[j * kStride], grid.likely.data());
  }
  for (size_t j = 0; j < size; ++j) message[j] = all > 0 ? message[j] / all : present[j];
}

void Chain::backward(const Grid& grid, Message& message, std::vector<Front>* fronts,
                     std::vector<Front>* changed) const {
  Front front(size * kStride);
  for (size_t j = 0; j < size; ++j) {
    for (size_t b = 0; b < kStride; ++b) {
      front[j * kStride + b] = static_cast<float>(message[j]) * grid.likely[b];
    }
  }
  std::array<float, kMostLevels> share;
  for (size_t cell = grid.cells; cell-- > 0;) {
    if (fronts != nullptr) (*fronts)[cell + 1] = front;
    shift_back(grid, cell, front);
    if (changed != nullptr) (*changed)[cell] = front;
    leave(grid.border_s[cell + 1] - grid.border_s[cell], grid.marked[cell], share);
    jump_back(front, share);
    if (cell % kOften == 0) normalise(front);
  }
  if (fronts != nullptr) (*fronts)[0] = front;
  double all = 0;
  for (size_t j = 0; j < size; ++j) all += message[j] = front[j * kStride];
  for (size_t j = 0; j < size; ++j) message[j] = all > 0 ? message[j] / all : 1;
}

void Chain::add_up(const Grid& grid, const std::vector<Front>& ahead,
                   const std::vector<Front>& behind, Sums& sums) const {
  std::array<float, kMostLevels> share;
  std::array<double, kMostLevels> time_s{};
  for (size_t cell = 0; cell < grid.cells; ++cell) {
    const Front& after = behind[cell];
    const double width_s = grid.border_s[cell + 1] - grid.border_s[cell];
    leave(width_s, grid.marked[cell], share);
    std::array<float, kStride> to{}, from{};
    double stays = 0, moves = 0;
    std::array<double, kMostLevels> kept{}, left{}, entered{};
    for (size_t j = 0; j < size; ++j) {
      const auto often = static_cast<float>(chosen[j]);
      const float part = share[j] / (1 - often);
      for (size_t b = 0; b < kStride; ++b) {
        to[b] += often * after[j * kStride + b];
        from[b] += part * ahead[cell][j * kStride + b];
      }
    }
    for (size_t j = 0; j < size; ++j) {
      const auto often = static_cast<float>(chosen[j]);
      const float part = share[j] / (1 - often);
      const float* const here = &ahead[cell][j * kStride];
      const float* const there = &after[j * kStride];
      const double stay = dot(here, there);
      const double leaves = dot(here, to.data()) - often * stay;
      const double enters = dot(from.data(), there) - part * stay;
      stays += kept[j] = (1 - share[j]) * stay;
      left[j] = std::max(part * leaves, 0.0);
      entered[j] = std::max(often * enters, 0.0);
      moves += left[j];
    }
    const double all = stays + moves;
    if (!(all > 0)) continue;
    for (size_t j = 0; j < size; ++j) {
      time_s[j] += width_s * (kept[j] + entered[j]) / all;
      // What is left at a mark because of the mark says nothing of how long a power lasts.
      double own = 1;
      if (grid.marked[cell]) {
        const double by_itself = by_chance(rate_hz[j] * width_s);
        own = (1 - at_mark) * by_itself / share[j];
        sums.at_marks += left[j] / all * (1 - own);
      }
      sums.left[j] += own * left[j] / all;
      sums.entered[j] += entered[j] / all;
    }
    sums.marks += grid.marked[cell];
  }
  double rest_j = grid.energy_j;
  for (size_t j = 0; j < size; ++j) rest_j -= power_w[j] * time_s[j];
  for (size_t j = 0; j < size; ++j) {
    sums.time_s[j] += time_s[j];
    sums.rest_js[j] += time_s[j] * rest_j;
    for (size_t i = 0; i < size; ++i) sums.time2_s2(i, j) += time_s[i] * time_s[j];
  }
}

}  // namespace pyprof
