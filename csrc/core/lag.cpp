#include "core/lag.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "core/track.h"

namespace pyprof {
namespace {

constexpr double kStill = 0.02;    // of the spread of powers: smaller changes are none,
constexpr double kStillSteps = 3;  // nor are so many of the sensor's least steps
constexpr double kShortest = 0.3, kLongest = 60, kFiner = 1.12;  // lags to try, in periods
constexpr double kPerLag = 4;       // readings that are compared: more of them only show noise
constexpr double kUneven = 1.6;     // periods: readings further apart have missed some
constexpr double kFewChanges = 30;  // of readings: fewer tell no lag
constexpr double kEvident = 0.75;   // of these changes are left: there is a lag,
constexpr double kSound = 0.65;     // and it is all there is
constexpr double kSpikes = 0.15;    // of the changes are peaks, which a lag never makes
constexpr size_t kMostReadings = 20'000;  // that tell the lag

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

double squared(double x) { return x * x; }

// Readings without one missing, an update apart.
using Series = std::vector<double>;

std::vector<Series> find_series(const Track& track) {
  std::vector<Series> all;
  const double most_s = kUneven * seconds(track.period_ns);
  size_t count = 0;
  const Knot* before = nullptr;
  for (const Knot& knot : track.knots) {
    const bool power = knot.kind == Knot::Kind::kRamp && count < kMostReadings;
    const bool follows = before != nullptr && seconds(knot.t_ns - before->t_ns) <= most_s;
    if (power && !follows) all.emplace_back();
    if (power) all.back().push_back(knot.power_w);
    count += power;
    before = power ? &knot : nullptr;
  }
  return all;
}

// The changes of the power that would be followed.
struct Changes {
  double all = 0;  // those that are smaller count in part
  double large = 0, spikes = 0;
};

class Search {
 public:
  explicit Search(const Track& track);
  // Of every `stride`th reading, when a lag keeps so much of a power from one of them to the next;
  // `still_w` or less is no change.
  Changes changes(double kept, size_t stride, double still_w) const;
  double still_w(double kept) const { return still_w_ + steps_w_ * (1 + kept) / (1 - kept); }

 private:
  std::vector<Series> series_;
  double still_w_ = 0, steps_w_ = 0;
};

Search::Search(const Track& track)
    : series_(find_series(track)), steps_w_(kStillSteps * track.step_w) {
  double low_w = 1e300, high_w = 0;
  for (const Series& series : series_) {
    const auto [low, high] = std::minmax_element(series.begin(), series.end());
    low_w = std::min(low_w, *low);
    high_w = std::max(high_w, *high);
  }
  still_w_ = kStill * std::max(high_w - low_w, 0.0);
}

Changes Search::changes(double kept, size_t stride, double still_w) const {
  Changes changes;
  for (const Series& series : series_) {
    double before_w = kUnknown, change_w = 0;
    for (size_t k = stride; k < series.size(); k += stride) {
      const double power_w = (series[k] - kept * series[k - stride]) / (1 - kept);
      const double by_w = std::isnan(before_w) ? 0 : power_w - before_w;
      const bool large = std::abs(by_w) > still_w;
      changes.all += std::min(squared(by_w / still_w), 1.0);
      changes.large += large;
      changes.spikes += large && by_w * change_w < 0;
      change_w = large ? by_w : 0;
      before_w = power_w;
    }
  }
  return changes;
}

struct Lag {
  double lag_s = 0;  // 0: there is none
  bool sound = false;
};

Lag find_lag(const Track& track) {
  const Search search(track);
  double best = 0, least = 1;
  Changes found;
  const auto try_lag = [&](double lag) {
    const auto stride = static_cast<size_t>(std::max(lag / kPerLag, 1.0));
    const double kept = std::exp(-static_cast<double>(stride) / lag);
    const double still_w = search.still_w(kept);
    const Changes without = search.changes(0, stride, still_w);
    if (without.large < kFewChanges) return;
    const Changes with = search.changes(kept, stride, still_w);
    const double left = with.all / without.all;
    if (left >= least) return;
    least = left;
    best = lag;
    found = with;
  };
  for (double lag = kShortest; lag < kLongest; lag *= kFiner) try_lag(lag);
  for (double finer = std::sqrt(kFiner); finer > 1.001; finer = std::sqrt(finer)) {
    const double middle = best;
    try_lag(middle / finer);
    try_lag(middle * finer);
  }
  if (least > kEvident || found.spikes > kSpikes * found.large) return {};
  return {best * seconds(track.period_ns), least < kSound};
}

// The energy up to a reading is that of the readings and what the lag holds back.
void undo_lag(Track& track, double lag_s) {
  double shift_j = 0;
  for (size_t i = 0; i < track.knots.size(); ++i) {
    Knot& knot = track.knots[i];
    const double follows_w = knot.power_w;
    knot.energy_j += shift_j;
    if (knot.kind != Knot::Kind::kRamp || i + 1 == track.knots.size()) continue;
    const Knot& next = track.knots[i + 1];
    const double mean_w = 0.5 * (follows_w + next.power_w);
    const double width_s = seconds(next.t_ns - knot.t_ns);
    const double held_j = lag_s * (double{next.power_w} - follows_w);
    shift_j += std::max(held_j, -mean_w * width_s);
    knot.kind = Knot::Kind::kUnfolded;
  }
}

}  // namespace

void settle_lag(Track& track, bool undo) {
  const bool gauge = track.step_w > 0 && track.window_ns >= 0;
  if (!gauge || track.period_ns <= 0 || track.window_ns > track.period_ns + track.period_ns / 2) {
    return;
  }
  const Lag lag = find_lag(track);
  if (lag.lag_s == 0) return;
  track.lag_s = lag.lag_s;
  const bool undone = undo && lag.sound;
  if (undone) undo_lag(track, lag.lag_s);
  char text[120];
  std::snprintf(text, sizeof text,
                "the readings follow the power with a lag of %.2g s, which is %s", lag.lag_s,
                undone ? "undone" : "not undone: the interval is wider for it");
  track.events.push_back({track.knots.front().t_ns, "note", 1, text});
}

}  // namespace pyprof
