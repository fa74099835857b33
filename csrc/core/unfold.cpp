#include "core/unfold.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/track.h"

namespace pyprof {
namespace {

constexpr double kMarkCost = 0.3;       // of a change of power at a mark, elsewhere 1
constexpr double kSmallest = 0.01;      // of the spread of powers: smaller changes cost nothing
constexpr double kStampShare = 0.5;     // standard error of a stamp, in half brackets
constexpr double kWindowError = 1e-3;   // of the window: as its width is known
constexpr int kConvex = 6, kSharp = 8;  // rounds in which changes cost by their size; by number
constexpr double kSharpness = 0.3;      // the power of a change's size in the latter
constexpr size_t kFewReadings = 5;
constexpr double kWindowReach = 0.15, kWindowStep = 0.025;  // of the window: widths that are tried
constexpr size_t kEnough = 400;                             // readings that tell the width
constexpr double kClearly = 1.4;                            // times less is left unexplained
constexpr double kExplained = 0.5;             // left of the readings, in their errors: nothing is
constexpr double kUnexplained = 15;            // the readings are no means over such a window
constexpr int64_t kLongestNs = 3'000'000'000;  // a longer window hides too much
constexpr size_t kChunk = 4096;                // cells that are solved at once
constexpr double kOverlap = 4;                 // windows on each side of a chunk

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

struct Sample {
  int64_t t_ns;
  double power_w, half_s;
};

// Readings in a row, one per update: a value that was given again is there again.
struct Run {
  std::vector<Sample> samples;
  size_t first_knot, last_knot;
};

std::vector<Run> find_runs(const Track& track) {
  std::vector<Run> runs;
  const auto& knots = track.knots;
  const int64_t late_ns = track.window_ns / 2;
  for (size_t i = 0; i + 1 < knots.size(); ++i) {
    if (knots[i].kind != Knot::Kind::kRamp) continue;
    if (runs.empty() || runs.back().last_knot != i) {
      runs.push_back({{{knots[i].t_ns + late_ns, knots[i].power_w, knots[i].half_s}}, i, i});
    }
    const Knot &from = knots[i], &to = knots[i + 1];
    // The last knot is the last value, held up to the last read: that is no reading of its own.
    const bool held = i + 2 < knots.size() && knots[i + 1].kind == Knot::Kind::kBeyond;
    const double periods = seconds(to.t_ns - from.t_ns) / seconds(track.period_ns);
    const auto steps = std::max<int64_t>(std::llround(periods), 1);
    for (int64_t k = 1; k <= steps && !held; ++k) {
      const double share = static_cast<double>(k) / static_cast<double>(steps);
      const int64_t at_ns =
          from.t_ns + std::llround(share * static_cast<double>(to.t_ns - from.t_ns));
      runs.back().samples.push_back({at_ns + late_ns,
                                     from.power_w + share * (double{to.power_w} - from.power_w),
                                     std::max<double>(from.half_s, to.half_s)});
    }
    runs.back().last_knot = i + 1;
  }
  return runs;
}

// Powers of cells between borders, from the means over `window_s` before each reading.
class Unfolding {
 public:
  Unfolding(std::span<const double> border_s, std::span<const double> cost,
            std::span<const Sample> samples, int64_t origin_ns, double window_s, double step_w)
      : border_s_(border_s), cost_(cost), window_s_(window_s) {
    for (const Sample& sample : samples) {
      low_w_ = std::min(low_w_, sample.power_w);
      high_w_ = std::max(high_w_, sample.power_w);
    }
    spread_w_ = std::max(high_w_ - low_w_, 1e-6 * high_w_ + 1e-9);
    for (const Sample& sample : samples) add(sample, seconds(sample.t_ns - origin_ns), step_w);
  }
  std::vector<double> solve();
  // Root of the mean square of what the powers leave of the readings, in their errors.
  double rest() const { return rest_; }

 private:
  struct Row {
    size_t from, to;  // cells
    double end_s, weight, mean;
  };
  void add(const Sample& sample, double end_s, double step_w);
  double overlap(const Row& row, size_t cell) const {
    const double from = std::max(border_s_[cell], row.end_s - window_s_);
    return std::max(std::min(border_s_[cell + 1], row.end_s) - from, 0.0) / window_s_;
  }

  std::span<const double> border_s_, cost_;
  const double window_s_;
  double low_w_ = 1e300, high_w_ = 0, spread_w_ = 0;
  std::vector<Row> rows_;
  double rest_ = 0;
};

void Unfolding::add(const Sample& sample, double end_s, double step_w) {
  const auto from = std::upper_bound(border_s_.begin(), border_s_.end(), end_s - window_s_ + 1e-9);
  const auto to = std::lower_bound(border_s_.begin(), border_s_.end(), end_s - 1e-9);
  if (from == border_s_.begin() || to == border_s_.end()) return;
  const double error = kStampShare * sample.half_s / window_s_ + step_w / spread_w_ + kWindowError;
  rows_.push_back({static_cast<size_t>(from - border_s_.begin()) - 1,
                   static_cast<size_t>(to - border_s_.begin()), end_s, 1 / (error * error),
                   sample.power_w / spread_w_});
}

std::vector<double> Unfolding::solve() {
  const size_t n = border_s_.size() - 1;
  size_t band = 1;
  for (const Row& row : rows_) band = std::max(band, row.to - row.from);
  std::vector<double> fixed(n * (band + 1)), matrix, right(n), power(n), weight(n, 1.0);
  const auto at = [&](std::vector<double>& m, size_t i, size_t j) -> double& {
    return m[i * (band + 1) + (i - j)];  // i >= j
  };
  for (const Row& row : rows_) {
    for (size_t i = row.from; i < row.to; ++i) {
      const double share = row.weight * overlap(row, i);
      right[i] += share * row.mean;
      for (size_t j = row.from; j <= i; ++j) at(fixed, i, j) += share * overlap(row, j);
    }
  }
  for (int round = 0; round <= kConvex + kSharp; ++round) {
    if (round > 0) {
      const double sharpness = round <= kConvex ? 1 : kSharpness;
      for (size_t i = 1; i < n; ++i) {
        const double change = std::max(std::abs(power[i] - power[i - 1]), kSmallest);
        weight[i] = std::pow(change, sharpness - 2);
      }
    }
    matrix = fixed;
    for (size_t i = 0; i < n; ++i) at(matrix, i, i) += 1e-9;
    for (size_t i = 1; i < n; ++i) {
      const double w = weight[i] * cost_[i];
      at(matrix, i, i) += w;
      at(matrix, i - 1, i - 1) += w;
      at(matrix, i, i - 1) -= w;
    }
    power = right;
    for (size_t i = 0; i < n; ++i) {
      const size_t from = i - std::min(i, band);
      for (size_t j = from; j <= i; ++j) {
        double sum = at(matrix, i, j);
        for (size_t k = std::max(from, j - std::min(j, band)); k < j; ++k) {
          sum -= at(matrix, i, k) * at(matrix, j, k);
        }
        at(matrix, i, j) = i == j ? std::sqrt(std::max(sum, 1e-30)) : sum / at(matrix, j, j);
      }
      for (size_t k = from; k < i; ++k) power[i] -= at(matrix, i, k) * power[k];
      power[i] /= at(matrix, i, i);
    }
    for (size_t i = n; i-- > 0;) {
      for (size_t k = i + 1; k < std::min(n, i + band + 1); ++k) {
        power[i] -= at(matrix, k, i) * power[k];
      }
      power[i] /= at(matrix, i, i);
    }
  }
  for (double& p : power) p = std::max(p * spread_w_, 0.0);
  double squares = 0;
  for (const Row& row : rows_) {
    double mean = 0;
    for (size_t i = row.from; i < row.to; ++i) mean += overlap(row, i) * power[i] / spread_w_;
    squares += row.weight * (mean - row.mean) * (mean - row.mean);
  }
  rest_ = std::sqrt(squares / static_cast<double>(std::max<size_t>(rows_.size(), 1)));
  return power;
}

// Cells from a window before the first reading to the last one, with borders at readings and marks.
void lay_cells(std::span<const Sample> samples, int64_t window_ns, int64_t period_ns,
               std::span<const int64_t> marks, std::vector<int64_t>& border_ns,
               std::vector<double>& cost) {
  std::vector<int64_t> plain;
  for (int64_t t = samples.front().t_ns - window_ns; t < samples.front().t_ns; t += period_ns) {
    plain.push_back(t);
  }
  for (const Sample& sample : samples) plain.push_back(sample.t_ns);
  const auto first = std::upper_bound(marks.begin(), marks.end(), plain.front());
  const auto last = std::lower_bound(first, marks.end(), plain.back());
  const int64_t apart_ns = period_ns / 20;
  auto mark = first;
  for (size_t i = 0; i < plain.size(); ++i) {
    for (; mark != last && *mark < plain[i]; ++mark) {
      if (*mark - border_ns.back() < apart_ns) {
        cost.back() = kMarkCost;
        continue;
      }
      border_ns.push_back(*mark);
      cost.push_back(kMarkCost);
    }
    if (!border_ns.empty() && plain[i] - border_ns.back() < apart_ns) continue;
    border_ns.push_back(plain[i]);
    cost.push_back(1);
  }
}

struct Solution {
  std::vector<int64_t> border_ns;
  std::vector<double> power_w;
  double rest = 0;  // the greatest of all chunks
};

Solution solve_run(std::span<const Sample> samples, const Track& track, int64_t window_ns,
                   std::span<const int64_t> marks) {
  Solution solution;
  std::vector<double> cost;
  lay_cells(samples, window_ns, track.period_ns, marks, solution.border_ns, cost);
  const std::span<const int64_t> border_ns = solution.border_ns;
  const size_t cells = border_ns.size() - 1;
  solution.power_w.resize(cells);
  const auto reach_ns = static_cast<int64_t>(kOverlap * static_cast<double>(window_ns));
  for (size_t from = 0; from < cells; from += kChunk) {
    const size_t to = std::min(from + kChunk, cells);
    const auto low =
        std::lower_bound(border_ns.begin(), border_ns.end(), border_ns[from] - reach_ns);
    const auto high =
        std::upper_bound(border_ns.begin(), border_ns.end(), border_ns[to] + reach_ns);
    const auto begin = static_cast<size_t>(low - border_ns.begin());
    const auto end = static_cast<size_t>(high - border_ns.begin());
    std::vector<double> border_s;
    for (size_t i = begin; i < end; ++i) {
      border_s.push_back(seconds(border_ns[i] - border_ns[begin]));
    }
    const auto earlier = [](const Sample& sample, int64_t t_ns) { return sample.t_ns < t_ns; };
    const auto first =
        std::lower_bound(samples.begin(), samples.end(), border_ns[begin] + window_ns, earlier);
    const auto last = std::lower_bound(first, samples.end(), border_ns[end - 1] + 1, earlier);
    Unfolding unfolding(border_s, std::span(cost).subspan(begin, end - begin),
                        std::span(first, last), border_ns[begin], seconds(window_ns), track.step_w);
    const std::vector<double> found = unfolding.solve();
    solution.rest = std::max(solution.rest, unfolding.rest());
    std::copy_n(found.begin() + static_cast<ptrdiff_t>(from - begin), to - from,
                solution.power_w.begin() + static_cast<ptrdiff_t>(from));
  }
  return solution;
}

// The sensor's own window may differ from what is documented: the one that leaves the least of the
// readings unexplained, if that is clearly less.
int64_t find_window(std::span<const Run> runs, const Track& track, std::span<const int64_t> marks) {
  const auto longer = [](const Run& a, const Run& b) {
    return a.samples.size() < b.samples.size();
  };
  const Run& run = *std::max_element(runs.begin(), runs.end(), longer);
  size_t from = 0;
  while (from + 1 < run.samples.size() && run.samples[from].power_w == run.samples[0].power_w) {
    ++from;
  }
  const size_t enough = std::min(kEnough, run.samples.size());
  from = std::min(from, run.samples.size() - enough);
  const std::span<const Sample> some = std::span(run.samples).subspan(from, enough);
  const auto rest_of = [&](double share) {
    const auto window_ns = std::llround(share * static_cast<double>(track.window_ns));
    return solve_run(some, track, window_ns, marks).rest;
  };
  const double documented = rest_of(1);
  double least = documented, best = 1;
  for (double share = 1 - kWindowReach; share < 1 + kWindowReach + 1e-9; share += kWindowStep) {
    const double rest = rest_of(share);
    if (rest < least) {
      least = rest;
      best = share;
    }
  }
  for (double step = kWindowStep / 2; step > kWindowStep / 10; step /= 2) {
    for (const double share : {best - step, best + step}) {
      const double rest = rest_of(share);
      if (rest < least) {
        least = rest;
        best = share;
      }
    }
  }
  if (documented < kClearly * least || documented < kExplained) best = 1;
  return std::llround(best * static_cast<double>(track.window_ns));
}

}  // namespace

void unfold(Track& track, std::span<const int64_t> marks) {
  if (track.window_ns <= track.period_ns + track.period_ns / 2 || track.period_ns <= 0 ||
      track.window_ns > kLongestNs) {
    return;
  }
  std::vector<Run> runs = find_runs(track);
  std::erase_if(runs, [](const Run& run) { return run.samples.size() < kFewReadings; });
  if (runs.empty()) return;
  const int64_t window_ns = find_window(runs, track, marks);
  std::vector<Knot> knots;
  size_t next = 0;
  double shift_j = 0;  // what the new knots hold more than the old ones
  for (const Run& run : runs) {
    const Solution solution = solve_run(run.samples, track, window_ns, marks);
    if (solution.rest > kUnexplained) return;
    const std::vector<int64_t>& border_ns = solution.border_ns;
    const std::vector<double>& power_w = solution.power_w;
    // What is before the run of readings stays, and what is after it where the run ended.
    const int64_t from_ns = track.knots[run.first_knot].t_ns;
    for (; next < run.first_knot; ++next) {
      knots.push_back(track.knots[next]);
      knots.back().energy_j += shift_j;
    }
    double energy_j = track.knots[run.first_knot].energy_j + shift_j;
    const int64_t until_ns = std::min(run.samples.back().t_ns, track.knots[run.last_knot].t_ns);
    bool begun = false;
    for (size_t i = 0; i + 1 < border_ns.size(); ++i) {
      const int64_t start_ns = std::max(border_ns[i], from_ns);
      const int64_t end_ns = std::min(border_ns[i + 1], until_ns);
      if (end_ns <= start_ns) continue;
      begun = true;
      knots.push_back({start_ns, energy_j, static_cast<float>(run.samples.front().half_s),
                       static_cast<float>(power_w[i]), Knot::Kind::kUnfolded});
      energy_j += power_w[i] * seconds(end_ns - start_ns);
    }
    if (!begun) return;
    // From the last reading to the end of what is known the last power goes on.
    Knot last = track.knots[run.last_knot];
    const double held_s = seconds(last.t_ns - until_ns);
    if (held_s > 0) {
      knots.push_back({until_ns, energy_j, last.half_s, static_cast<float>(power_w.back()),
                       Knot::Kind::kUnfolded});
      energy_j += power_w.back() * held_s;
    }
    shift_j = energy_j - last.energy_j;
    next = run.last_knot;
  }
  for (; next < track.knots.size(); ++next) {
    knots.push_back(track.knots[next]);
    knots.back().energy_j += shift_j;
  }
  track.knots = std::move(knots);
}

}  // namespace pyprof
