#include "core/roll.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/powers.h"

namespace pyprof {
namespace {

// Changes beyond a border that a curve looks at.
constexpr size_t kContext = 4;
constexpr int64_t kNever = INT64_MIN, kAlways = INT64_MAX;

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

// -- a track at one instant ----------------------------------------------------------------------

size_t interval_of(const std::vector<Knot>& knots, int64_t t_ns) {
  const auto after = std::upper_bound(knots.begin(), knots.end(), t_ns,
                                      [](int64_t t, const Knot& knot) { return t < knot.t_ns; });
  const auto index = static_cast<size_t>(after - knots.begin());
  return std::min(index == 0 ? 0 : index - 1, knots.size() - 2);
}

double share_of(const Knot& from, const Knot& to, int64_t t_ns) {
  return std::clamp(seconds(t_ns - from.t_ns) / seconds(to.t_ns - from.t_ns), 0.0, 1.0);
}

// Within an interval counters run straight, and so does the power of gauges.
double energy_at(const Track& track, int64_t t_ns) {
  const size_t at = interval_of(track.knots, t_ns);
  const Knot& from = track.knots[at];
  const Knot& to = track.knots[at + 1];
  const double share = share_of(from, to, t_ns);
  if (from.kind != Knot::Kind::kRamp) {
    return from.energy_j + share * (to.energy_j - from.energy_j);
  }
  const double width_s = seconds(to.t_ns - from.t_ns);
  const double slope_w = double{to.power_w} - from.power_w;
  return from.energy_j + width_s * share * (from.power_w + 0.5 * slope_w * share);
}

float power_at(const Track& track, int64_t t_ns) {
  const size_t at = interval_of(track.knots, t_ns);
  const Knot& from = track.knots[at];
  const Knot& to = track.knots[at + 1];
  return from.power_w + static_cast<float>(share_of(from, to, t_ns)) * (to.power_w - from.power_w);
}

double variance_at(const Track& track, int64_t t_ns) {
  if (track.variance_j2.empty()) return 0;
  const size_t at = interval_of(track.knots, t_ns);
  const double share = share_of(track.knots[at], track.knots[at + 1], t_ns);
  const auto& sums = track.variance_j2;
  return sums[at] + share * (sums[at + 1] - sums[at]);
}

// What is lost and how long nothing was read, between two instants.
std::pair<double, int64_t> missing(const Track& track, int64_t from_ns, int64_t to_ns) {
  double lost_j = 0;
  int64_t uncovered_ns = 0;
  for (const Blank& blank : track.blanks) {
    const int64_t from = std::max(from_ns, blank.from_ns), to = std::min(to_ns, blank.to_ns);
    if (to <= from) continue;
    lost_j += blank.lost_j * seconds(to - from) / seconds(blank.to_ns - blank.from_ns);
    if (!blank.covered) uncovered_ns += to - from;
  }
  return {lost_j, uncovered_ns};
}

Roll roll_of(const Track& track, int64_t from_ns, int64_t to_ns) {
  Roll roll;
  roll.from_ns = from_ns;
  roll.to_ns = to_ns;
  roll.energy_j = energy_at(track, to_ns) - energy_at(track, from_ns);
  const auto [lost_j, uncovered_ns] = missing(track, from_ns, to_ns);
  roll.lost_j = lost_j;
  roll.covered_s = seconds(to_ns - from_ns - uncovered_ns);
  roll.variance_j2 = std::max(variance_at(track, to_ns) - variance_at(track, from_ns), 0.0);
  const size_t last = interval_of(track.knots, to_ns);
  roll.peak_w = highest_mean_w(track.knots, interval_of(track.knots, from_ns), last + 1);
  return roll;
}

// -- readings near some time ---------------------------------------------------------------------

void sort_frames(std::vector<Frame>& frames) {
  std::sort(frames.begin(), frames.end(),
            [](const Frame& a, const Frame& b) { return a.first_seq < b.first_seq; });
}

// Drops changes that lie further before `from_ns` than a curve looks.
void drop_before(std::vector<Frame>& frames, int64_t from_ns) {
  size_t early = 0;
  for (const Frame& frame : frames) {
    for (const Change& change : frame.changes) early += change.first_new_ns < from_ns ? 1 : 0;
  }
  size_t spare = early > kContext ? early - kContext : 0;
  for (Frame& frame : frames) {
    const size_t dropped = std::min(spare, frame.changes.size());
    const auto end = frame.changes.begin() + static_cast<ptrdiff_t>(dropped);
    frame.changes.erase(frame.changes.begin(), end);
    frame.first_seq += dropped;
    spare -= dropped;
  }
}

// The last moment before which no later reading will move the curve.
int64_t settled_until(const Channel& channel, const std::vector<Frame>& frames) {
  size_t later = 0;
  for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame) {
    for (auto change = frame->changes.rbegin(); change != frame->changes.rend(); ++change) {
      if (++later == kContext) return change->last_old_ns - std::max<int64_t>(channel.window_ns, 0);
    }
  }
  return kNever;
}

// -- tracks one after the other ------------------------------------------------------------------

// The part of a track between two instants, beginning at energy 0.
Track cut(Track track, int64_t from_ns, int64_t to_ns) {
  const auto border = [&](int64_t t_ns) {
    Knot knot = track.knots[interval_of(track.knots, t_ns)];
    knot.energy_j = energy_at(track, t_ns);
    knot.power_w = power_at(track, t_ns);
    knot.t_ns = t_ns;
    return knot;
  };
  std::vector<Knot> knots{border(from_ns)};
  std::vector<double> variance{variance_at(track, from_ns)};
  for (size_t i = 0; i < track.knots.size(); ++i) {
    if (track.knots[i].t_ns <= from_ns || track.knots[i].t_ns >= to_ns) continue;
    knots.push_back(track.knots[i]);
    variance.push_back(track.variance_j2.empty() ? 0 : track.variance_j2[i]);
  }
  knots.push_back(border(to_ns));
  variance.push_back(variance_at(track, to_ns));
  const double start_j = knots.front().energy_j, start_j2 = variance.front();
  for (Knot& knot : knots) knot.energy_j -= start_j;
  for (double& sum : variance) sum -= start_j2;
  std::vector<Blank> blanks;
  for (const Blank& blank : track.blanks) {
    const int64_t from = std::max(from_ns, blank.from_ns), to = std::min(to_ns, blank.to_ns);
    if (to <= from) continue;
    const double share = seconds(to - from) / seconds(blank.to_ns - blank.from_ns);
    blanks.push_back({from, to, blank.lost_j * share, 0, 0, blank.covered});
  }
  track.blanks = std::move(blanks);
  track.knots = std::move(knots);
  if (!track.variance_j2.empty()) track.variance_j2 = std::move(variance);
  return track;
}

Track track_of(std::span<const Roll> rolls) {
  Track track;
  double sum_j = 0, sum_j2 = 0;
  const auto knot = [&](int64_t t_ns, Knot::Kind kind) {
    track.knots.push_back({t_ns, sum_j, 0, 0, kind});
    track.variance_j2.push_back(sum_j2);
  };
  for (const Roll& roll : rolls) {
    const bool known = !std::isnan(roll.energy_j);
    knot(roll.from_ns, known ? Knot::Kind::kBridged : Knot::Kind::kFlat);
    sum_j += known ? roll.energy_j : 0;
    sum_j2 += roll.variance_j2;
    const int64_t whole_ns = roll.to_ns - roll.from_ns;
    const auto covered_ns = static_cast<int64_t>(roll.covered_s * 1e9);
    const int64_t uncovered_ns = std::clamp<int64_t>(whole_ns - covered_ns, 0, whole_ns);
    // Of uncovered time only its length is kept.
    if (uncovered_ns > 1000) {
      track.blanks.push_back({roll.from_ns, roll.from_ns + uncovered_ns, roll.lost_j, 0, 0, false});
    } else if (roll.lost_j > 0) {
      track.blanks.push_back({roll.from_ns, roll.to_ns, roll.lost_j, 0, 0, true});
    }
    if (!std::isnan(roll.peak_w)) {
      track.peak_w = std::isnan(track.peak_w) ? roll.peak_w : std::max(track.peak_w, roll.peak_w);
    }
  }
  knot(rolls.back().to_ns, Knot::Kind::kBridged);
  return track;
}

// Collects pieces of one channel, each beginning where the one before ended.
class Splicer {
 public:
  void add(Track piece);
  Track finish();

 private:
  Track whole_;
  bool seen_ = false;  // readings of their own
};

void Splicer::add(Track piece) {
  auto& knots = whole_.knots;
  if (piece.knots.size() < 2) return;
  const double offset_j = knots.empty() ? 0 : knots.back().energy_j;
  const double offset_j2 = whole_.variance_j2.empty() ? 0 : whole_.variance_j2.back();
  if (!knots.empty() && piece.knots.front().t_ns > knots.back().t_ns) {
    // Nothing stands for the time between the pieces: `finish` finds it uncovered.
    knots.back().kind = Knot::Kind::kFlat;
    whole_.blanks.push_back({knots.back().t_ns, piece.knots.front().t_ns, kUnknown, 0, 0, false});
  } else if (!knots.empty()) {
    piece.knots.front().half_s = std::max(piece.knots.front().half_s, knots.back().half_s);
    knots.pop_back();
    whole_.variance_j2.pop_back();
  }
  for (size_t i = 0; i < piece.knots.size(); ++i) {
    piece.knots[i].energy_j += offset_j;
    knots.push_back(piece.knots[i]);
    const double variance = piece.variance_j2.empty() ? 0 : piece.variance_j2[i];
    whole_.variance_j2.push_back(offset_j2 + variance);
  }
  whole_.blanks.insert(whole_.blanks.end(), piece.blanks.begin(), piece.blanks.end());
  std::move(piece.events.begin(), piece.events.end(), std::back_inserter(whole_.events));
  if (!std::isnan(piece.peak_w)) {
    whole_.peak_w =
        std::isnan(whole_.peak_w) ? piece.peak_w : std::max(whole_.peak_w, piece.peak_w);
  }
  if (piece.limit_w <= 0) return;  // of roll-ups: what follows is known of readings only
  if (piece.period_ns > 0) whole_.period_ns = piece.period_ns;
  if (piece.interval_ns > 0) whole_.interval_ns = piece.interval_ns;
  whole_.window_ns = piece.window_ns;
  whole_.quantum_j = piece.quantum_j;
  whole_.limit_w = piece.limit_w;
  whole_.low_w = seen_ ? std::min(whole_.low_w, piece.low_w) : piece.low_w;
  whole_.least_w = seen_ ? std::min(whole_.least_w, piece.least_w) : piece.least_w;
  whole_.high_w = std::max(whole_.high_w, piece.high_w);
  whole_.most_w = std::max(whole_.most_w, piece.most_w);
  seen_ = true;
}

Track Splicer::finish() {
  double sum_j = 0;
  int64_t sum_ns = 0;
  const double most_w = std::isnan(whole_.peak_w) ? whole_.limit_w : whole_.peak_w;
  for (Blank& blank : whole_.blanks) {
    const int64_t length_ns = blank.to_ns - blank.from_ns;
    if (std::isnan(blank.lost_j)) blank.lost_j = most_w * seconds(length_ns);
    blank.before_j = sum_j;
    blank.before_ns = sum_ns;
    sum_j += blank.lost_j;
    if (!blank.covered) sum_ns += length_ns;
  }
  const auto& sums = whole_.variance_j2;
  if (!sums.empty() && sums.back() == 0) whole_.variance_j2.clear();
  return std::move(whole_);
}

// Frames with anything between two instants, and the nearest ones on both sides.
std::vector<Frame> frames_near(const std::vector<Frame>& frames, int64_t from_ns, int64_t to_ns) {
  std::vector<Frame> near;
  for (const Frame& frame : frames) {
    const int64_t first =
        frame.changes.empty() ? frame.pulse.last_read_ns : frame.changes.front().first_new_ns;
    if (frame.pulse.last_read_ns >= from_ns && first <= to_ns) near.push_back(frame);
  }
  return near;
}

// So near a border changes are left as its roll-up saw them.
int64_t border_of(const std::vector<Frame>& frames) {
  int64_t longest_ns = 0;
  for (const Frame& frame : frames) longest_ns = std::max(longest_ns, frame.pulse.period_ns);
  return 2 * longest_ns;
}

}  // namespace

RollUp roll_up(const Channel& channel, std::vector<Frame> frames, int64_t from_ns, int64_t grain_ns,
               int64_t until_ns, bool last) {
  RollUp result;
  sort_frames(frames);
  drop_before(frames, from_ns);
  const int64_t settled_ns = last ? until_ns : std::min(until_ns, settled_until(channel, frames));
  if (settled_ns <= from_ns || grain_ns <= 0) return result;
  const int64_t grains = (settled_ns - from_ns) / grain_ns;
  const int64_t to_ns = last ? settled_ns : from_ns + grains * grain_ns;
  if (to_ns <= from_ns) return result;
  // What is read later would move the borders that earlier roll-ups have.
  const Track track = make_track(channel, std::move(frames), from_ns, to_ns, {0, 0});
  if (track.knots.size() < 2) return result;
  for (int64_t at_ns = from_ns; at_ns < to_ns; at_ns += grain_ns) {
    result.rolls.push_back(roll_of(track, at_ns, std::min(at_ns + grain_ns, to_ns)));
  }
  for (const CurveEvent& event : track.events) {
    if (event.t_ns >= from_ns && event.t_ns < to_ns) result.events.push_back(event);
  }
  return result;
}

Track make_track(const Channel& channel, std::vector<Frame> frames, std::span<const Roll> rolls,
                 int64_t start_ns, int64_t end_ns) {
  if (rolls.empty()) return make_track(channel, std::move(frames), start_ns, end_ns);
  sort_frames(frames);
  Splicer splicer;
  const auto add_island = [&](int64_t from_ns, int64_t to_ns, int64_t low_ns, int64_t high_ns) {
    if (to_ns <= from_ns) return;
    std::vector<Frame> near = frames_near(frames, low_ns, high_ns);
    Settled settled;
    if (low_ns != kNever) settled.from_ns = from_ns + border_of(near);
    if (high_ns != kAlways) settled.to_ns = to_ns - border_of(near);
    Track island = make_track(channel, std::move(near), from_ns, to_ns, settled);
    std::erase_if(island.events, [&](const CurveEvent& event) {
      return event.t_ns < from_ns || event.t_ns >= to_ns;
    });
    if (island.knots.size() < 2) return;
    // The run's own ends keep what lies beyond them, as without roll-ups.
    const int64_t first_ns = island.knots.front().t_ns, last_ns = island.knots.back().t_ns;
    const int64_t left_ns = low_ns == kNever ? std::min(from_ns, first_ns) : from_ns;
    const int64_t right_ns = high_ns == kAlways ? std::max(to_ns, last_ns) : to_ns;
    splicer.add(cut(std::move(island), left_ns, right_ns));
  };
  int64_t at_ns = start_ns, low_ns = kNever;
  for (size_t first = 0; first < rolls.size();) {
    size_t beyond = first + 1;
    while (beyond < rolls.size() && rolls[beyond].from_ns == rolls[beyond - 1].to_ns) ++beyond;
    const int64_t from_ns = rolls[first].from_ns, to_ns = rolls[beyond - 1].to_ns;
    const int64_t middle_ns = from_ns + (to_ns - from_ns) / 2;
    add_island(at_ns, from_ns, low_ns, middle_ns);
    splicer.add(track_of(rolls.subspan(first, beyond - first)));
    at_ns = to_ns;
    low_ns = middle_ns;
    first = beyond;
  }
  add_island(at_ns, end_ns, low_ns, kAlways);
  Track whole = splicer.finish();
  if (whole.limit_w <= 0) whole.limit_w = channel.limit_w > 0 ? channel.limit_w : kAssumedLimitW;
  if (whole.high_w <= 0) whole.high_w = whole.most_w = whole.limit_w;
  if (whole.window_ns == 0) whole.window_ns = channel.window_ns;
  if (whole.period_ns == 0) whole.period_ns = channel.period_ns;
  return whole;
}

}  // namespace pyprof
