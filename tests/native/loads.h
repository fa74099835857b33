// Loads by name, stages in them, and the score of estimates against the truth.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "core/curve.h"
#include "simulate.h"

namespace simulate {

struct Moment {
  double from_s, to_s;
};

struct Piece {
  double updates, power_w;
};

// Loops that last so many updates of a sensor, again and again: "square of 2" is half of it at one
// power and half at another.
inline const std::vector<std::pair<const char*, std::vector<Piece>>>& loops_in_step() {
  static const std::vector<std::pair<const char*, std::vector<Piece>>> loops = {
      {"square of 1", {{0.5, 100}, {0.5, 600}}},
      {"square of 1.5", {{0.75, 100}, {0.75, 600}}},
      {"square of 2", {{1, 100}, {1, 600}}},
      {"square of 3", {{1.5, 100}, {1.5, 600}}},
      {"training of 4", {{1, 250}, {1.2, 420}, {1.8, 650}}},
      {"pauses of 2.5", {{2.2, 480}, {0.3, 120}}},
  };
  return loops;
}

// A load that lasts `length_s` at least. Those named "held" keep each power for three times
// `least_s`, loops in step last multiples of it.
inline Load make_load(const std::string& kind, double length_s, double least_s,
                      check::Random& random) {
  Load load;
  const double period_s = random.uniform(0.15, 3);
  const double held_s = 3 * least_s;
  for (const auto& [name, pieces] : loops_in_step()) {
    if (kind != name) continue;
    while (load.end_s() < length_s) {
      for (const Piece& piece : pieces) load.hold(piece.updates * least_s, piece.power_w);
    }
  }
  while (load.end_s() < length_s) {
    if (kind == "constant") {
      load.hold(length_s, 250);
    } else if (kind == "square") {
      load.hold(period_s / 2, 100);
      load.hold(period_s / 2, 600);
    } else if (kind == "square 1 Hz") {
      load.hold(0.5, 100);
      load.hold(0.5, 600);
    } else if (kind == "ramp") {
      load.hold(0.01, 100 + 5 * std::fmod(load.end_s(), 60));
    } else if (kind == "levels") {
      load.hold(random.uniform(0.3, 3), random.uniform(80, 700));
    } else if (kind == "isolated") {
      load.hold(random.uniform(1, 3), 60);
      load.hold(random.uniform(0.3, 2), random.uniform(300, 420));
    } else if (kind == "training") {
      load.hold(0.10 * random.uniform(0.9, 1.1), 250);
      load.hold(0.12 * random.uniform(0.9, 1.1), 420);
      load.hold(0.18 * random.uniform(0.9, 1.1), 650);
    } else if (kind == "telegraph") {
      load.hold(random.exponential(0.3), 100);
      load.hold(random.exponential(0.3), 600);
    } else if (kind == "slow telegraph") {
      load.hold(random.exponential(2), 100);
      load.hold(random.exponential(2), 600);
    } else if (kind == "bursts") {
      load.hold(random.exponential(0.3), 100);
      load.hold(random.exponential(0.05), 600);
    } else if (kind == "held levels") {
      load.hold(held_s * random.uniform(1, 4), random.uniform(80, 700));
    } else if (kind == "held telegraph") {
      load.hold(held_s + random.exponential(held_s), 100);
      load.hold(held_s + random.exponential(held_s), 600);
    } else if (kind == "held training") {
      load.hold(held_s * random.uniform(1, 1.2), 250);
      load.hold(1.2 * held_s * random.uniform(1, 1.2), 420);
      load.hold(1.8 * held_s * random.uniform(1, 1.2), 650);
    } else if (kind == "held square") {
      load.hold(1.37 * held_s, 100);
      load.hold(1.37 * held_s, 600);
    } else if (kind == "fast telegraph") {
      load.hold(random.exponential(0.02), 60);
      load.hold(random.exponential(0.02), 180);
    } else if (kind == "package") {
      load.hold(random.uniform(0.01, 0.4), random.uniform(0, 1) < 0.5 ? 60 : 180);
    } else if (kind == "uneven telegraph") {
      load.hold(random.exponential(0.6), 130);
      load.hold(random.exponential(0.12), 480);
    } else if (kind == "sawtooth") {
      for (int i = 0; i < 70; ++i) load.hold(0.01, 120 + 6.5 * i);
      load.hold(0.2, 120);
    } else if (kind == "inference") {
      load.hold(random.exponential(0.25), 90);
      load.hold(random.uniform(0.03, 0.15), random.uniform(0, 1) < 0.7 ? 420 : 530);
    } else if (kind == "with evaluation") {
      for (int i = 0; i < 10; ++i) {
        load.hold(0.15 * random.uniform(0.9, 1.1), 560);
        load.hold(0.05 * random.uniform(0.9, 1.1), 280);
      }
      load.hold(random.uniform(0.1, 0.3), 120);
      load.hold(random.uniform(0.8, 1.2), 340);
    } else if (kind == "idle, then busy") {
      load.hold(random.uniform(3, 6), 60);
      for (int i = 0; i < 20; ++i)
        load.hold(random.uniform(0.1, 0.4), 550 * random.uniform(0.97, 1.03));
    } else if (kind == "relaxing") {
      load.hold(random.uniform(0.2, 0.8), 90);
      const int pieces = static_cast<int>(random.uniform(40, 160));
      for (int i = 0; i < pieces; ++i) load.hold(0.005, 480 + 170 * std::exp(-0.005 * i / 0.15));
    } else if (kind == "serving") {
      load.hold(random.uniform(0.08, 0.3), 650);
      const double until_s = load.end_s() + random.uniform(0.5, 2.5);
      while (load.end_s() < until_s) load.hold(0.05, 330 * (1 + 0.03 * random.normal()));
      load.hold(random.exponential(0.2), 80);
    } else if (kind == "stalls") {
      load.hold(random.exponential(0.4), 600);
      load.hold(0.01 + random.exponential(0.04), 190);
    } else if (kind == "ripple") {
      const double step_w = random.uniform(150, 500);
      const int pieces = static_cast<int>(random.uniform(50, 200));
      for (int i = 0; i < pieces; ++i) {
        load.hold(0.01, step_w * (1 + 0.08 * std::sin(9 * load.end_s())));
      }
    } else if (kind == "noise") {
      load.hold(0.02, std::max(400 + 60 * random.normal(), 50.0));
    } else if (kind == "drifting steps") {
      const double warm = 1 - std::exp(-load.end_s() / 30);
      load.hold(random.uniform(0.1, 0.6), 140 + 20 * warm);
      load.hold(random.uniform(0.2, 0.9), 500 + 60 * warm);
    } else {
      return load;
    }
  }
  return load;
}

// Stages of about this length, a little apart; at changes of power, or anywhere.
inline std::vector<Moment> choose_stages(const Load& load, double length_s, bool coincident,
                                         double from_s, double until_s, check::Random& random) {
  std::vector<Moment> stages;
  const auto& corners = load.corners_s();
  double t = from_s;
  while (t + 2 * length_s < until_s) {
    double from = t + length_s * random.uniform(0, 0.5);
    const double own_s = length_s * random.uniform(0.9, 1.1);
    double to = from + own_s;
    if (coincident && corners.size() > 3) {
      const auto begin = std::lower_bound(corners.begin(), corners.end(), from);
      const auto end = begin == corners.end()
                           ? begin
                           : std::lower_bound(begin + 1, corners.end(), *begin + own_s);
      if (end == corners.end()) break;
      from = *begin;
      to = *end;
    }
    if (to > until_s) break;
    stages.push_back({from, to});
    t = to + length_s * random.uniform(0, 0.3);
  }
  return stages;
}

struct Score {
  std::vector<double> errors;  // percent, without sign
  std::vector<double> widths;  // half, percent
  size_t inside = 0;
  double sum = 0;                    // percent, with sign
  double sum_j = 0, sum_true_j = 0;  // energy that is wrong, and all energy

  void add(double truth_j, const pyprof::Estimate& estimate) {
    const double error = 100 * (estimate.energy_j - truth_j) / truth_j;
    errors.push_back(std::abs(error));
    widths.push_back(50 * (estimate.down_j + estimate.up_j) / truth_j);
    sum += error;
    sum_j += estimate.energy_j - truth_j;
    sum_true_j += truth_j;
    const double slack = 1e-9 * truth_j;
    inside += estimate.energy_j - estimate.down_j <= truth_j + slack &&
              truth_j <= estimate.energy_j + estimate.up_j + slack;
  }
  size_t count() const { return errors.size(); }
  double quantile(double share) {
    std::sort(errors.begin(), errors.end());
    return errors[static_cast<size_t>(share * static_cast<double>(errors.size() - 1))];
  }
  double bias() const { return sum / static_cast<double>(errors.size()); }
  double bias_of_sum() const { return 100 * sum_j / sum_true_j; }
  double width() const {
    double total = 0;
    for (const double width : widths) total += width;
    return total / static_cast<double>(widths.size());
  }
  double coverage() const {
    return 100.0 * static_cast<double>(inside) / static_cast<double>(errors.size());
  }
  void append(const Score& other) {
    errors.insert(errors.end(), other.errors.begin(), other.errors.end());
    widths.insert(widths.end(), other.widths.begin(), other.widths.end());
    inside += other.inside;
    sum += other.sum;
    sum_j += other.sum_j;
    sum_true_j += other.sum_true_j;
  }
};

}  // namespace simulate
