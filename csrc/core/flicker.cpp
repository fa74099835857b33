#include "core/flicker.h"

#include <algorithm>
#include <cmath>

namespace pyprof {
namespace {

constexpr double kFewPairs = 4;  // what is supposed counts as much as these
constexpr double kNear = 0.3;    // logarithm: how near a power must be to tell of another
constexpr double kFar = 3 * kNear;

}  // namespace

Flicker::Flicker(double share, std::span<const Pair> pairs) : Flicker(share) {
  if (pairs.empty()) return;
  const auto [low, high] = std::minmax_element(
      pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.log_w < b.log_w; });
  low_ = low->log_w;
  apart_ = std::max((high->log_w - low_) / (kPlaces - 1), 1e-6);
  for (size_t i = 0; i < kPlaces; ++i) {
    double sum = kFewPairs * share * share, all = kFewPairs;
    for (const Pair& pair : pairs) {
      const double off = pair.log_w - low_ - apart_ * static_cast<double>(i);
      if (std::abs(off) > kFar) continue;
      const double weight = pair.weight * std::exp(-0.5 * off * off / (kNear * kNear));
      sum += weight * pair.excess;
      all += weight;
    }
    variance_[i] = std::max(sum / all, 0.0);
  }
}

double Flicker::variance(double power_w) const {
  const double last = kPlaces - 1;
  const double at = std::clamp((std::log(std::max(power_w, 1e-9)) - low_) / apart_, 0.0, last);
  const auto place = std::min(static_cast<size_t>(at), kPlaces - 2);
  const double part = at - static_cast<double>(place);
  return (1 - part) * variance_[place] + part * variance_[place + 1];
}

}  // namespace pyprof
