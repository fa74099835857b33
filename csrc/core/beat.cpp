#include "core/beat.h"

#include <algorithm>
#include <cmath>

namespace pyprof {
namespace {

constexpr size_t kFew = 10;       // beginnings
constexpr double kRegular = 0.1;  // interquartile range of the periods, of the period
constexpr double kNear = 0.04;    // of the load's period: how near a multiple is
constexpr double kLongest = 4;    // sensor periods: longer loads are met at many points
constexpr double kDrifts = 2;     // times past the multiple, by the end: then all was met

bool stays_near(const Rhythm& rhythm, double grid_s) {
  const double multiple = std::max(std::round(rhythm.period_s / grid_s), 1.0);
  const double apart_s = std::abs(rhythm.period_s - multiple * grid_s);
  if (apart_s > kNear * rhythm.period_s) return false;
  return apart_s * static_cast<double>(rhythm.count) < kDrifts * grid_s;
}

}  // namespace

std::vector<Rhythm> find_rhythms(const Sweep& swept) {
  std::vector<std::vector<int64_t>> begins(swept.rows.size());
  for (size_t i = 1; i < swept.entries.size(); ++i) {
    begins[swept.entries[i].row].push_back(swept.entries[i].begin_ns);
  }
  std::vector<Rhythm> rhythms(swept.rows.size());
  for (size_t row = 1; row < begins.size(); ++row) {
    auto& times = begins[row];
    if (times.size() < kFew) continue;
    std::sort(times.begin(), times.end());
    for (size_t i = times.size() - 1; i > 0; --i) times[i] -= times[i - 1];
    times.erase(times.begin());
    std::sort(times.begin(), times.end());
    const auto at = [&](double share) {
      return 1e-9 * static_cast<double>(
                        times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))]);
    };
    const double period_s = at(0.5);
    if (period_s > 0 && at(0.75) - at(0.25) < kRegular * period_s) {
      rhythms[row] = {period_s, times.size() + 1};
    }
  }
  return rhythms;
}

bool beats(const Rhythm& rhythm, double sensor_s, double window_s) {
  if (rhythm.period_s <= 0 || sensor_s <= 0 || rhythm.period_s < 0.2 * sensor_s) return false;
  if (window_s > sensor_s) {
    return rhythm.period_s <= kLongest * window_s && stays_near(rhythm, window_s);
  }
  return window_s < 0.9 * sensor_s && rhythm.period_s <= kLongest * sensor_s &&
         stays_near(rhythm, sensor_s / 2);
}

}  // namespace pyprof
