#include "core/usual.h"

#include <algorithm>
#include <cmath>

namespace pyprof {
namespace {

constexpr double kFew = 8;  // stays at a power: fewer don't make it usual

double squared(double x) { return x * x; }

struct Sums {
  double weight = 0, information = 0, mean_w = 0;
};

// Stays from the first on that lie no further from one another than they are known.
size_t gather(const std::vector<Stay>& stays, size_t first, Sums& sums) {
  size_t at = first;
  for (; at < stays.size(); ++at) {
    const double apart = at > first ? stays[at].power_w / stays[at - 1].power_w - 1 : 0;
    if (squared(apart) > stays[at].variance) break;
    const double information = stays[at].weight / stays[at].variance;
    sums.weight += stays[at].weight;
    sums.information += information;
    sums.mean_w += information * stays[at].power_w;
  }
  sums.mean_w /= sums.information;
  return at;
}

}  // namespace

std::vector<Usual> find_usual(std::vector<Stay> stays) {
  std::sort(stays.begin(), stays.end(),
            [](const Stay& a, const Stay& b) { return a.power_w < b.power_w; });
  double all = kFew;
  for (const Stay& stay : stays) all += stay.weight;
  std::vector<Usual> usual;
  for (size_t first = 0, end = 0; first < stays.size(); first = end) {
    Sums sums;
    end = gather(stays, first, sums);
    if (sums.weight < kFew) continue;
    double excess = 0;
    for (size_t i = first; i < end; ++i) {
      const double off = squared(stays[i].power_w / sums.mean_w - 1);
      excess += stays[i].weight / stays[i].variance * (off - stays[i].variance);
    }
    const double variance = std::max(excess / sums.information, 0.0) + 1 / sums.information;
    usual.push_back({sums.mean_w, variance, sums.weight / all});
  }
  return usual;
}

}  // namespace pyprof
