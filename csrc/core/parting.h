// Neighbouring changes of a counter parted into lines: stretches in which a power lasts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/flicker.h"
#include "core/smoother.h"
#include "core/track.h"
#include "core/usual.h"

namespace pyprof {

// Neighbouring knots with nothing but readings between them. Lines are of time over energy, as it
// is the times that are not known.
class Parting {
 public:
  struct Moved {
    size_t at;
    Knot knot;
  };
  // `change` is the share of intervals in which the power changes. All must outlive this.
  Parting(const Track& track, std::span<const int64_t> marks, std::span<const Usual> usual,
          size_t first, size_t count, double change);
  // Weighs all ways to part the knots into lines by how well they explain the times.
  void place();
  // Then: the knots from one to before another where all lines put them.
  void move(size_t from, size_t to, std::vector<Moved>& moved) const;
  size_t count() const { return sites_.size(); }
  double changes() const { return changes_; }  // expected, of count() - 1 intervals
  std::span<const Stay> stays() const { return stays_; }
  // By how much the powers of neighbouring stretches differ more than their stamps explain.
  void compare(std::vector<Flicker::Pair>& pairs) const;
  // The same for what lies before and after a mark: the squares' weighted sum.
  void compare_at_marks(double& sum, double& weights) const;

 private:
  static constexpr size_t kLongest = 12;  // knots of one line: with more it gets hardly better

  // What is known of a knot when all lines that may go through it are weighed.
  struct Place {
    double weight = 0, at_s = 0, square = 0, variance = 0, with_next = 0;
  };
  struct Way {
    const Usual* level;                   // null: a power of its own
    std::array<double, kLongest> likely;  // logarithm, by the length
  };

  const Knot& knot(size_t k) const { return track_.knots[first_ + k]; }
  void follow(size_t from);
  void weigh(size_t from, size_t last, const Usual* level, double weight);
  LineState start(size_t from, const Usual* level) const;
  std::vector<const Usual*> near(size_t from) const;

  const Track& track_;
  std::span<const Usual> usual_;
  size_t first_;
  std::vector<LineSite> sites_;
  std::vector<LineStep> steps_;         // each leads to its site
  std::vector<double> log_anew_;        // density of a site if its power were any plausible one
  std::vector<std::vector<Way>> ways_;  // by the first site
  std::vector<Place> places_;
  // How likely the sites from one on are of one line, by their number.
  std::vector<std::array<double, kLongest + 1>> same_;
  std::vector<bool> marked_;  // each is the interval before a site
  double log_change_, log_stay_, changes_ = -1;
  Smoother smoother_;
  std::vector<LineStep> open_;  // the steps of a line that begins at its first site
  std::vector<Stay> stays_;
};

}  // namespace pyprof
