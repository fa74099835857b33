#include "core/deconvolve.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace pyprof {
namespace {

constexpr size_t kCells = Course::kCells;
constexpr size_t kMostNodes = (Window::kMost - 1) * kCells + 1;
constexpr double kMarkCost = 0.3;       // of a change of power at a mark, elsewhere 1
constexpr double kSmallest = 0.01;      // of the spread of powers: smaller changes cost nothing
constexpr double kStampShare = 0.5;     // standard error of a stamp, in half brackets
constexpr int kConvex = 6, kSharp = 8;  // rounds in which changes cost by their size; by number
constexpr double kSharpness = 0.3;      // the power of a change's size in the latter

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

// The energy at the borders of cells, in units of the spread of powers. It makes the least of
//   sum of weight x (change of power)^2 + sum over readings of ((energy - read) / error)^2,
// whose matrix has two diagonals beside the main one.
class Fit {
 public:
  Fit(const Window& window, double spread_w) : window_(window), spread_w_(spread_w) {}
  void lay_cells(std::span<const int64_t> marks);
  void run();
  double power(size_t cell) const { return (energy_[cell + 1] - energy_[cell]) / width(cell); }
  double border_s(size_t node) const { return border_s_[node]; }

 private:
  double width(size_t cell) const { return border_s_[cell + 1] - border_s_[cell]; }
  size_t nodes() const { return (window_.count - 1) * kCells + 1; }
  void weigh(double sharpness);
  void solve();

  const Window& window_;
  const double spread_w_;
  std::array<double, kMostNodes> border_s_;
  std::array<double, kMostNodes> cost_, weight_, energy_;
};

// Cells of equal width, whose borders are moved on to the marks.
void Fit::lay_cells(std::span<const int64_t> marks) {
  std::fill_n(cost_.begin(), nodes(), 1.0);
  for (size_t r = 0; r + 1 < window_.count; ++r) {
    const int64_t from_ns = window_.t_ns[r], to_ns = window_.t_ns[r + 1];
    const double width_s = seconds(to_ns - from_ns);
    const double start_s = seconds(from_ns - window_.t_ns[0]);
    double* const border = &border_s_[r * kCells];
    for (size_t i = 0; i < kCells; ++i) {
      border[i] = start_s + width_s * static_cast<double>(i) / kCells;
    }
    auto mark = std::upper_bound(marks.begin(), marks.end(), from_ns);
    size_t free = 1;
    for (; mark != marks.end() && *mark < to_ns && free < kCells; ++mark) {
      const double share = seconds(*mark - from_ns) / width_s;
      const auto near = static_cast<size_t>(std::lround(share * kCells));
      const size_t at = std::clamp(near, free, kCells - 1);
      border[at] = start_s + share * width_s;
      cost_[r * kCells + at] = kMarkCost;
      free = at + 1;
    }
    // Marks that crowd push borders over their neighbours: none may run backwards.
    const double least_s = 1e-4 * width_s / kCells;
    for (size_t i = 1; i < kCells; ++i) {
      border[i] = std::max(border[i], border[i - 1] + least_s);
    }
    double next_s = start_s + width_s;
    for (size_t i = kCells - 1; i > 0; --i) {
      next_s = border[i] = std::min(border[i], next_s - least_s);
    }
  }
  border_s_[nodes() - 1] = seconds(window_.t_ns[window_.count - 1] - window_.t_ns[0]);
}

void Fit::weigh(double sharpness) {
  for (size_t i = 1; i + 1 < nodes(); ++i) {
    const double change = std::max(std::abs(power(i) - power(i - 1)), kSmallest);
    weight_[i] = cost_[i] * std::pow(change, sharpness - 2);
  }
}

// Cholesky of the five diagonals.
void Fit::solve() {
  const size_t n = nodes();
  std::array<double, kMostNodes> main{}, beside{}, second{};
  std::fill_n(energy_.begin(), n, 0.0);
  for (size_t i = 1; i + 1 < n; ++i) {
    const double left = 1 / width(i - 1), right = 1 / width(i), both = -left - right;
    const double weight = weight_[i];
    main[i - 1] += weight * left * left;
    main[i] += weight * both * both;
    main[i + 1] += weight * right * right;
    beside[i - 1] += weight * left * both;
    beside[i] += weight * both * right;
    second[i - 1] += weight * left * right;
  }
  for (size_t r = 0; r < window_.count; ++r) {
    const double error = kStampShare * window_.half_s[r] + window_.quantum_j / spread_w_ + 1e-6;
    main[r * kCells] += 1 / (error * error);
    energy_[r * kCells] = (window_.energy_j[r] - window_.energy_j[0]) / spread_w_ / (error * error);
  }
  for (size_t i = 0; i < n; ++i) {
    if (i >= 1) main[i] -= beside[i - 1] * beside[i - 1];
    if (i >= 2) main[i] -= second[i - 2] * second[i - 2];
    main[i] = std::sqrt(std::max(main[i], 1e-300));
    if (i >= 1) beside[i] -= second[i - 1] * beside[i - 1];
    beside[i] /= main[i];
    second[i] /= main[i];
    if (i >= 1) energy_[i] -= beside[i - 1] * energy_[i - 1];
    if (i >= 2) energy_[i] -= second[i - 2] * energy_[i - 2];
    energy_[i] /= main[i];
  }
  for (size_t i = n; i-- > 0;) {
    if (i + 1 < n) energy_[i] -= beside[i] * energy_[i + 1];
    if (i + 2 < n) energy_[i] -= second[i] * energy_[i + 2];
    energy_[i] /= main[i];
  }
}

void Fit::run() {
  std::copy_n(cost_.begin(), nodes(), weight_.begin());
  solve();
  for (int round = 0; round < kConvex + kSharp; ++round) {
    weigh(round < kConvex ? 1 : kSharpness);
    solve();
  }
}

double spread_of(const Window& window) {
  double low = window.limit_w, high = 0;
  for (size_t r = 0; r + 1 < window.count; ++r) {
    const double power_w = (window.energy_j[r + 1] - window.energy_j[r]) /
                           seconds(window.t_ns[r + 1] - window.t_ns[r]);
    low = std::min(low, power_w);
    high = std::max(high, power_w);
  }
  return high - low;
}

}  // namespace

bool deconvolve(const Window& window, std::span<const int64_t> marks, Course& course) {
  const double spread_w = spread_of(window);
  if (!(spread_w > 0)) return false;
  Fit fit(window, spread_w);
  fit.lay_cells(marks);
  fit.run();
  const size_t first = window.wanted * kCells;
  const double start_s = fit.border_s(first);
  double sum_j = 0;
  for (size_t i = 0; i < kCells; ++i) {
    course.border_s[i] = fit.border_s(first + i) - start_s;
    course.power_w[i] = std::clamp(fit.power(first + i) * spread_w, 0.0, window.limit_w);
    sum_j += course.power_w[i] * (fit.border_s(first + i + 1) - fit.border_s(first + i));
  }
  course.border_s[kCells] = fit.border_s(first + kCells) - start_s;
  const double whole_j = window.energy_j[window.wanted + 1] - window.energy_j[window.wanted];
  if (!(sum_j > 0) || !std::isfinite(sum_j)) return false;
  for (double& power_w : course.power_w) power_w *= whole_j / sum_j;
  return true;
}

}  // namespace pyprof
