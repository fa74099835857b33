#include "core/repeats.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <unordered_map>

#include "core/track.h"

namespace pyprof {
namespace {

constexpr uint32_t kOften = 20;  // slices of a state, from which on it repeats
constexpr double kShort = 2;     // updates: longer slices are seen one by one
constexpr size_t kMostStates = 16;
constexpr size_t kFewReadings = 30, kReadingsPerState = 8;
constexpr size_t kBlocks = 16, kBlock = 256;  // readings that are fitted, of longer runs
constexpr int64_t kBeforeNs = 6'000'000, kAfterNs = 2'000'000;  // lags reach this far
constexpr double kStableRms = 0.62;   // of the half bracket: stamps that lie on a line
constexpr double kFittedHalf = 0.25;  // of the half bracket: what is left of it on that line
constexpr size_t kLine = 24;          // stamps on each side
constexpr double kSigmas = 2.5;       // 95 %, with what the fit's covariance leaves out
constexpr double kFittedSigmas = 2;   // times as wide with stamps of a line, whose errors are alike
constexpr double kNoiseShare = 0.5;
constexpr double kUneven = 0.25;  // standard deviation of a stage's length, as a share of it

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

uint64_t hash(uint64_t number) {
  number = (number + 1) * 0x9E3779B97F4A7C15ULL;
  number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9ULL;
  number = (number ^ (number >> 27)) * 0x94D049BB133111EBULL;
  return number ^ (number >> 31);
}

class Finder {
 public:
  Finder(const Track& track, std::span<const int64_t> times_ns, const States& states)
      : track_(track), times_ns_(times_ns), states_(states) {}
  Repeats find();

 private:
  struct Slices {
    size_t from, to;
  };
  Slices slices(int64_t from_ns, int64_t to_ns) const;
  bool often(size_t slice) const { return states_.count[states_.of[slice]] >= kOften; }
  bool is_short(size_t slice) const {
    return seconds(times_ns_[slice + 1] - times_ns_[slice]) < shortest_s_;
  }
  // Between two changes, with few updates missed.
  bool is_whole(size_t interval) const {
    const Knot& knot = track_.knots[interval];
    const double width_s = seconds(track_.knots[interval + 1].t_ns - knot.t_ns);
    return knot.kind == Knot::Kind::kPlain && width_s < 2 * shortest_s_;
  }
  bool fits(size_t interval) const;
  void choose();
  void number_states();
  void steady_stamps();
  std::vector<Reading> readings() const;
  Timetable timetable() const;
  void cover();
  double unevenness() const;

  const Track& track_;
  const std::span<const int64_t> times_ns_;
  const States& states_;
  double shortest_s_ = 0;
  std::vector<size_t> chosen_;            // intervals, sorted
  std::vector<double> shift_s_, half_s_;  // of each knot
  bool steady_ = false;                   // the stamps are those of a line through them
  Repeats result_;
};

Finder::Slices Finder::slices(int64_t from_ns, int64_t to_ns) const {
  const auto begin = times_ns_.begin(), end = times_ns_.end();
  const auto first = std::upper_bound(begin, end, from_ns);
  const auto last = std::lower_bound(begin, end, to_ns);
  const auto from = first == begin ? 0 : static_cast<size_t>(first - begin) - 1;
  const auto to = static_cast<size_t>(last - begin);
  const size_t most = times_ns_.size() - 1;
  return {std::min(from, most), std::min(to, most)};
}

// Nothing but states that repeat, one of them too short to be seen.
bool Finder::fits(size_t interval) const {
  const Knot& from = track_.knots[interval];
  const Knot& to = track_.knots[interval + 1];
  if (!is_whole(interval)) return false;
  if (from.t_ns - kBeforeNs < times_ns_.front() || to.t_ns + kAfterNs > times_ns_.back()) {
    return false;
  }
  const Slices wide = slices(from.t_ns - kBeforeNs, to.t_ns + kAfterNs);
  for (size_t i = wide.from; i < wide.to; ++i) {
    if (!often(i)) return false;
  }
  const Slices inner = slices(from.t_ns, to.t_ns);
  for (size_t i = inner.from; i < inner.to; ++i) {
    if (is_short(i)) return true;
  }
  return false;
}

void Finder::choose() {
  std::vector<size_t> all;
  for (size_t i = 0; i + 1 < track_.knots.size(); ++i) {
    if (fits(i)) all.push_back(i);
  }
  if (all.size() <= kBlocks * kBlock) {
    chosen_ = std::move(all);
    return;
  }
  for (size_t block = 0; block < kBlocks; ++block) {
    const size_t from = (all.size() - kBlock) * block / (kBlocks - 1);
    for (size_t i = from; i < from + kBlock; ++i) {
      if (chosen_.empty() || all[i] > chosen_.back()) chosen_.push_back(all[i]);
    }
  }
}

void Finder::number_states() {
  result_.place_of.assign(states_.count.size(), Repeats::kNone);
  uint32_t next = 0;
  for (const size_t interval : chosen_) {
    const Slices within = slices(track_.knots[interval].t_ns, track_.knots[interval + 1].t_ns);
    for (size_t i = within.from; i < within.to; ++i) {
      uint32_t& place = result_.place_of[states_.of[i]];
      if (place == Repeats::kNone) place = next++;
    }
  }
  result_.fit.power_w.assign(next, 0);
}

// A sensor that updates as evenly as its brackets can tell: a line through the neighbours knows a
// change's moment better than its own bracket does.
void Finder::steady_stamps() {
  const auto& knots = track_.knots;
  shift_s_.assign(knots.size(), 0);
  half_s_.resize(knots.size());
  for (size_t i = 0; i < knots.size(); ++i) half_s_[i] = knots[i].half_s;
  std::vector<bool> taken(knots.size());
  for (const size_t k : chosen_) taken[k] = taken[k + 1] = true;
  std::vector<double> shift_s(knots.size(), 0);
  double squares = 0, allowed = 0;
  for (size_t k = 0; k < knots.size(); ++k) {
    if (!taken[k]) continue;
    // The first two and the last two knots may be no changes of the counter.
    const size_t from = std::max<size_t>(k - std::min(k, kLine), std::min<size_t>(k, 2));
    const size_t to = std::min(k + kLine, std::max(k, knots.size() - 3));
    const auto n = static_cast<double>(to - from + 1);
    double sum_u = 0, sum_uu = 0, sum_t = 0, sum_ut = 0;
    for (size_t i = from; i <= to; ++i) {
      const double u = static_cast<double>(i) - static_cast<double>(k);
      const double t = seconds(knots[i].t_ns - knots[k].t_ns);
      sum_u += u;
      sum_uu += u * u;
      sum_t += t;
      sum_ut += u * t;
    }
    shift_s[k] = (sum_uu * sum_t - sum_u * sum_ut) / (n * sum_uu - sum_u * sum_u);
    squares += shift_s[k] * shift_s[k];
    allowed += double{knots[k].half_s} * knots[k].half_s;
  }
  if (squares > kStableRms * kStableRms * allowed) return;
  steady_ = true;
  for (size_t k = 0; k < knots.size(); ++k) {
    if (!taken[k]) continue;
    shift_s_[k] = shift_s[k];
    half_s_[k] *= kFittedHalf;
  }
}

std::vector<Reading> Finder::readings() const {
  const auto& knots = track_.knots;
  std::vector<Reading> found;
  found.reserve(chosen_.size());
  for (size_t i = 0; i < chosen_.size(); ++i) {
    const size_t k = chosen_[i];
    const double start_s = seconds(knots[k].t_ns - times_ns_.front()) + shift_s_[k];
    const double end_s = seconds(knots[k + 1].t_ns - times_ns_.front()) + shift_s_[k + 1];
    const bool follows = i > 0 && chosen_[i - 1] + 1 == k;
    found.push_back({start_s, end_s, half_s_[k], half_s_[k + 1],
                     knots[k + 1].energy_j - knots[k].energy_j, follows});
  }
  return found;
}

Timetable Finder::timetable() const {
  std::vector<double> times_s;
  std::vector<uint32_t> places;
  for (const int64_t t_ns : times_ns_) times_s.push_back(seconds(t_ns - times_ns_.front()));
  for (const uint32_t state : states_.of) places.push_back(result_.place_of[state]);
  return Timetable(std::move(times_s), std::move(places), result_.powers());
}

// Where a state lasts that was solved and is too short to be seen by itself.
void Finder::cover() {
  result_.covers.assign(track_.knots.size(), false);
  for (size_t k = 0; k + 1 < track_.knots.size(); ++k) {
    if (!is_whole(k)) continue;
    const Slices within = slices(track_.knots[k].t_ns, track_.knots[k + 1].t_ns);
    for (size_t i = within.from; i < within.to && !result_.covers[k]; ++i) {
      result_.covers[k] = is_short(i) && result_.place_of[states_.of[i]] != Repeats::kNone;
    }
  }
}

// By how much a stage's length differs from one repeat to the next, of that where it does so most.
// The fit takes each to have one power: if that goes with the length, it finds neither.
double Finder::unevenness() const {
  struct Sums {
    double count = 0, time_s = 0, square = 0;
  };
  std::vector<Sums> sums(result_.powers());
  for (size_t i = 0; i < states_.of.size(); ++i) {
    const uint32_t place = result_.place_of[states_.of[i]];
    if (place == Repeats::kNone || states_.of[i] == states_.between || !is_short(i)) continue;
    const double length_s = seconds(times_ns_[i + 1] - times_ns_[i]);
    sums[place].count += 1;
    sums[place].time_s += length_s;
    sums[place].square += length_s * length_s;
  }
  double most = 0;
  for (const Sums& sum : sums) {
    if (sum.count < kOften) continue;
    const double mean_s = sum.time_s / sum.count;
    most = std::max(most, sum.square / sum.count / (mean_s * mean_s) - 1);
  }
  return std::sqrt(std::max(most, 0.0));
}

Repeats Finder::find() {
  shortest_s_ = kShort * seconds(std::max(track_.period_ns, track_.interval_ns));
  if (track_.quantum_j <= 0 || shortest_s_ <= 0 || times_ns_.size() < kOften) return result_;
  choose();
  number_states();
  const size_t states = result_.powers();
  if (states < 2 || states > kMostStates ||
      chosen_.size() < std::max(kFewReadings, kReadingsPerState * states)) {
    return result_;
  }
  steady_stamps();
  result_.tried = true;
  result_.fit = fit_joint(timetable(), readings(), track_.quantum_j);
  if (!result_.solved()) {
    result_.words = "stages too short for this sensor were not told apart: " + result_.fit.refusal;
    return result_;
  }
  if (result_.fit.noise_share > kNoiseShare && unevenness() > kUneven) {
    result_.fit.refusal = "its power and its length both differ from one repeat to the next";
    result_.words = "stages too short for this sensor were not told apart: " + result_.fit.refusal;
    return result_;
  }
  if (steady_) {
    for (double& value : result_.fit.covariance_w2) value *= kFittedSigmas * kFittedSigmas;
  }
  cover();
  char text[200];
  if (result_.fit.lag_s != 0) {
    std::snprintf(
        text, sizeof text,
        "power follows the marks of short stages by %.1f ms (+- %.1f): taken into account",
        1e3 * result_.fit.lag_s, 2e3 * result_.fit.lag_error_s);
    result_.words = text;
  }
  if (result_.fit.noise_share > kNoiseShare) {
    std::snprintf(text, sizeof text,
                  "the power of short stages differs from one repeat to the next (%.1f %% of an "
                  "update's energy): that limits how well they are known, more than the sensor",
                  100 * result_.fit.noise);
    result_.words += (result_.words.empty() ? "" : "; ") + std::string(text);
  }
  return result_;
}

}  // namespace

States find_states(const Sweep& swept) {
  States states;
  std::unordered_map<uint64_t, uint32_t> number;
  std::vector<uint32_t> open(swept.rows.size());
  const size_t slices = swept.times_ns.size() - 1;
  states.of.reserve(slices);
  uint64_t key = 0;
  size_t step = 0;
  for (uint32_t slice = 0; slice < slices; ++slice) {
    for (; step < swept.steps.size() && swept.steps[step].time <= slice; ++step) {
      const uint32_t row = swept.entries[swept.steps[step].entry].row;
      const bool turns = swept.steps[step].end ? --open[row] == 0 : open[row]++ == 0;
      if (turns) key ^= hash(row);
    }
    const auto [found, added] = number.try_emplace(key, states.count.size());
    if (added) states.count.push_back(0);
    if (key == 0) states.between = found->second;
    ++states.count[found->second];
    states.of.push_back(found->second);
  }
  return states;
}

double Repeats::doubt_j(std::span<const double> spent_s) const {
  const size_t n = powers();
  double variance = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      variance += spent_s[i] * spent_s[j] * fit.covariance_w2[i * n + j];
    }
  }
  return kSigmas * std::sqrt(std::max(variance, 0.0));
}

Repeats solve_repeats(const Track& track, std::span<const int64_t> times_ns, const States& states) {
  return Finder(track, times_ns, states).find();
}

}  // namespace pyprof
