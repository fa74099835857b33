#include "core/account.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <utility>

#include "core/beat.h"
#include "core/repeats.h"

namespace pyprof {
namespace {

constexpr double kAlmostAll = 0.9;  // of a row's time: what must be solved for it to be
constexpr double kVague = 0.5;      // half-width of what is no resolution
constexpr size_t kMostBeats = 8;    // loops of one channel that are told
constexpr double kWeighty = 0.05;   // of a row's energy: a channel that must be fast enough for it
constexpr size_t kMostSteps = 1'000'000;

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

// One channel's energy in one row: the sum over the times in which the row was open.
struct RowSum {
  Stretch opens;   // summed by the stretches themselves
  Stretch pauses;  // by the outermost edges without the pauses between
  double wall_s = 0, pause_s = 0;
  uint32_t first = 0, last = 0;
  bool any = false;
  std::vector<double> spent_s;  // of entries solved as repeats: in the state of each power
  double solved_s = 0;
  uint64_t solved = 0, entries = 0;
};

// Both sums bound the same energy: many short stretches with short pauses between are known better
// from outside, few long ones from inside.
Estimate settle(const Curve& curve, const RowSum& sum, std::span<const Edge> edges,
                std::span<const int64_t> times_ns) {
  Stretch best = sum.opens;
  if (sum.pause_s > 0) {
    const double outer_s = seconds(times_ns[sum.last] - times_ns[sum.first]);
    const Stretch outer = curve.stretch(edges[sum.first], edges[sum.last], outer_s);
    best.down_j = std::min(best.down_j, outer.down_j + sum.pauses.up_j);
    best.up_j = std::min(best.up_j, outer.up_j + sum.pauses.down_j);
  }
  Estimate estimate = curve.settle(best, sum.wall_s);
  if (sum.solved == 0) return estimate;
  const double doubt_j = curve.repeats().doubt_j(sum.spent_s);
  estimate.down_j =
      std::min(std::hypot(estimate.down_j, doubt_j), std::max(estimate.energy_j, 0.0));
  estimate.up_j = std::hypot(estimate.up_j, doubt_j);
  estimate.causes[kRepeats] = doubt_j;
  return estimate;
}

// Of the doubts of two channels of one domain this share is common to both: they see one load and
// are read by one thread. From simulation with a known truth.
constexpr double kCommon = 0.5;

// Half-widths of a row's energy from the channels of one domain.
struct Doubt {
  double down_j = 0, up_j = 0;              // of what sampling can't see, all in common
  double down2_j2 = 0, up2_j2 = 0;          // the same, each on its own
  double model_down_j = 0, model_up_j = 0;  // of models' ratios

  void add(const Estimate& estimate, const Channel& channel) {
    down_j += estimate.down_j;
    up_j += estimate.up_j;
    down2_j2 += estimate.down_j * estimate.down_j;
    up2_j2 += estimate.up_j * estimate.up_j;
    model_down_j += std::max(0.0, estimate.energy_j * (1 - channel.low_ratio));
    model_up_j += std::max(0.0, estimate.energy_j * (channel.high_ratio - 1));
  }
  static double mix_j2(double linear_j, double squares_j2) {
    return kCommon * linear_j * linear_j + (1 - kCommon) * squares_j2;
  }
};

// The interval of a row: domains in quadrature, models' ratios linearly.
struct Interval {
  double low_j, high_j;

  Interval(double energy_j, std::span<const Doubt> domains) {
    double down2_j2 = 0, up2_j2 = 0, down_j = 0, up_j = 0;
    for (const Doubt& doubt : domains) {
      down2_j2 += Doubt::mix_j2(doubt.down_j, doubt.down2_j2);
      up2_j2 += Doubt::mix_j2(doubt.up_j, doubt.up2_j2);
      down_j += doubt.model_down_j;
      up_j += doubt.model_up_j;
    }
    low_j = std::max(0.0, energy_j - down_j - std::sqrt(down2_j2));
    high_j = energy_j + up_j + std::sqrt(up2_j2);
  }
};

// Half-widths by cause, of one channel or of a row from all of its channels.
Causes causes_of(const Estimate& estimate, const Channel& channel) {
  Causes causes = estimate.causes;
  causes[kModel] = estimate.energy_j * (channel.high_ratio - channel.low_ratio) / 2;
  return causes;
}

struct CauseSums {
  Causes linear{}, squares{};

  void add(const Causes& causes) {
    for (size_t i = 0; i < kCauses; ++i) {
      linear[i] += causes[i];
      squares[i] += causes[i] * causes[i];
    }
  }
  Causes settle() const {
    Causes causes = linear;
    for (size_t i = 0; i < kModel; ++i) causes[i] = std::sqrt(Doubt::mix_j2(linear[i], squares[i]));
    return causes;
  }
};

// For each channel the number of its domain.
struct Domains {
  std::vector<size_t> of;
  size_t count = 0;

  explicit Domains(const std::vector<Channel>& channels) {
    std::vector<std::string_view> names;
    for (const Channel& channel : channels) {
      const auto found = std::find(names.begin(), names.end(), channel.domain);
      of.push_back(static_cast<size_t>(found - names.begin()));
      if (found == names.end()) names.push_back(channel.domain);
    }
    count = names.size();
  }
};

class Solver {
 public:
  Solver(const std::vector<Channel>& channels, Sweep swept)
      : channels_(channels),
        domains_(channels),
        swept_(std::move(swept)),
        states_(find_states(swept_)),
        rhythms_(find_rhythms(swept_)),
        total_j_(swept_.times_ns.size()) {
    const auto& rows = swept_.rows;
    doubts_.resize(rows.size() * domains_.count);
    wall_s_.resize(rows.size());
    causes_.resize(rows.size());
    told_.resize(rows.size());
    refused_.resize(rows.size());
    result_.stages.resize(rows.size());
    for (const Open& open : swept_.opens) wall_s_[open.row] += duration_s(open.from, open.to);
    for (size_t i = 0; i < rows.size(); ++i) {
      result_.stages[i].channels_j.assign(channels.size(), kUnknown);
      result_.stages[i].wall_s = wall_s_[i];
    }
  }
  std::span<const int64_t> times_ns() const { return swept_.times_ns; }
  const States& states() const { return states_; }
  void add(const Curve& curve);
  AccountResult finish(uint64_t damaged_bytes);

 private:
  double duration_s(uint32_t from, uint32_t to) const {
    return seconds(swept_.times_ns[to] - swept_.times_ns[from]);
  }
  void find_edges(const Curve& curve);
  std::vector<RowSum> sum_rows(const Curve& curve) const;
  std::vector<double> find_blind(const Curve& curve, uint32_t index);
  ChannelResult summarise(const Curve& curve, const Channel& channel, const Estimate& whole) const;
  void find_unresolved(StageResult& stage, size_t row) const;
  void note_repeats(const Curve& curve, const RowSum& sum, const Estimate& estimate, size_t row);

  std::span<const Doubt> doubts(size_t row) const {
    return std::span(doubts_).subspan(row * domains_.count, domains_.count);
  }

  const std::vector<Channel>& channels_;
  const Domains domains_;
  Sweep swept_;
  const States states_;
  const std::vector<Rhythm> rhythms_;
  std::vector<double> total_j_;    // of counted channels at each time
  std::vector<Edge> edges_;        // of the channel at hand at each time
  std::vector<Doubt> doubts_;      // of each row its domains'
  std::vector<CauseSums> causes_;  // of each row
  std::vector<double> wall_s_;
  std::vector<double> shortest_s_;  // of each channel: stages below this are not resolved
  // Of each row: channels on which its entries were solved together, and those that refused.
  std::vector<std::vector<uint32_t>> told_, refused_;
  AccountResult result_;
  bool known_ = false;
};

void Solver::find_edges(const Curve& curve) {
  edges_.clear();
  edges_.reserve(swept_.times_ns.size());
  Curve::Cursor cursor;
  for (const int64_t t_ns : swept_.times_ns) edges_.push_back(curve.edge(t_ns, cursor));
}

std::vector<RowSum> Solver::sum_rows(const Curve& curve) const {
  std::vector<RowSum> sums(swept_.rows.size());
  Curve::Cursor cursor;
  const Repeats& repeats = curve.repeats();
  const double short_s = shortest_s_.back();
  for (const Open& open : swept_.opens) {
    RowSum& sum = sums[open.row];
    if (sum.any) {
      const double pause_s = duration_s(sum.last, open.from);
      sum.pauses.add(curve.stretch(edges_[sum.last], edges_[open.from], pause_s));
      sum.pause_s += pause_s;
    } else {
      sum.first = open.from;
    }
    const double open_s = duration_s(open.from, open.to);
    ++sum.entries;
    Stretch stretch = curve.stretch(edges_[open.from], edges_[open.to], open_s);
    if (open_s < short_s &&
        curve.repeated(swept_.times_ns[open.from], swept_.times_ns[open.to], cursor)) {
      stretch = {};
      stretch.energy_j = edges_[open.to].energy_j - edges_[open.from].energy_j;
      sum.spent_s.resize(repeats.powers());
      sum.solved_s += open_s;
      ++sum.solved;
      for (uint32_t i = open.from; i < open.to; ++i) {
        const uint32_t place = repeats.place_of[states_.of[i]];
        if (place != Repeats::kNone) sum.spent_s[place] += duration_s(i, i + 1);
      }
    }
    sum.opens.add(stretch);
    sum.wall_s += open_s;
    sum.last = open.to;
    sum.any = true;
  }
  return sums;
}

// Of each row the time in which a gauge may have met a loop always at the same point: the loop's
// own rows, what is inside of them and what is around. Empty where there is none.
std::vector<double> Solver::find_blind(const Curve& curve, uint32_t index) {
  const double sensor_s = seconds(curve.update_period_ns()), window_s = curve.window_s();
  std::vector<double> blind_s;
  if (window_s < 0) return blind_s;
  const auto& rows = swept_.rows;
  const auto inside = [](std::string_view inner, std::string_view outer) {
    return outer.empty() || inner == outer ||
           (inner.size() > outer.size() && inner.starts_with(outer) && inner[outer.size()] == '/');
  };
  size_t told = 0;
  for (size_t row = 1; row < rows.size() && told < kMostBeats; ++row) {
    if (!beats(rhythms_[row], sensor_s, window_s)) continue;
    if (blind_s.empty()) blind_s.resize(rows.size());
    if (blind_s[row] >= wall_s_[row]) continue;  // inside a loop that was found before
    ++told;
    for (size_t other = 0; other < rows.size(); ++other) {
      if (inside(rows[other].path, rows[row].path)) {
        blind_s[other] = wall_s_[other];
      } else if (inside(rows[row].path, rows[other].path)) {
        blind_s[other] = std::min(blind_s[other] + wall_s_[row], wall_s_[other]);
      }
    }
    char text[256];
    std::snprintf(text, sizeof text,
                  "'%.80s' repeats every %.4g ms, near a multiple of %s of this sensor (%.4g ms): "
                  "it may have seen the same part of it each time, so the interval is wide",
                  rows[row].path.c_str(), 1e3 * rhythms_[row].period_s,
                  window_s > sensor_s ? "the averaging window" : "half the period",
                  1e3 * (window_s > sensor_s ? window_s : sensor_s));
    result_.events.emplace_back(index, CurveEvent{swept_.times_ns.front(), "note", 1, text});
  }
  return blind_s;
}

ChannelResult Solver::summarise(const Curve& curve, const Channel& channel,
                                const Estimate& whole) const {
  const int64_t from = swept_.times_ns.front(), to = swept_.times_ns.back();
  Doubt doubt;
  doubt.add(whole, channel);
  const Interval interval(whole.energy_j, std::span(&doubt, 1));
  ChannelResult result;
  result.known = true;
  result.bound = causes_of(whole, channel);
  result.energy_j = whole.energy_j;
  result.low_j = interval.low_j;
  result.high_j = interval.high_j;
  result.mean_w = curve.mean_w(from, to);
  result.peak_w = curve.peak_w();
  result.coverage = curve.coverage(from, to);
  result.update_period_s =
      curve.update_period_ns() > 0 ? seconds(curve.update_period_ns()) : kUnknown;
  return result;
}

void Solver::add(const Curve& curve) {
  const auto index = static_cast<uint32_t>(result_.channels.size());
  const Channel& channel = channels_[index];
  shortest_s_.push_back(2 * seconds(std::max(curve.update_period_ns(), curve.read_interval_ns())));
  for (const CurveEvent& event : curve.events()) result_.events.emplace_back(index, event);
  if (curve.empty()) {
    result_.channels.push_back(
        {false, kUnknown, kUnknown, kUnknown, kUnknown, kUnknown, kUnknown, kUnknown});
    return;
  }
  find_edges(curve);
  const std::vector<RowSum> sums = sum_rows(curve);
  const std::vector<double> blind_s = find_blind(curve, index);
  for (size_t row = 0; row < sums.size(); ++row) {
    StageResult& stage = result_.stages[row];
    Estimate estimate = settle(curve, sums[row], edges_, swept_.times_ns);
    if (!blind_s.empty() && blind_s[row] > 0) curve.blind(estimate, wall_s_[row], blind_s[row]);
    stage.channels_j[index] = estimate.energy_j;
    if (row == 0) result_.channels.push_back(summarise(curve, channel, estimate));
    note_repeats(curve, sums[row], estimate, row);
    if (!channel.counted) continue;
    stage.energy_j += estimate.energy_j;
    doubts_[row * domains_.count + domains_.of[index]].add(estimate, channel);
    causes_[row].add(causes_of(estimate, channel));
  }
  const Repeats& repeats = curve.repeats();
  const auto refuses = [&](const auto& row) { return !row.empty() && row.back() == index; };
  const bool matters = repeats.solved() || std::any_of(refused_.begin(), refused_.end(), refuses);
  if (matters && !repeats.words.empty()) {
    result_.events.emplace_back(index,
                                CurveEvent{swept_.times_ns.front(), "note", 1, repeats.words});
  }
  if (!channel.counted) return;
  known_ = true;
  for (size_t i = 0; i < edges_.size(); ++i) total_j_[i] += edges_[i].energy_j;
}

void Solver::note_repeats(const Curve& curve, const RowSum& sum, const Estimate& estimate,
                          size_t row) {
  const Repeats& repeats = curve.repeats();
  if (!repeats.tried || row == 0 || sum.entries == 0) return;
  const auto index = static_cast<uint32_t>(result_.channels.size()) - 1;
  const bool short_entries = sum.wall_s < shortest_s_.back() * static_cast<double>(sum.entries);
  if (!short_entries) return;
  const double doubt_j = std::max(estimate.down_j, estimate.up_j);
  if (!repeats.solved() || sum.solved_s < kAlmostAll * sum.wall_s ||
      doubt_j > kVague * estimate.energy_j) {
    refused_[row].push_back(index);
    return;
  }
  told_[row].push_back(index);
  result_.stages[row].solved.push_back(
      {index, estimate.energy_j, estimate.energy_j - estimate.down_j,
       estimate.energy_j + estimate.up_j, estimate.energy_j / sum.wall_s, sum.solved,
       repeats.fit.lag_s});
}

void Solver::find_unresolved(StageResult& stage, size_t row) const {
  const auto holds = [](const std::vector<uint32_t>& list, uint32_t channel) {
    return std::find(list.begin(), list.end(), channel) != list.end();
  };
  for (uint32_t i = 0; i < channels_.size(); ++i) {
    if (!channels_[i].counted || !result_.channels[i].known) continue;
    const bool weighty = stage.channels_j[i] >= kWeighty * stage.energy_j;
    if (!weighty || holds(told_[row], i)) continue;
    if (stage.wall_s < shortest_s_[i] || holds(refused_[row], i)) stage.unresolved.push_back(i);
  }
}

AccountResult Solver::finish(uint64_t damaged_bytes) {
  const std::vector<double> self_j = swept_.share(total_j_);
  for (size_t i = 0; i < swept_.rows.size(); ++i) {
    Row& row = swept_.rows[i];
    StageResult& stage = result_.stages[i];
    stage.path = std::move(row.path);
    stage.phase = row.phase;
    stage.count = row.count;
    stage.processes = row.processes;
    stage.duration_s = row.duration_s;
    stage.cut = row.cut;
    stage.synced = row.synced;
    stage.self_energy_j = known_ ? self_j[i] : kUnknown;
    const Interval interval(stage.energy_j, doubts(i));
    stage.low_j = known_ ? interval.low_j : kUnknown;
    stage.high_j = known_ ? interval.high_j : kUnknown;
    if (!known_) stage.energy_j = kUnknown;
    stage.bound = causes_[i].settle();
    find_unresolved(stage, i);
  }
  const StageResult& root = result_.stages.front();
  result_.energy_j = root.energy_j;
  result_.low_j = root.low_j;
  result_.high_j = root.high_j;
  result_.damaged_bytes = damaged_bytes;
  return std::move(result_);
}

}  // namespace

Account::Account(std::vector<Channel> channels, int64_t start_ns, int64_t end_ns, Phase root_phase)
    : channels_(std::move(channels)),
      start_ns_(start_ns),
      end_ns_(std::max(start_ns, end_ns)),
      root_phase_(root_phase == Phase::kUnset ? Phase::kTraining : root_phase),
      frames_(channels_.size()),
      rolls_(channels_.size()) {}

void Account::add_frames(std::span<const uint8_t> bytes) {
  Decoded decoded = decode_frames(bytes);
  damaged_bytes_ += decoded.damaged_bytes;
  for (size_t i = 0; i < decoded.frames.size(); ++i) {
    const uint32_t channel = decoded.frames[i].channel;
    const auto piece = decoded.pieces[i];
    if (channel < frames_.size()) frames_[channel].emplace_back(piece.begin(), piece.end());
  }
}

void Account::add_marks(uint32_t process, std::span<const uint8_t> bytes, int64_t shift_ns) {
  DecodedMarks decoded = decode_marks(bytes);
  damaged_bytes_ += decoded.damaged_bytes;
  for (MarkFrame& frame : decoded.frames) marks_.push_back({process, shift_ns, std::move(frame)});
}

void Account::add_rolls(uint32_t channel, std::vector<Roll> rolls) {
  std::erase_if(rolls, [&](const Roll& roll) {
    return roll.from_ns < start_ns_ || roll.to_ns > end_ns_ || roll.to_ns <= roll.from_ns;
  });
  if (channel < rolls_.size()) rolls_[channel] = std::move(rolls);
}

std::vector<int64_t> Account::times_ns() const {
  return sweep(marks_, start_ns_, end_ns_, root_phase_).times_ns;
}

Curve Account::make_curve(size_t channel, std::span<const int64_t> times_ns,
                          const States& states) const {
  std::vector<Frame> frames;
  for (const auto& piece : frames_[channel]) {
    frames.push_back(std::move(decode_frames(piece).frames.front()));
  }
  Curve curve(channels_[channel], std::move(frames), start_ns_, end_ns_, times_ns, rolls_[channel]);
  curve.solve(states);
  return curve;
}

AccountResult Account::solve() const {
  Solver solver(channels_, sweep(marks_, start_ns_, end_ns_, root_phase_));
  for (size_t i = 0; i < channels_.size(); ++i) {
    solver.add(make_curve(i, solver.times_ns(), solver.states()));
  }
  return solver.finish(damaged_bytes_);
}

std::vector<std::vector<double>> Account::series(int64_t from_ns, int64_t to_ns,
                                                 size_t steps) const {
  steps = std::min(steps, kMostSteps);
  std::vector<std::vector<double>> table(steps, std::vector<double>(channels_.size(), kUnknown));
  from_ns = std::clamp(from_ns, start_ns_, end_ns_);
  to_ns = std::clamp(to_ns, from_ns, end_ns_);
  const Sweep swept = sweep(marks_, start_ns_, end_ns_, root_phase_);
  const States states = find_states(swept);
  for (size_t channel = 0; channel < channels_.size(); ++channel) {
    const Curve curve = make_curve(channel, swept.times_ns, states);
    if (curve.empty()) continue;
    Curve::Cursor cursor;
    double before_j = curve.edge(from_ns, cursor).energy_j;
    for (size_t i = 0; i < steps; ++i) {
      const double share = static_cast<double>(i + 1) / static_cast<double>(steps);
      const auto into_ns = static_cast<int64_t>(static_cast<double>(to_ns - from_ns) * share);
      const double energy_j = curve.edge(from_ns + into_ns, cursor).energy_j;
      table[i][channel] = energy_j - before_j;
      before_j = energy_j;
    }
  }
  return table;
}

OwnSeries Account::own(std::span<const int64_t> times_ns) const {
  Sweep swept = sweep(marks_, start_ns_, end_ns_, root_phase_);
  const States states = find_states(swept);
  std::vector<double> total_j(swept.times_ns.size());
  std::vector<Stop> stops;
  for (const int64_t t_ns : times_ns) stops.push_back({std::clamp(t_ns, start_ns_, end_ns_), 0});
  OwnSeries result;
  for (size_t i = 0; i < channels_.size(); ++i) {
    if (!channels_[i].counted) continue;
    // The marks bend the curve, the moments do not: all of them are read off the same one.
    const Curve curve = make_curve(i, swept.times_ns, states);
    if (curve.empty()) continue;
    result.known = true;
    Curve::Cursor at_mark, at_stop;
    for (size_t k = 0; k < total_j.size(); ++k) {
      total_j[k] += curve.edge(swept.times_ns[k], at_mark).energy_j;
    }
    for (Stop& stop : stops) stop.energy_j += curve.edge(stop.t_ns, at_stop).energy_j;
  }
  result.own_j = swept.share(total_j, stops);
  result.rows = std::move(swept.rows);
  return result;
}

}  // namespace pyprof
