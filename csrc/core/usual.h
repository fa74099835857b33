// Powers that a run comes back to.
#pragma once

#include <span>
#include <vector>

namespace pyprof {

// A stretch of one power that was found; its variance as a share of the power, squared.
struct Stay {
  double power_w, variance, weight;
};

struct Usual {
  double power_w, variance;  // how far it differs from one time to the next, too
  double share;              // of all stays
};

std::vector<Usual> find_usual(std::vector<Stay> stays);

}  // namespace pyprof
