#include "core/levels.h"

#include <algorithm>
#include <cmath>

#include "core/linear.h"
#include "core/track.h"

namespace pyprof {
namespace {

// The grid: cells of time in one interval, cells of the energy above the lowest power in it.
constexpr size_t kCells = 25;
constexpr size_t kStride = 64, kBins = kStride - 1;
constexpr size_t kEvenLevels = 16,
                 kHeldLevels = 8;  // powers: spread evenly, and those that were held
constexpr size_t kMostLevels = kEvenLevels + kHeldLevels;
constexpr size_t kReach = 2;  // intervals on each side that tell about one
constexpr size_t kBlocks = 6, kBlock = 16, kLeastBlock = 4;  // of intervals, to learn from
constexpr int kRounds = 6, kPruneFrom = 1;
constexpr double kHardly = 1e-3;      // a power so rarely taken is none
constexpr double kFineBracket = 0.3;  // of an interval: with wider ones nothing can be told
constexpr double kStampShare = 0.8;   // standard error of a stamp, in half brackets
// Standard error of a power, in distances of the even ones: at first, by round, and at last.
constexpr double kOffLevel = 0.25, kOffGain = 0.7, kOffLeast = 0.03;
constexpr double kLeastMark = 0.02, kMostMark = 0.98;
constexpr float kNothing = 1e-30F;  // smaller weights would be slow to reckon with
constexpr size_t kOften = 8;        // cells, after which the weights are made 1 in sum
constexpr double kTail = 0.01;  // of what is likely, on each side: few powers are not all there are

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

// Weights over powers and energies at one border of a cell.
using Front = std::vector<float>;

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

class Levels::Model {
 public:
  Model(const Track& track, std::span<const int64_t> marks) : track_(track), marks_(marks) {}
  bool draw(size_t interval, Course& course);

 private:
  bool learn();
  struct Grid {
    std::array<double, kCells + 1> border_s;
    std::array<bool, kCells> marked;  // at the beginning of each cell
    double bin_j, width_s, energy_j;
    std::array<float, kStride> likely;  // of each energy at the end, given the reading
  };
  struct Sums {
    std::array<double, kMostLevels> left{}, entered{}, time_s{};
    double at_marks = 0, marks = 0;
    Matrix time2_s2{
        kMostLevels};  // what the powers leave of the energies, against the time in each
    std::array<double, kMostLevels> rest_js{};
  };
  struct Block {
    size_t first, count;
  };
  bool usable(size_t interval) const;
  std::vector<Block> find_blocks() const;
  void find_levels();
  Grid lay(size_t interval) const;
  void leave(double width_s, bool marked, std::array<float, kMostLevels>& share) const;
  void jump(Front& front, const std::array<float, kMostLevels>& share) const;
  void jump_back(Front& front, const std::array<float, kMostLevels>& share) const;
  void shift(const Grid& grid, size_t cell, Front& front) const;
  void shift_back(const Grid& grid, size_t cell, Front& front) const;
  using Message = std::array<double, kMostLevels>;
  void forward(const Grid& grid, Message& message, std::vector<Front>* fronts) const;
  void backward(const Grid& grid, Message& message, std::vector<Front>* fronts,
                std::vector<Front>* changed) const;
  void count(const Grid& grid, const std::vector<Front>& ahead, const std::vector<Front>& behind,
             Sums& sums) const;
  void renew(const Sums& sums);
  void move_levels(const Sums& sums);
  void prune();

  const Track& track_;
  const std::span<const int64_t> marks_;
  bool tried_ = false, known_ = false;
  size_t n_ = 0;
  double apart_w_ = 0, off_w_ = 0;
  std::array<double, kMostLevels> power_w_{};
  std::array<double, kMostLevels> chosen_{};   // of a change, to each power
  std::array<double, kMostLevels> rate_hz_{};  // at which each power is left
  std::array<double, kMostLevels> present_{};  // share of the time
  double at_mark_ = 0.5;                       // of marks that are changes
};

bool Levels::Model::usable(size_t interval) const {
  const Knot& from = track_.knots[interval];
  const Knot& to = track_.knots[interval + 1];
  const double width_s = seconds(to.t_ns - from.t_ns);
  return from.kind == Knot::Kind::kPlain &&
         2 * std::max(from.half_s, to.half_s) < kFineBracket * width_s;
}

// Powers that neighbours share, and others between the least and the greatest plausible one.
void Levels::Model::find_levels() {
  const auto& knots = track_.knots;
  std::vector<double> held;
  double before_w = -1, noise_before_w = 0;
  for (size_t i = 0; i + 1 < knots.size(); ++i) {
    if (!usable(i)) {
      before_w = -1;
      continue;
    }
    const double width_s = seconds(knots[i + 1].t_ns - knots[i].t_ns);
    const double power_w = (knots[i + 1].energy_j - knots[i].energy_j) / width_s;
    const double noise_w = power_w * (knots[i].half_s + knots[i + 1].half_s) / width_s;
    if (before_w >= 0 && std::abs(power_w - before_w) < 0.5 * (noise_w + noise_before_w)) {
      held.push_back(0.5 * (power_w + before_w));
    }
    before_w = power_w;
    noise_before_w = noise_w;
  }
  std::sort(held.begin(), held.end());
  const double low_w = held.empty() ? track_.low_w : std::min(held.front(), track_.high_w);
  const double high_w = std::max(track_.most_w, low_w + 1e-3);
  apart_w_ = (high_w - low_w) / (kEvenLevels - 1);
  off_w_ = kOffLevel * apart_w_;
  struct Group {
    double sum_w;
    size_t count;
  };
  std::vector<Group> groups;
  for (size_t i = 0; i < held.size(); ++i) {
    const bool near =
        i > 0 && held[i] - held[i - 1] < 0.1 * apart_w_ &&
        held[i] - groups.back().sum_w / static_cast<double>(groups.back().count) < 0.3 * apart_w_;
    if (near) {
      groups.back().sum_w += held[i];
      ++groups.back().count;
    } else {
      groups.push_back({held[i], 1});
    }
  }
  std::sort(groups.begin(), groups.end(),
            [](const Group& a, const Group& b) { return a.count > b.count; });
  if (groups.size() > kHeldLevels) groups.resize(kHeldLevels);
  std::vector<double> levels;
  for (const Group& group : groups)
    levels.push_back(group.sum_w / static_cast<double>(group.count));
  for (size_t i = 0; i < kEvenLevels; ++i) {
    const double level_w = low_w + apart_w_ * static_cast<double>(i);
    const bool taken = std::any_of(levels.begin(), levels.end(), [&](double other_w) {
      return std::abs(other_w - level_w) < 0.25 * apart_w_;
    });
    if (!taken) levels.push_back(level_w);
  }
  std::sort(levels.begin(), levels.end());
  n_ = levels.size();
  std::copy(levels.begin(), levels.end(), power_w_.begin());
  const auto all = static_cast<double>(n_);
  for (size_t j = 0; j < n_; ++j) {
    chosen_[j] = present_[j] = 1 / all;
    rate_hz_[j] = 0.3 / seconds(track_.period_ns);
  }
}

Levels::Model::Grid Levels::Model::lay(size_t interval) const {
  const Knot& from = track_.knots[interval];
  const Knot& to = track_.knots[interval + 1];
  Grid grid;
  grid.width_s = seconds(to.t_ns - from.t_ns);
  grid.energy_j = to.energy_j - from.energy_j;
  grid.marked.fill(false);
  for (size_t i = 0; i <= kCells; ++i) {
    grid.border_s[i] = grid.width_s * static_cast<double>(i) / kCells;
  }
  auto mark = std::upper_bound(marks_.begin(), marks_.end(), from.t_ns);
  size_t free = 1;
  for (; mark != marks_.end() && *mark < to.t_ns && free < kCells; ++mark) {
    const double into_s = seconds(*mark - from.t_ns);
    const auto near = static_cast<size_t>(std::lround(into_s / grid.width_s * kCells));
    const size_t at = std::clamp(near, free, kCells - 1);
    grid.border_s[at] = into_s;
    grid.marked[at] = true;
    free = at + 1;
  }
  // Marks that crowd push borders over their neighbours: none may run backwards.
  const double least_s = 1e-4 * grid.width_s / kCells;
  for (size_t i = 1; i < kCells; ++i) {
    grid.border_s[i] = std::max(grid.border_s[i], grid.border_s[i - 1] + least_s);
  }
  for (size_t i = kCells - 1; i > 0; --i) {
    grid.border_s[i] = std::min(grid.border_s[i], grid.border_s[i + 1] - least_s);
  }
  const double power_w = grid.energy_j / grid.width_s;
  const double stamps_j = kStampShare * power_w * std::hypot(from.half_s, to.half_s);
  const double level_j = off_w_ * grid.width_s;
  const double error_j = std::hypot(stamps_j, level_j) + track_.quantum_j;
  const double above_j = std::max(grid.energy_j - power_w_[0] * grid.width_s, 0.0);
  grid.bin_j = (above_j + 3 * error_j) / kBins;
  const double error = std::max(error_j / grid.bin_j, 0.5);
  for (size_t b = 0; b < kStride; ++b) {
    const double off = (static_cast<double>(b) - above_j / grid.bin_j) / error;
    grid.likely[b] = static_cast<float>(std::exp(-0.5 * off * off)) + 1e-12F;
  }
  return grid;
}

// The share of each power that is left at a border.
void Levels::Model::leave(double width_s, bool marked,
                          std::array<float, kMostLevels>& share) const {
  for (size_t j = 0; j < n_; ++j) {
    const double by_itself = by_chance(rate_hz_[j] * width_s);
    share[j] = static_cast<float>(marked ? at_mark_ + (1 - at_mark_) * by_itself : by_itself);
  }
}

// A change goes to another power, by how often that one is chosen.
void Levels::Model::jump(Front& front, const std::array<float, kMostLevels>& share) const {
  std::array<float, kStride> all{};
  std::array<float, kMostLevels> part;
  for (size_t j = 0; j < n_; ++j) {
    part[j] = share[j] / static_cast<float>(1 - chosen_[j]);
    const float* const row = &front[j * kStride];
    for (size_t b = 0; b < kStride; ++b) all[b] += part[j] * row[b];
  }
  for (size_t j = 0; j < n_; ++j) {
    const auto to = static_cast<float>(chosen_[j]);
    const float keep = 1 - share[j] - to * part[j];
    float* const row = &front[j * kStride];
    for (size_t b = 0; b < kStride; ++b)
      row[b] = std::max(keep * row[b] + to * all[b] - kNothing, 0.0F);
  }
}

void Levels::Model::jump_back(Front& front, const std::array<float, kMostLevels>& share) const {
  std::array<float, kStride> all{};
  for (size_t j = 0; j < n_; ++j) {
    const auto to = static_cast<float>(chosen_[j]);
    const float* const row = &front[j * kStride];
    for (size_t b = 0; b < kStride; ++b) all[b] += to * row[b];
  }
  for (size_t j = 0; j < n_; ++j) {
    const float part = share[j] / static_cast<float>(1 - chosen_[j]);
    const float keep = 1 - share[j] - static_cast<float>(chosen_[j]) * part;
    float* const row = &front[j * kStride];
    for (size_t b = 0; b < kStride; ++b)
      row[b] = std::max(keep * row[b] + part * all[b] - kNothing, 0.0F);
  }
}

// One cell's energy, which rarely is a whole number of bins: shared by the two beside it.
void Levels::Model::shift(const Grid& grid, size_t cell, Front& front) const {
  const double width_s = grid.border_s[cell + 1] - grid.border_s[cell];
  std::array<float, 2 * kStride> padded{};
  for (size_t j = 0; j < n_; ++j) {
    const double bins = std::min((power_w_[j] - power_w_[0]) * width_s / grid.bin_j, kBins + 0.0);
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

void Levels::Model::shift_back(const Grid& grid, size_t cell, Front& front) const {
  const double width_s = grid.border_s[cell + 1] - grid.border_s[cell];
  std::array<float, 2 * kStride> padded{};
  for (size_t j = 0; j < n_; ++j) {
    const double bins = std::min((power_w_[j] - power_w_[0]) * width_s / grid.bin_j, kBins + 0.0);
    const auto whole = static_cast<size_t>(bins);
    const auto rest = static_cast<float>(bins - static_cast<double>(whole));
    float* const row = &front[j * kStride];
    std::copy_n(row, kStride, &padded[0]);
    const float* const from = &padded[whole];
    for (size_t b = 0; b < kStride; ++b) row[b] = (1 - rest) * from[b] + rest * from[b + 1];
  }
}

// From the powers' weights at the interval's beginning to those at its end. `fronts` are before the
// change at each border, if there is one.
void Levels::Model::forward(const Grid& grid, Message& message, std::vector<Front>* fronts) const {
  Front front(n_ * kStride);
  for (size_t j = 0; j < n_; ++j) front[j * kStride] = static_cast<float>(message[j]);
  std::array<float, kMostLevels> share;
  for (size_t cell = 0; cell < kCells; ++cell) {
    if (fronts != nullptr) (*fronts)[cell] = front;
    leave(grid.border_s[cell + 1] - grid.border_s[cell], grid.marked[cell], share);
    jump(front, share);
    shift(grid, cell, front);
    if (cell % kOften == 0) normalise(front);
  }
  if (fronts != nullptr) (*fronts)[kCells] = front;
  double all = 0;
  for (size_t j = 0; j < n_; ++j) {
    all += message[j] = dot(&front[j * kStride], grid.likely.data());
  }
  for (size_t j = 0; j < n_; ++j) message[j] = all > 0 ? message[j] / all : present_[j];
}

void Levels::Model::backward(const Grid& grid, Message& message, std::vector<Front>* fronts,
                             std::vector<Front>* changed) const {
  Front front(n_ * kStride);
  for (size_t j = 0; j < n_; ++j) {
    for (size_t b = 0; b < kStride; ++b) {
      front[j * kStride + b] = static_cast<float>(message[j]) * grid.likely[b];
    }
  }
  std::array<float, kMostLevels> share;
  for (size_t cell = kCells; cell-- > 0;) {
    if (fronts != nullptr) (*fronts)[cell + 1] = front;
    shift_back(grid, cell, front);
    if (changed != nullptr) (*changed)[cell] = front;
    leave(grid.border_s[cell + 1] - grid.border_s[cell], grid.marked[cell], share);
    jump_back(front, share);
    if (cell % kOften == 0) normalise(front);
  }
  if (fronts != nullptr) (*fronts)[0] = front;
  double all = 0;
  for (size_t j = 0; j < n_; ++j) all += message[j] = front[j * kStride];
  for (size_t j = 0; j < n_; ++j) message[j] = all > 0 ? message[j] / all : 1;
}

// Adds up how often each power was left and chosen, and how many marks are changes.
void Levels::Model::count(const Grid& grid, const std::vector<Front>& ahead,
                          const std::vector<Front>& behind, Sums& sums) const {
  std::array<float, kMostLevels> share;
  std::array<double, kMostLevels> time_s{};
  for (size_t cell = 0; cell < kCells; ++cell) {
    const Front& after = behind[cell];
    const double width_s = grid.border_s[cell + 1] - grid.border_s[cell];
    leave(width_s, grid.marked[cell], share);
    std::array<float, kStride> to{}, from{};
    double stays = 0, moves = 0;
    std::array<double, kMostLevels> kept{}, left{}, entered{};
    for (size_t j = 0; j < n_; ++j) {
      const auto chosen = static_cast<float>(chosen_[j]);
      const float part = share[j] / (1 - chosen);
      for (size_t b = 0; b < kStride; ++b) {
        to[b] += chosen * after[j * kStride + b];
        from[b] += part * ahead[cell][j * kStride + b];
      }
    }
    for (size_t j = 0; j < n_; ++j) {
      const auto chosen = static_cast<float>(chosen_[j]);
      const float part = share[j] / (1 - chosen);
      const float* const here = &ahead[cell][j * kStride];
      const float* const there = &after[j * kStride];
      const double stay = dot(here, there);
      const double leaves = dot(here, to.data()) - chosen * stay;
      const double enters = dot(from.data(), there) - part * stay;
      stays += kept[j] = (1 - share[j]) * stay;
      left[j] = std::max(part * leaves, 0.0);
      entered[j] = std::max(chosen * enters, 0.0);
      moves += left[j];
    }
    const double all = stays + moves;
    if (!(all > 0)) continue;
    for (size_t j = 0; j < n_; ++j) {
      time_s[j] += width_s * (kept[j] + entered[j]) / all;
      // What is left at a mark because of the mark says nothing of how long a power lasts.
      double own = 1;
      if (grid.marked[cell]) {
        const double by_itself = by_chance(rate_hz_[j] * width_s);
        own = (1 - at_mark_) * by_itself / share[j];
        sums.at_marks += left[j] / all * (1 - own);
      }
      sums.left[j] += own * left[j] / all;
      sums.entered[j] += entered[j] / all;
    }
    sums.marks += grid.marked[cell];
  }
  double rest_j = grid.energy_j;
  for (size_t j = 0; j < n_; ++j) rest_j -= power_w_[j] * time_s[j];
  for (size_t j = 0; j < n_; ++j) {
    sums.time_s[j] += time_s[j];
    sums.rest_js[j] += time_s[j] * rest_j;
    for (size_t i = 0; i < n_; ++i) sums.time2_s2(i, j) += time_s[i] * time_s[j];
  }
}

void Levels::Model::renew(const Sums& sums) {
  double entered = 0, time_s = 0;
  for (size_t j = 0; j < n_; ++j) {
    entered += sums.entered[j];
    time_s += sums.time_s[j];
  }
  const double few = 0.5 / static_cast<double>(n_);
  const double update_s = seconds(track_.period_ns);
  double left = 0;
  for (size_t j = 0; j < n_; ++j) left += sums.left[j];
  const double usual_hz = (left + 0.5) / (time_s + update_s);
  for (size_t j = 0; j < n_; ++j) {
    chosen_[j] = std::min((sums.entered[j] + few) / (entered + 0.5), 0.95);
    present_[j] = (sums.time_s[j] + few * update_s) / (time_s + 0.5 * update_s);
    rate_hz_[j] = (sums.left[j] + 1) / (sums.time_s[j] + 1 / usual_hz);
  }
  at_mark_ = std::clamp((sums.at_marks + 0.5) / (sums.marks + 1), kLeastMark, kMostMark);
}

// Towards the powers that leave the least of the energies.
void Levels::Model::move_levels(const Sums& sums) {
  const double width_s = seconds(track_.period_ns);
  Matrix matrix(n_), inverse(n_);
  for (size_t i = 0; i < n_; ++i) {
    for (size_t j = 0; j < n_; ++j) matrix(i, j) = sums.time2_s2(i, j);
    matrix(i, i) += width_s * width_s;
  }
  if (!invert(matrix, inverse)) return;
  std::array<double, kMostLevels> moved{};
  for (size_t i = 0; i < n_; ++i) {
    for (size_t j = 0; j < n_; ++j) moved[i] += inverse(i, j) * sums.rest_js[j];
    moved[i] = std::clamp(moved[i], -0.5 * apart_w_, 0.5 * apart_w_);
  }
  for (size_t i = 0; i < n_; ++i) power_w_[i] = std::max(power_w_[i] + moved[i], 0.0);
  off_w_ = std::max(kOffGain * off_w_, kOffLeast * apart_w_);
  const auto least =
      std::min_element(power_w_.begin(), power_w_.begin() + static_cast<ptrdiff_t>(n_));
  const auto at = static_cast<size_t>(least - power_w_.begin());
  std::swap(power_w_[0], power_w_[at]);
  std::swap(chosen_[0], chosen_[at]);
  std::swap(rate_hz_[0], rate_hz_[at]);
  std::swap(present_[0], present_[at]);
}

void Levels::Model::prune() {
  size_t kept = 0;
  for (size_t j = 0; j < n_; ++j) {
    // The lowest one stays: the others are measured from it.
    if (j > 0 && chosen_[j] < kHardly && present_[j] < kHardly) continue;
    power_w_[kept] = power_w_[j];
    chosen_[kept] = chosen_[j];
    rate_hz_[kept] = rate_hz_[j];
    present_[kept++] = present_[j];
  }
  if (kept >= 2) n_ = kept;
}

// Stretches of usable intervals in a row, none longer than a block.
std::vector<Levels::Model::Block> Levels::Model::find_blocks() const {
  std::vector<Block> blocks;
  size_t row = 0;
  for (size_t i = 0; i + 1 < track_.knots.size(); ++i) {
    if (!usable(i)) {
      row = 0;
    } else if (row > 0 && row < kBlock) {
      ++blocks.back().count;
      ++row;
    } else {
      blocks.push_back({i, 1});
      row = 1;
    }
  }
  std::erase_if(blocks, [](const Block& block) { return block.count < kLeastBlock; });
  return blocks;
}

bool Levels::Model::learn() {
  if (track_.quantum_j <= 0 || track_.period_ns <= 0 || marks_.empty()) return false;
  const std::vector<Block> all = find_blocks();
  if (all.empty()) return false;
  find_levels();
  if (n_ < 2) return false;
  std::vector<Block> blocks;
  const size_t wanted = std::min(kBlocks, all.size());
  for (size_t i = 0; i < wanted; ++i) blocks.push_back(all[i * all.size() / wanted]);
  std::vector<std::vector<Front>> ahead(kBlock, std::vector<Front>(kCells + 1));
  std::vector<Front> behind(kCells + 1);
  for (int round = 0; round < kRounds; ++round) {
    Sums sums;
    for (const Block& block : blocks) {
      std::vector<Grid> grids;
      for (size_t i = 0; i < block.count; ++i) grids.push_back(lay(block.first + i));
      Message message = present_;
      for (size_t i = 0; i < block.count; ++i) forward(grids[i], message, &ahead[i]);
      message.fill(1);
      for (size_t i = block.count; i-- > 0;) {
        backward(grids[i], message, nullptr, &behind);
        count(grids[i], ahead[i], behind, sums);
      }
    }
    renew(sums);
    move_levels(sums);
    if (round >= kPruneFrom) prune();
  }
  return true;
}

bool Levels::Model::draw(size_t interval, Course& course) {
  if (!usable(interval)) return false;
  if (!tried_) known_ = learn();
  tried_ = true;
  if (!known_) return false;
  const size_t intervals = track_.knots.size() - 1;
  size_t from = interval, to = interval + 1;
  while (from > 0 && interval - from < kReach && usable(from - 1)) --from;
  while (to < intervals && to - interval <= kReach && usable(to)) ++to;
  Message message = present_, back;
  for (size_t i = from; i < interval; ++i) forward(lay(i), message, nullptr);
  back.fill(1);
  for (size_t i = to; i-- > interval + 1;) backward(lay(i), back, nullptr, nullptr);
  const Grid grid = lay(interval);
  std::vector<Front> ahead(kCells + 1), behind(kCells + 1);
  forward(grid, message, &ahead);
  backward(grid, back, &behind, nullptr);
  course.borders.clear();
  std::array<double, kStride> weight;
  double end_j = 0;
  for (size_t i = kCells; i > 0; --i) {
    double all = 0, sum = 0;
    for (size_t b = 0; b < kStride; ++b) {
      weight[b] = 0;
      for (size_t j = 0; j < n_; ++j) {
        weight[b] += double{ahead[i][j * kStride + b]} * behind[i][j * kStride + b];
      }
      all += weight[b];
      sum += weight[b] * static_cast<double>(b);
    }
    if (!(all > 0)) return false;
    const double mean = sum / all;
    const auto quantile = [&](double share) {
      double below = 0;
      for (size_t b = 0; b < kStride; ++b) {
        if (below + weight[b] >= share * all) {
          return static_cast<double>(b) - 0.5 + (share * all - below) / weight[b];
        }
        below += weight[b];
      }
      return static_cast<double>(kBins);
    };
    const double least_j = power_w_[0] * grid.border_s[i];
    if (i == kCells) {
      end_j = least_j + mean * grid.bin_j;
      if (!(end_j > 0)) return false;
      continue;
    }
    const double energy_j = (least_j + mean * grid.bin_j) * grid.energy_j / end_j;
    course.borders.push_back({grid.border_s[i], std::clamp(energy_j, 0.0, grid.energy_j),
                              std::max(mean - quantile(kTail), 0.0) * grid.bin_j,
                              std::max(quantile(1 - kTail) - mean, 0.0) * grid.bin_j});
  }
  std::reverse(course.borders.begin(), course.borders.end());
  return true;
}

Levels::Levels(const Track& track, std::span<const int64_t> marks)
    : model_(std::make_unique<Model>(track, marks)) {}
Levels::Levels(Levels&&) noexcept = default;
Levels& Levels::operator=(Levels&&) noexcept = default;
Levels::~Levels() = default;

bool Levels::draw(size_t interval, Course& course) { return model_->draw(interval, course); }

}  // namespace pyprof
