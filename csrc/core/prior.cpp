#include "core/prior.h"

#include <algorithm>

#include "core/clock.h"

namespace pyprof {
namespace {

constexpr size_t kManyPowers = 20'000;  // tell what is usual
// A part may draw so many times what it was seen to draw, and so much of what any part can.
constexpr double kSurgeOverSeen = 4;
constexpr double kSurgeShare = 0.4;

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

int64_t median(std::vector<int64_t>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

int64_t find_period(const std::vector<Frame>& frames, const Channel& channel) {
  int64_t found = 0;
  for (const Frame& frame : frames) {
    if (frame.pulse.period_ns > 0) found = frame.pulse.period_ns;
  }
  if (found > 0) return found;
  std::vector<int64_t> steps;
  std::vector<int64_t> brackets;
  const Change* before = nullptr;
  for (const Frame& frame : frames) {
    for (const Change& change : frame.changes) {
      if (before != nullptr && change.flags == 0) {
        steps.push_back(change.at_ns - before->at_ns);
        brackets.push_back(change.first_new_ns - change.last_old_ns);
      }
      before = &change;
      if (steps.size() >= 1000) break;
    }
  }
  if (steps.size() >= 3) {
    const int64_t step = median(steps);
    // Reads that outnumber the changes tell the period; reads that always find a new value do not.
    if (2 * step > 5 * median(brackets)) return step;
  }
  return std::max<int64_t>(channel.period_ns, 0);
}

// A limit that holds for every part on sale lets a counter of a small range wrap unseen in a
// fraction of a second. What this one was seen to draw says more, though wraps may hide in it: so
// no less than a share of the limit.
double find_likely_power(const std::vector<Frame>& frames, const Channel& channel) {
  if (channel.kind != Kind::kCounter || channel.range == 0) return channel.limit_w;
  std::vector<double> powers;
  for (const Frame& frame : frames) {
    for (size_t i = 1; i < frame.changes.size() && powers.size() < kManyPowers; ++i) {
      const Change& before = frame.changes[i - 1];
      const Change& after = frame.changes[i];
      const double most_s = seconds(after.first_new_ns - before.last_old_ns);
      if (after.flags != 0 || after.raw < before.raw || most_s <= 0) continue;
      powers.push_back(static_cast<double>(after.raw - before.raw) * channel.unit / most_s);
    }
  }
  if (powers.size() < kFewPowers) return channel.limit_w;
  const auto high =
      powers.begin() + static_cast<ptrdiff_t>(powers.size() - 1 - powers.size() / 100);
  std::nth_element(powers.begin(), high, powers.end());
  return std::min(channel.limit_w, std::max(kSurgeOverSeen * *high, kSurgeShare * channel.limit_w));
}

}  // namespace pyprof
