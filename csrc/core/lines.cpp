#include "core/lines.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/parting.h"
#include "core/track.h"
#include "core/usual.h"

namespace pyprof {
namespace {

constexpr size_t kReach = 10;            // knots on each side of a mark's interval that tell of it
constexpr size_t kNear = 4;              // of which so many are looked at by its course
constexpr double kTogetherShare = 0.02;  // of an interval: marks so near are of one moment
constexpr size_t kTogether = 64;         // knots of marks that are served at once
constexpr double kFewQuanta = 8;         // in one interval: with fewer its energy says nothing
// What is learnt of the run, and what is supposed at first.
constexpr size_t kBlocks = 32, kBlock = 32;  // of knots, to learn from
constexpr int kRounds = 3;
constexpr double kFlicker = 0.01;  // of a power, from one interval to the next
constexpr double kChange = 0.3;    // of intervals: that the power changes in one
constexpr double kLeastChange = 0.02, kMostChange = 0.98;

class Lines {
 public:
  Lines(Track& track, std::span<const int64_t> marks) : track_(track), marks_(marks) {}
  void learn();
  void place(size_t from, size_t to);
  void finish();

 private:
  bool tells(size_t interval) const;
  template <typename Use>
  void rows(size_t low, size_t high, const Use& use) const;

  Track& track_;
  std::span<const int64_t> marks_;
  double change_ = kChange;
  std::vector<Usual> usual_;
  std::vector<Parting::Moved> moved_;
};

// Where an interval holds several stages its mean is no power that lasts.
bool Lines::tells(size_t interval) const {
  const Knot& from = track_.knots[interval];
  const Knot& to = track_.knots[interval + 1];
  const bool apart = from.apart_s > 0 && to.apart_s > 0;
  if (from.kind != Knot::Kind::kPlain || !apart) return false;
  if (!(to.energy_j - from.energy_j > kFewQuanta * track_.quantum_j)) return false;
  const auto first = std::upper_bound(marks_.begin(), marks_.end(), from.t_ns);
  if (first == marks_.end() || *first >= to.t_ns) return true;
  const int64_t together_ns =
      std::llround(kTogetherShare * static_cast<double>(to.t_ns - from.t_ns));
  const auto second = std::upper_bound(first, marks_.end(), *first + together_ns);
  return second == marks_.end() || *second >= to.t_ns;
}

// Rows among the knots from `low` to before `high`.
template <typename Use>
void Lines::rows(size_t low, size_t high, const Use& use) const {
  for (size_t first = low; first + 1 < high;) {
    size_t last = first;
    while (last + 1 < high && tells(last)) ++last;
    if (last >= first + 2) use(first, last - first + 1);
    first = last + 1;
  }
}

void Lines::learn() {
  track_.flicker = Flicker(kFlicker);
  const size_t count = track_.knots.size();
  const size_t blocks = std::min(kBlocks, count / kBlock + 1);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Flicker::Pair> pairs;
    std::vector<Stay> stays;
    double changes = 1, intervals = 4, kinks = 0, weights = 0;
    for (size_t block = 0; block < blocks; ++block) {
      const size_t low = block * count / blocks;
      rows(low, std::min(low + kBlock, count), [&](size_t first, size_t knots) {
        Parting parting(track_, marks_, usual_, first, knots, change_);
        parting.place();
        parting.compare(pairs);
        parting.compare_at_marks(kinks, weights);
        stays.insert(stays.end(), parting.stays().begin(), parting.stays().end());
        changes += parting.changes();
        intervals += static_cast<double>(knots - 1);
      });
    }
    track_.flicker = Flicker(kFlicker, pairs);
    track_.kink = weights > 0 ? std::max(kinks / weights, 0.0) : 0;
    if (round + 1 == kRounds) usual_ = find_usual(std::move(stays));
    change_ = std::clamp(changes / intervals, kLeastChange, kMostChange);
  }
}

void Lines::place(size_t from, size_t to) {
  const size_t low = from > kReach ? from - kReach : 0;
  rows(low, std::min(to + kReach, track_.knots.size()), [&](size_t first, size_t count) {
    const size_t end = std::min(to, first + count);
    if (end <= std::max(from, first)) return;
    Parting parting(track_, marks_, usual_, first, count, change_);
    parting.place();
    parting.move(std::max(from, first) - first, end - first, moved_);
  });
}

// All at once, as each was placed by where the others had been.
void Lines::finish() {
  auto& knots = track_.knots;
  for (const auto& [at, knot] : moved_) {
    knots[at] = knot;
    if (at > 0) knots[at].t_ns = std::max(knots[at].t_ns, knots[at - 1].t_ns + 1);
  }
}

}  // namespace

void hold_to_lines(Track& track, std::span<const int64_t> marks) {
  const auto& knots = track.knots;
  if (!(track.quantum_j > 0) || knots.size() < 3 || marks.empty()) return;
  Lines lines(track, marks);
  lines.learn();
  const auto next_knot = [&](size_t from, int64_t t_ns) {
    const auto after = std::upper_bound(knots.begin() + static_cast<ptrdiff_t>(from), knots.end(),
                                        t_ns, [](int64_t t, const Knot& k) { return t < k.t_ns; });
    return static_cast<size_t>(after - knots.begin());
  };
  size_t done = 0;
  for (auto mark = marks.begin(); mark != marks.end();) {
    const size_t first = next_knot(done > kNear ? done - kNear : 0, *mark);
    size_t last = first;
    while (++mark != marks.end()) {
      const size_t next = next_knot(last > 0 ? last - 1 : 0, *mark);
      if (next > last + 2 * kNear || next > first + kTogether) break;
      last = next;
    }
    const size_t from = std::max(done, first > kNear ? first - kNear : 0);
    const size_t to = std::min(last + kNear, knots.size());
    if (to > from) lines.place(from, to);
    done = std::max(done, to);
  }
  lines.finish();
}

}  // namespace pyprof
