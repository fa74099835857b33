#include "core/prior.h"

#include <algorithm>
#include <limits>

#include "core/clock.h"

namespace pyprof {
namespace {

constexpr size_t kManyPowers = 20'000;  // tell what is usual
constexpr size_t kManySteps = 64;       // of a counter tell what its period can be
constexpr double kAbout = 1.6;          // the highest of the periods that can be, over the lowest
// A part may draw so many times what it was seen to draw, and so much of what any part can.
constexpr double kSurgeOverSeen = 4;
constexpr double kSurgeShare = 0.4;

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

int64_t median(std::vector<int64_t>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// What the period of a steady counter can be. Where it stood still for a while no update was made,
// and between the reads around some changes were as many updates at least.
struct Bounds {
  int64_t low_ns = 0, high_ns = std::numeric_limits<int64_t>::max();
  bool agree() const { return low_ns <= high_ns; }  // else the updates stray
  bool tell() const {
    return agree() && static_cast<double>(high_ns) < kAbout * static_cast<double>(low_ns);
  }
};

Bounds find_bounds(const std::vector<Frame>& frames) {
  Bounds bounds;
  std::vector<const Change*> row;
  size_t steps = 0;
  for (const Frame& frame : frames) {
    for (const Change& change : frame.changes) {
      if (steps == kManySteps) return bounds;
      if (change.flags != 0) row.clear();
      if (!row.empty()) {
        ++steps;
        bounds.low_ns = std::max(bounds.low_ns, change.last_old_ns - row.back()->first_new_ns);
      }
      for (size_t back = 1; back <= row.size(); ++back) {
        const Change& before = *row[row.size() - back];
        if (before.flags != 0) break;
        const int64_t span = change.first_new_ns - before.last_old_ns;
        bounds.high_ns = std::min(bounds.high_ns, span / static_cast<int64_t>(back));
      }
      row.push_back(&change);
    }
  }
  return bounds;
}

}  // namespace

int64_t find_period(const std::vector<Frame>& frames, const Channel& channel) {
  int64_t found = 0;
  for (const Frame& frame : frames) {
    if (frame.pulse.period_ns > 0) found = frame.pulse.period_ns;
  }
  if (channel.kind == Kind::kCounter) {
    // A sampler that came late to its reads knew less than all of them tell.
    const Bounds bounds = find_bounds(frames);
    if (found > 0 && bounds.agree()) return std::clamp(found, bounds.low_ns, bounds.high_ns);
    if (found == 0 && bounds.tell()) return bounds.low_ns + (bounds.high_ns - bounds.low_ns) / 2;
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
