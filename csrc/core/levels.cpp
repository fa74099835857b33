#include "core/levels.h"

#include <algorithm>
#include <cmath>

#include "core/chain.h"
#include "core/linear.h"
#include "core/track.h"

namespace pyprof {
namespace {

constexpr size_t kEvenLevels = 16, kHeldLevels = 8;  // powers: spread evenly, and held ones
static_assert(kEvenLevels + kHeldLevels <= kMostLevels);
// Cells of the interval that is drawn, of those beside it, and of those to learn from.
constexpr size_t kDrawCells = 20, kBesideCells = 8, kLearnCells = 16;
constexpr size_t kReach = 2;  // intervals on each side that tell about one
constexpr size_t kBlocks = 6, kBlock = 16, kLeastBlock = 4;  // of intervals, to learn from
constexpr int kRounds = 6, kPruneFrom = 1;
constexpr double kHardly = 1e-3;      // a power so rarely taken is none
constexpr double kFineBracket = 0.3;  // of an interval: with wider ones nothing can be told
constexpr double kStampShare = 0.55;  // standard error of a stamp, in half brackets
// Standard error of a power, in distances of the even ones: at first, by round, and at last.
constexpr double kOffLevel = 0.25, kOffGain = 0.7, kOffLeast = 0.03;
constexpr double kLeastMark = 0.02, kMostMark = 0.98;
constexpr double kTail = 0.01;  // of what is likely, on each side: few powers are not all there are

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

}  // namespace

class Levels::Model {
 public:
  Model(const Track& track, std::span<const int64_t> marks) : track_(track), marks_(marks) {}
  bool draw(size_t interval, Course& course);
  double changes();

 private:
  bool known();
  bool learn();
  struct Block {
    size_t first, count;
  };
  bool usable(size_t interval) const;
  std::vector<Block> find_blocks() const;
  void find_levels();
  Grid lay(size_t interval, size_t cells) const;
  void renew(const Sums& sums);
  void move_levels(const Sums& sums);
  void prune();

  const Track& track_;
  const std::span<const int64_t> marks_;
  bool tried_ = false, known_ = false;
  double apart_w_ = 0, off_w_ = 0;
  Chain chain_;
  std::vector<Front> ahead_, behind_;
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
  double least_w = track_.high_w, least_noise_w = 0;
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
    if (power_w < least_w) {
      least_w = power_w;
      least_noise_w = noise_w;
    }
    before_w = power_w;
    noise_before_w = noise_w;
  }
  std::sort(held.begin(), held.end());
  double low_w = held.empty() ? track_.low_w : std::min(held.front(), track_.high_w);
  // A power that only parts of intervals have lies below the lowest that any of them shows.
  if (low_w - least_w > least_noise_w) low_w = std::max(2 * least_w - low_w, 0.0);
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
  chain_.size = levels.size();
  std::copy(levels.begin(), levels.end(), chain_.power_w.begin());
  const auto all = static_cast<double>(chain_.size);
  for (size_t j = 0; j < chain_.size; ++j) {
    chain_.chosen[j] = chain_.present[j] = 1 / all;
    chain_.rate_hz[j] = 0.3 / seconds(track_.period_ns);
  }
}

Grid Levels::Model::lay(size_t interval, size_t cells) const {
  const Knot& from = track_.knots[interval];
  const Knot& to = track_.knots[interval + 1];
  Grid grid;
  grid.cells = cells;
  grid.width_s = seconds(to.t_ns - from.t_ns);
  grid.energy_j = to.energy_j - from.energy_j;
  grid.marked.fill(false);
  for (size_t i = 0; i <= cells; ++i) {
    grid.border_s[i] = grid.width_s * static_cast<double>(i) / static_cast<double>(cells);
  }
  auto mark = std::upper_bound(marks_.begin(), marks_.end(), from.t_ns);
  size_t free = 1;
  for (; mark != marks_.end() && *mark < to.t_ns && free < cells; ++mark) {
    const double into_s = seconds(*mark - from.t_ns);
    const auto near =
        static_cast<size_t>(std::lround(into_s / grid.width_s * static_cast<double>(cells)));
    const size_t at = std::clamp(near, free, cells - 1);
    grid.border_s[at] = into_s;
    grid.marked[at] = true;
    free = at + 1;
  }
  // Marks that crowd push borders over their neighbours: none may run backwards.
  const double least_s = 1e-4 * grid.width_s / static_cast<double>(cells);
  for (size_t i = 1; i < cells; ++i) {
    grid.border_s[i] = std::max(grid.border_s[i], grid.border_s[i - 1] + least_s);
  }
  for (size_t i = cells - 1; i > 0; --i) {
    grid.border_s[i] = std::min(grid.border_s[i], grid.border_s[i + 1] - least_s);
  }
  const double power_w = grid.energy_j / grid.width_s;
  const double stamps_j = kStampShare * power_w * std::hypot(from.half_s, to.half_s);
  const double level_j = off_w_ * grid.width_s;
  const double error_j = std::hypot(stamps_j, level_j) + track_.quantum_j;
  const double above_j = std::max(grid.energy_j - chain_.power_w[0] * grid.width_s, 0.0);
  grid.bin_j = (above_j + 3 * error_j) / kBins;
  const double error = std::max(error_j / grid.bin_j, 0.5);
  for (size_t b = 0; b < kStride; ++b) {
    const double off = (static_cast<double>(b) - above_j / grid.bin_j) / error;
    grid.likely[b] = static_cast<float>(std::exp(-0.5 * off * off)) + 1e-12F;
  }
  return grid;
}

void Levels::Model::renew(const Sums& sums) {
  double entered = 0, time_s = 0;
  for (size_t j = 0; j < chain_.size; ++j) {
    entered += sums.entered[j];
    time_s += sums.time_s[j];
  }
  const double few = 0.5 / static_cast<double>(chain_.size);
  const double update_s = seconds(track_.period_ns);
  double left = 0;
  for (size_t j = 0; j < chain_.size; ++j) left += sums.left[j];
  const double usual_hz = (left + 0.5) / (time_s + update_s);
  for (size_t j = 0; j < chain_.size; ++j) {
    chain_.chosen[j] = std::min((sums.entered[j] + few) / (entered + 0.5), 0.95);
    chain_.present[j] = (sums.time_s[j] + few * update_s) / (time_s + 0.5 * update_s);
    chain_.rate_hz[j] = (sums.left[j] + 1) / (sums.time_s[j] + 1 / usual_hz);
  }
  chain_.at_mark = std::clamp((sums.at_marks + 0.5) / (sums.marks + 1), kLeastMark, kMostMark);
}

// Towards the powers that leave the least of the energies.
void Levels::Model::move_levels(const Sums& sums) {
  const double width_s = seconds(track_.period_ns);
  Matrix matrix(chain_.size), inverse(chain_.size);
  for (size_t i = 0; i < chain_.size; ++i) {
    for (size_t j = 0; j < chain_.size; ++j) matrix(i, j) = sums.time2_s2(i, j);
    matrix(i, i) += width_s * width_s;
  }
  if (!invert(matrix, inverse)) return;
  std::array<double, kMostLevels> moved{};
  for (size_t i = 0; i < chain_.size; ++i) {
    for (size_t j = 0; j < chain_.size; ++j) moved[i] += inverse(i, j) * sums.rest_js[j];
    moved[i] = std::clamp(moved[i], -0.5 * apart_w_, 0.5 * apart_w_);
  }
  for (size_t i = 0; i < chain_.size; ++i)
    chain_.power_w[i] = std::max(chain_.power_w[i] + moved[i], 0.0);
  off_w_ = std::max(kOffGain * off_w_, kOffLeast * apart_w_);
  const auto least = std::min_element(chain_.power_w.begin(),
                                      chain_.power_w.begin() + static_cast<ptrdiff_t>(chain_.size));
  const auto at = static_cast<size_t>(least - chain_.power_w.begin());
  std::swap(chain_.power_w[0], chain_.power_w[at]);
  std::swap(chain_.chosen[0], chain_.chosen[at]);
  std::swap(chain_.rate_hz[0], chain_.rate_hz[at]);
  std::swap(chain_.present[0], chain_.present[at]);
}

void Levels::Model::prune() {
  size_t kept = 0;
  for (size_t j = 0; j < chain_.size; ++j) {
    // The lowest one stays: the others are measured from it.
    if (j > 0 && chain_.chosen[j] < kHardly && chain_.present[j] < kHardly) continue;
    chain_.power_w[kept] = chain_.power_w[j];
    chain_.chosen[kept] = chain_.chosen[j];
    chain_.rate_hz[kept] = chain_.rate_hz[j];
    chain_.present[kept++] = chain_.present[j];
  }
  if (kept >= 2) chain_.size = kept;
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
  if (chain_.size < 2) return false;
  std::vector<Block> blocks;
  const size_t wanted = std::min(kBlocks, all.size());
  for (size_t i = 0; i < wanted; ++i) blocks.push_back(all[i * all.size() / wanted]);
  std::vector<std::vector<Front>> ahead(kBlock, std::vector<Front>(kLearnCells + 1));
  std::vector<Front> behind(kLearnCells + 1);
  for (int round = 0; round < kRounds; ++round) {
    Sums sums;
    for (const Block& block : blocks) {
      std::vector<Grid> grids;
      for (size_t i = 0; i < block.count; ++i) grids.push_back(lay(block.first + i, kLearnCells));
      Message message = chain_.present;
      for (size_t i = 0; i < block.count; ++i) chain_.forward(grids[i], message, &ahead[i]);
      message.fill(1);
      for (size_t i = block.count; i-- > 0;) {
        chain_.backward(grids[i], message, nullptr, &behind);
        chain_.add_up(grids[i], ahead[i], behind, sums);
      }
    }
    renew(sums);
    move_levels(sums);
    if (round >= kPruneFrom) prune();
  }
  return true;
}

bool Levels::Model::known() {
  if (!tried_) known_ = learn();
  tried_ = true;
  return known_;
}

double Levels::Model::changes() {
  if (!known()) return 0;
  double each_s = 0;
  for (size_t j = 0; j < chain_.size; ++j) each_s += chain_.present[j] * chain_.rate_hz[j];
  return chain_.at_mark + each_s * seconds(track_.period_ns);
}

bool Levels::Model::draw(size_t interval, Course& course) {
  if (!usable(interval) || !known()) return false;
  const size_t intervals = track_.knots.size() - 1;
  size_t from = interval, to = interval + 1;
  while (from > 0 && interval - from < kReach && usable(from - 1)) --from;
  while (to < intervals && to - interval <= kReach && usable(to)) ++to;
  Message message = chain_.present, back;
  for (size_t i = from; i < interval; ++i) chain_.forward(lay(i, kBesideCells), message, nullptr);
  back.fill(1);
  for (size_t i = to; i-- > interval + 1;)
    chain_.backward(lay(i, kBesideCells), back, nullptr, nullptr);
  const Grid grid = lay(interval, kDrawCells);
  ahead_.resize(kDrawCells + 1);
  behind_.resize(kDrawCells + 1);
  chain_.forward(grid, message, &ahead_);
  chain_.backward(grid, back, &behind_, nullptr);
  course.borders.clear();
  std::array<float, kStride> weight;
  double end_j = 0;
  for (size_t i = kDrawCells; i > 0; --i) {
    weight.fill(0);
    for (size_t j = 0; j < chain_.size; ++j) {
      const float* const ahead = &ahead_[i][j * kStride];
      const float* const behind = &behind_[i][j * kStride];
      for (size_t b = 0; b < kStride; ++b) weight[b] += ahead[b] * behind[b];
    }
    double all = 0, sum = 0;
    for (size_t b = 0; b < kStride; ++b) {
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
    const double least_j = chain_.power_w[0] * grid.border_s[i];
    if (i == kDrawCells) {
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
double Levels::changes() { return model_->changes(); }

}  // namespace pyprof
