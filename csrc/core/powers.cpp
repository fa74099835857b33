#include "core/powers.h"

#include <algorithm>
#include <cmath>

#include "core/prior.h"

namespace pyprof {
namespace {

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

}  // namespace

void find_powers(Track& track, const Channel& channel) {
  constexpr double kLow = 0.001, kHigh = 0.9995;
  // A power that no two neighbours share was not held long enough to be seen as it is.
  constexpr double kUnheld = 1.0;
  std::vector<float> powers, lower, higher;  // the latter two of each pair of neighbours
  powers.reserve(track.knots.size());
  lower.reserve(track.knots.size());
  higher.reserve(track.knots.size());
  bool joined = false;
  for (size_t i = 0; i + 1 < track.knots.size(); ++i) {
    const Knot& knot = track.knots[i];
    const Knot& next = track.knots[i + 1];
    const bool seen = knot.kind == Knot::Kind::kPlain || knot.kind == Knot::Kind::kRamp;
    if (seen) {
      const double power_w = (next.energy_j - knot.energy_j) / seconds(next.t_ns - knot.t_ns);
      powers.push_back(static_cast<float>(power_w));
    }
    if (seen && joined) {
      const auto [low, high] = std::minmax(powers[powers.size() - 2], powers.back());
      lower.push_back(low);
      higher.push_back(high);
    }
    joined = seen;
  }
  // What models give is all there is to know of them.
  const bool few = powers.size() < kFewPowers && channel.window_ns >= 0;
  if (few || powers.empty() || lower.empty()) {
    track.high_w = track.most_w = track.limit_w;
    return;
  }
  const auto quantile = [](std::vector<float>& values, double share) {
    const auto at =
        static_cast<ptrdiff_t>(std::lround(share * static_cast<double>(values.size() - 1)));
    std::nth_element(values.begin(), values.begin() + at, values.end());
    return double{values[static_cast<size_t>(at)]};
  };
  const double low = quantile(powers, kLow), high = quantile(powers, kHigh);
  const double held_low = quantile(higher, kLow), held_high = quantile(lower, kHigh);
  track.low_w = std::max(low - 0.05 * (high - low), 0.0);
  track.high_w = high + 0.1 * (high - low);
  track.least_w = std::max(track.low_w - kUnheld * std::max(held_low - low, 0.0), 0.0);
  track.most_w = track.high_w + kUnheld * std::max(high - held_high, 0.0);
}

void find_variance(Track& track, const Channel& channel) {
  const int64_t period = track.period_ns;
  if (channel.kind != Kind::kGauge || channel.window_ns < 0 || period <= channel.window_ns) return;
  const double unseen = 1 - seconds(channel.window_ns) / seconds(period);
  const auto& knots = track.knots;
  track.variance_j2.assign(knots.size(), 0);
  for (size_t i = 0; i + 1 < knots.size(); ++i) {
    double added = 0;
    if (knots[i].kind == Knot::Kind::kRamp) {
      const size_t from = i >= 2 ? i - 2 : 0;
      const size_t to = std::min(i + 3, knots.size() - 1);
      double sum = 0, squares = 0;
      for (size_t k = from; k <= to; ++k) {
        sum += knots[k].power_w;
        squares += double{knots[k].power_w} * knots[k].power_w;
      }
      const auto n = static_cast<double>(to - from + 1);
      const double spread = std::max(squares / n - sum / n * (sum / n), 0.0);
      const double step_w = double{knots[i + 1].power_w} - knots[i].power_w;
      const double width_s = seconds(knots[i + 1].t_ns - knots[i].t_ns);
      added = width_s * std::min(width_s, seconds(period)) * unseen *
              std::max(step_w * step_w, spread) / 2;
    }
    track.variance_j2[i + 1] = track.variance_j2[i] + added;
  }
}

double highest_mean_w(const std::vector<Knot>& knots, size_t from, size_t to) {
  double peak = -1;
  size_t end = from;
  for (size_t i = from; i < to; ++i) {
    if (knots[i].kind == Knot::Kind::kRamp) peak = std::max<double>(peak, knots[i].power_w);
    if (knots[i].kind != Knot::Kind::kPlain) continue;
    end = std::max(end, i + 1);
    const auto plain_on = [&] { return knots[end].kind == Knot::Kind::kPlain && end < to; };
    const auto width_s = [&] { return seconds(knots[end].t_ns - knots[i].t_ns); };
    const auto blur_s = [&] { return knots[i].half_s + knots[end].half_s; };
    while (width_s() < 4 * blur_s() && plain_on()) ++end;
    if (width_s() < 4 * blur_s()) continue;
    peak = std::max(peak, (knots[end].energy_j - knots[i].energy_j) / width_s());
  }
  return peak >= 0 ? peak : kUnknown;
}

}  // namespace pyprof
