// A straight line that wanders, seen through observations of it: forward through all of them and
// back, so that each is placed by all others.
#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace pyprof {

// Where a line is and how fast it rises.
struct LineState {
  double at = 0, rate = 0;
  double var_at = 0, covar = 0, var_rate = 0;
};

// An observation of the line; of infinite variance it says nothing.
struct LineSite {
  double y = 0, variance = std::numeric_limits<double>::infinity();
  bool tells() const { return variance < std::numeric_limits<double>::infinity(); }
};

// From one observation to the next: how far, and what may change meanwhile.
struct LineStep {
  double length = 0;
  double var_at = 0, var_rate = 0, covar = 0;
};

LineState ahead_of(const LineState& from, const LineStep& step);
void teach(LineState& state, const LineSite& site);

class Smoother {
 public:
  // `steps[k]` leads to observation k, the first from `start`.
  void run(const LineState& start, std::span<const LineStep> steps,
           std::span<const LineSite> sites);
  const LineState& ahead(size_t k) const { return ahead_[k]; }    // by those before it
  const LineState& taught(size_t k) const { return taught_[k]; }  // and by itself
  const LineState& all(size_t k) const { return all_[k]; }
  // Covariance of where the line is at k and at k + 1.
  double with_next(size_t k) const { return with_next_[k]; }

 private:
  std::vector<LineState> ahead_, taught_, all_;
  std::vector<double> with_next_;
};

}  // namespace pyprof
