#include "core/coarse.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/counter.h"

namespace pyprof {
namespace {

constexpr double kSecond = 1e-9;

double seconds(int64_t ns) { return static_cast<double>(ns) * kSecond; }

uint64_t whole(double number) {
  return number > 0 && number < 9e18 ? static_cast<uint64_t>(std::floor(number)) : 0;
}

}  // namespace

Channel coarse_channel(Channel channel, const Grain& grain) {
  if (grain.step_ns <= 0) return channel;
  channel.period_ns = grain.step_ns;
  if (channel.kind == Kind::kCounter) {
    channel.unit = grain.quantum_j;
    channel.range = 0;
  } else {
    channel.unit = grain.quantum_j / seconds(grain.step_ns);
    channel.window_ns = -1;
  }
  return channel;
}

Coarse::Coarse(std::vector<Channel> channels, std::vector<Grain> grains)
    : channels_(std::move(channels)), grains_(std::move(grains)), states_(channels_.size()) {
  grains_.resize(channels_.size());
}

int64_t Coarse::cell(size_t index, int64_t t_ns) const {
  const int64_t step = grains_[index].step_ns;
  return t_ns >= 0 ? t_ns / step : -((step - 1 - t_ns) / step);
}

void Coarse::add(std::span<const uint8_t> bytes, std::vector<uint8_t>& out) {
  for (Frame& frame : decode_frames(bytes).frames) {
    const size_t index = frame.channel;
    if (index >= channels_.size()) continue;
    State& state = states_[index];
    const int64_t step = grains_[index].step_ns;
    if (step <= 0) {
      encode_frame(frame, out);
      continue;
    }
    Frame shown;
    shown.channel = frame.channel;
    shown.first_seq = state.next_seq;
    const bool counts = channels_[index].kind == Kind::kCounter;
    for (const Change& change : frame.changes) {
      counts ? add_count(index, change, shown) : add_power(index, change, shown);
    }
    const int64_t read_ns = frame.pulse.last_read_ns;
    if (counts && state.holds && cell(index, read_ns) > cell(index, state.held.at_ns)) {
      show(state, shown);
    }
    if (!counts && state.started && cell(index, read_ns) > cell(index, state.shown_ns)) {
      close_power(index, read_ns, 0, shown);
    }
    state.next_seq += shown.changes.size();
    // The reads themselves are told on the grid as well.
    shown.pulse = {cell(index, read_ns) * step, step, 0, step};
    if (!shown.changes.empty()) {
      const int64_t last_ns = shown.changes.back().first_new_ns;
      shown.pulse.last_read_ns = std::max(shown.pulse.last_read_ns, last_ns);
    }
    encode_frame(shown, out);
  }
}

void Coarse::show(State& state, Frame& shown) const {
  if (!state.holds) return;
  state.holds = false;
  const bool same = !shown.changes.empty() && shown.changes.back().raw == state.held.raw;
  if (same && state.held.flags == 0) return;
  shown.changes.push_back(state.held);
  state.shown_ns = state.held.at_ns;
}

void Coarse::add_count(size_t index, const Change& change, Frame& shown) {
  State& state = states_[index];
  const Channel& channel = channels_[index];
  uint8_t flags = change.flags;
  if (state.started) {
    const double most_j = channel.limit_w * seconds(change.first_new_ns - state.at_ns);
    const uint64_t most = most_j > 0 ? whole(most_j / channel.unit) + 1 : 0;
    const Step found = step(state.raw, change.raw, channel.range, most);
    const bool sound = found.kind == Step::Kind::kDifference || found.kind == Step::Kind::kWrapped;
    // After a reset the shown counter starts again as well: that is how a reader knows.
    state.energy_j = sound ? state.energy_j + static_cast<double>(found.counts) * channel.unit : 0;
  }
  const bool next = state.holds && cell(index, change.at_ns) > cell(index, state.held.at_ns);
  if (next) show(state, shown);
  const Change before = state.held;
  state.held = change;
  if (state.holds) {
    flags |= before.flags;
    if ((before.flags & kGap) != 0) state.held.last_old_ns = before.last_old_ns;
  }
  state.held.flags = static_cast<uint8_t>(flags & ~kHeld);
  state.held.raw = whole(state.energy_j / grains_[index].quantum_j);
  state.holds = true;
  if (!state.started) show(state, shown);
  state.started = true;
  state.raw = change.raw;
  state.at_ns = change.first_new_ns;
}

void Coarse::add_power(size_t index, const Change& change, Frame& shown) {
  State& state = states_[index];
  const double power_w = static_cast<double>(state.raw) * channels_[index].unit;
  if (!state.started || (change.flags & kGap) != 0) {
    if (state.started) close_power(index, change.last_old_ns, 0, shown);
    // A mean needs a beginning: the first one shown covers no time.
    Change first = change;
    first.last_old_ns = first.at_ns = change.first_new_ns;
    const double first_w = static_cast<double>(change.raw) * channels_[index].unit;
    const double unit_w = grains_[index].quantum_j / seconds(grains_[index].step_ns);
    first.raw = whole(first_w / unit_w + 0.5);
    if (state.started) first.last_old_ns = change.last_old_ns;
    shown.changes.push_back(first);
    state.shown_ns = state.at_ns = change.first_new_ns;
    state.energy_j = 0;
  } else {
    const int64_t at_ns = std::max(change.at_ns, state.at_ns);
    state.energy_j += power_w * seconds(at_ns - state.at_ns);
    state.at_ns = at_ns;
    state.raw = change.raw;
    if (cell(index, at_ns) > cell(index, state.shown_ns)) close_power(index, at_ns, 0, shown);
  }
  state.raw = change.raw;
  state.started = true;
}

void Coarse::close_power(size_t index, int64_t until_ns, uint8_t flags, Frame& shown) {
  State& state = states_[index];
  const double power_w = static_cast<double>(state.raw) * channels_[index].unit;
  if (until_ns > state.at_ns) {
    state.energy_j += power_w * seconds(until_ns - state.at_ns);
    state.at_ns = until_ns;
  }
  const double length_s = seconds(until_ns - state.shown_ns);
  if (length_s <= 0) return;
  const double unit_w = grains_[index].quantum_j / seconds(grains_[index].step_ns);
  const uint64_t mean = whole(state.energy_j / length_s / unit_w + 0.5);
  shown.changes.push_back({state.shown_ns, until_ns, until_ns, mean, flags});
  state.energy_j -= static_cast<double>(mean) * unit_w * length_s;  // the rest goes to the next one
  state.shown_ns = until_ns;
}

}  // namespace pyprof
