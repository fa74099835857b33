#include "core/slot.h"

#include <algorithm>

#include "core/clock.h"

namespace pyprof {
namespace {

// A device that was away for so long may have come back with another phase.
constexpr int64_t kLongAwayNs = kNsPerS;
// A counter of something that draws power never rests for so many updates.
constexpr int64_t kStuckUpdates = 50;
constexpr int64_t kStuckNs = 5 * kNsPerS;
// A driver's call may hold a lock that the workload needs: how long is too long, and how often.
constexpr int64_t kSlowCallNs = 5 * kNsPerMs;
constexpr int64_t kSlowCallShare = 20;  // of the interval between reads
constexpr int kCalmHundreds = 3;
constexpr int64_t kNeverNs = int64_t{1} << 60;
constexpr int kMostStride = 16;

Pace with_documented(Pace pace, const Channel& lead) {
  if (lead.kind == Kind::kGauge) pace.documented_ns = lead.period_ns;
  return pace;
}

}  // namespace

Slot::Slot(std::unique_ptr<Unit> unit, Pace pace, uint32_t first_index, size_t capacity)
    : reader_(&unit->reader()),
      samples_(&sample_),
      count_(static_cast<uint32_t>(unit->channels().size())),
      vendor_(unit->lane() != Lane::kFiles),
      pacer_(with_documented(pace, unit->channels().front())),
      unit_(std::move(unit)),
      pace_(with_documented(pace, unit_->channels().front())) {
  if (count_ > 1) {
    many_ = std::make_unique<Sample[]>(count_);
    samples_ = many_.get();
  }
  const auto& channels = unit_->channels();
  channels_.reserve(channels.size());
  for (size_t i = 0; i < channels.size(); ++i) {
    ChannelState state{.range = channels[i].range,
                       .index = first_index + static_cast<uint32_t>(i),
                       .kind = channels[i].kind,
                       .buffer = TraceBuffer(capacity),
                       .documented_ns = channels[i].period_ns,
                       .episode = {}};
    channels_.push_back(std::move(state));
  }
  lead_ = channels_.data();
}

Plan Slot::start(int64_t now_ns) { return pacer_.start(now_ns); }

Plan Slot::store_slow(int64_t before_ns, IncidentLog& log) noexcept {
  const int64_t took = after_ns_ - before_ns;
  if (took > kUndatedNs) return discard(before_ns, log);
  ++slow_calls_;
  if (--calls_left_ == 0) judge_calls(log);
  return store_fully(before_ns + took / 2, log);
}

Plan Slot::store_fully(int64_t at, IncidentLog& log) noexcept {
  const Sample& sample = samples_[0];
  const ChannelState& lead = channels_[0];
  Plan plan;
  if (sample.status != Sample::Status::kOk) {
    plan = pacer_.retry(after_ns_);
  } else {
    const bool changed = lead.seen && sample.raw != lead.raw;
    const bool reset =
        changed && lead.kind == Kind::kCounter && lead.range == 0 && sample.raw < lead.raw;
    const bool away = lead.failed_since && at - lead.last_read_ns > kLongAwayNs;
    plan = pacer_.next(at, after_ns_, changed, lead.last_read_ns);
    if (reset || away) plan = pacer_.restart(after_ns_);
  }
  bool failed = false;
  for (size_t i = 0; i < channels_.size(); ++i) {
    failed = failed || samples_[i].status != Sample::Status::kOk;
    take(i, at, log);
  }
  failed_ += failed;
  if (pacer_.mode() == Pacer::Mode::kIrregular && !told_irregular_) {
    told_irregular_ = true;
    const double interval_s = static_cast<double>(pacer_.interval_ns()) / kNsPerS;
    log.note({.t_ns = after_ns_,
              .kind = Incident::Kind::kIrregular,
              .channel = static_cast<int32_t>(lead.index),
              .figure = interval_s});
  }
  const bool fine = lead.seen && !lead.failed_since && !lead.told_stuck;
  const bool plain = channels_.size() == 1 && pacer_.plain() && fine;
  gap_ns_ = plain ? longest_ns(lead) : kNotPlain;
  still_ns_ = still_for_ns(lead);
  still_until_ns_ = lead.changed_at_ns + still_ns_;
  return plan;
}

void Slot::learn(int64_t changed_at_ns, int64_t at_ns) noexcept {
  pacer_.learn(changed_at_ns, at_ns);
  gap_ns_ = longest_ns(channels_[0]);
  still_ns_ = still_for_ns(channels_[0]);
}

Plan Slot::discard(int64_t before_ns, IncidentLog& log) noexcept {
  std::fill_n(samples_, count_, Sample{0, Sample::Status::kFailed, 0});
  ++failed_;
  for (ChannelState& channel : channels_) channel.failed_since = true;
  gap_ns_ = kNotPlain;
  log.note({.t_ns = before_ns,
            .kind = Incident::Kind::kHung,
            .channel = static_cast<int32_t>(channels_[0].index),
            .figure = static_cast<double>(after_ns_ - before_ns) / kNsPerS});
  return {after_ns_, after_ns_};
}

int64_t Slot::planned_ns(const ChannelState& channel) const {
  const int64_t period = pacer_.period_ns() > 0 ? pacer_.period_ns() : channel.documented_ns;
  return std::max(pacer_.interval_ns(), period);
}

// Between two reads, beyond which nothing is known of the time between.
int64_t Slot::longest_ns(const ChannelState& channel) const {
  return 4 * planned_ns(channel) + 50 * kNsPerMs;
}

void Slot::take(size_t which, int64_t at_ns, IncidentLog& log) noexcept {
  ChannelState& channel = channels_[which];
  const Sample& sample = samples_[which];
  if (sample.status != Sample::Status::kOk) {
    channel.failed_since = true;
    note_failure(channel, sample, at_ns, log);
    return;
  }
  if (channel.episode.count != 0) note_recovery(channel, at_ns, log, false);
  const int64_t elapsed = at_ns - channel.last_read_ns;
  const int64_t most = channel.failed_since ? 2 * planned_ns(channel) : longest_ns(channel);
  const bool gap = channel.seen && elapsed > most;
  channel.failed_since = false;
  const bool changed = !channel.seen || sample.raw != channel.raw;
  if (changed || gap) {
    Change change{channel.last_read_ns, at_ns, at_ns, sample.raw, 0};
    if (!channel.seen) {
      change.last_old_ns = at_ns;
      change.flags = kFirst;
    } else if (gap) {
      change.flags = static_cast<uint8_t>(changed ? kGap : kGap | kHeld);
    } else {
      change.at_ns =
          std::clamp(which == 0 ? pacer_.changed_at_ns() : at_ns, channel.last_read_ns, at_ns);
    }
    channel.buffer.push(change);
    if (changed) {
      channel.changed_at_ns = change.at_ns;
      channel.told_stuck = false;
    }
    channel.raw = sample.raw;
    channel.seen = true;
  } else if (channel.kind == Kind::kCounter && !channel.told_stuck) {
    note_stuck(channel, at_ns, log);
  }
  channel.last_read_ns = at_ns;
}

// Only a counter that moved at a known pace can be said to stand still: an idle one may never move.
int64_t Slot::still_for_ns(const ChannelState& channel) const {
  if (channel.kind != Kind::kCounter || pacer_.period_ns() == 0) return kNeverNs;
  return std::max(kStuckNs, kStuckUpdates * pacer_.period_ns());
}

void Slot::note_stuck(ChannelState& channel, int64_t at_ns, IncidentLog& log) {
  const int64_t still = at_ns - channel.changed_at_ns;
  if (still < still_for_ns(channel)) return;
  channel.told_stuck = true;
  log.note({.t_ns = at_ns,
            .kind = Incident::Kind::kStuck,
            .channel = static_cast<int32_t>(channel.index),
            .figure = static_cast<double>(still) / kNsPerS});
}

void Slot::note_failure(ChannelState& channel, const Sample& sample, int64_t at_ns,
                        IncidentLog& log) {
  ChannelState::Episode& episode = channel.episode;
  if (episode.count != 0 && episode.status != sample.status)
    note_recovery(channel, at_ns, log, false);
  if (episode.count == 0) episode = {at_ns, 0, sample.status, sample.code};
  ++episode.count;
}

void Slot::note_recovery(ChannelState& channel, int64_t at_ns, IncidentLog& log, bool at_end) {
  ChannelState::Episode& episode = channel.episode;
  const auto index = static_cast<int32_t>(channel.index);
  log.note({.t_ns = episode.start_ns,
            .kind = incident_of(episode.status),
            .channel = index,
            .count = episode.count,
            .code = episode.code,
            .unit = unit_.get(),
            .at_end = at_end});
  if (episode.status == Sample::Status::kLost && !at_end) {
    log.note({.t_ns = at_ns, .kind = Incident::Kind::kBack, .channel = index});
  }
  episode = {};
}

void Slot::end(IncidentLog& log) noexcept {
  for (ChannelState& channel : channels_) {
    if (channel.episode.count != 0) note_recovery(channel, after_ns_, log, true);
  }
}

bool Slot::settled(int64_t from_ns) const {
  for (const ChannelState& channel : channels_) {
    if (channel.last_read_ns < from_ns) return false;
    // A value that is at most one fast update old says enough; a slow sensor's next one is due.
    const int64_t period = pacer_.period_ns();
    const int64_t age = period < 5 * kNsPerMs ? period : 0;
    if (channel.kind == Kind::kCounter && channel.changed_at_ns + age < from_ns) return false;
  }
  return true;
}

// -- restraint ------------------------------------------------------------------------------------

void Slot::set_lane_stride(int stride) {
  lane_stride_ = stride;
  gap_ns_ = kNotPlain;  // until the next read has told the new interval
  pacer_.slow_down(std::max(stride_, lane_stride_));
}

void Slot::restrain_calls(bool yes) {
  restrains_ = yes && vendor_;
  slow_ns_ = restrains_ ? kSlowCallNs : kUndatedNs;
}

void Slot::judge_calls(IncidentLog& log) {
  calls_left_ = kCalls;
  if (!restrains_) return;
  const int64_t limit = std::max(kSlowCallNs, pacer_.interval_ns() / kSlowCallShare);
  slow_ns_ = std::min(limit, kUndatedNs);
  const bool slow = slow_calls_ > kCalls / 100;
  calm_ = slow_calls_ == 0 ? calm_ + 1 : 0;
  slow_calls_ = 0;
  const auto index = static_cast<int32_t>(channels_[0].index);
  if (slow && stride_ < kMostStride) {
    stride_ *= 2;
    log.note({.t_ns = after_ns_,
              .kind = Incident::Kind::kSlowCalls,
              .channel = index,
              .count = static_cast<uint64_t>(stride_),
              .figure = static_cast<double>(limit) / kNsPerS});
  } else if (stride_ > 1 && calm_ >= kCalmHundreds) {
    calm_ = 0;
    stride_ /= 2;
    if (stride_ == 1)
      log.note({.t_ns = after_ns_, .kind = Incident::Kind::kFullPace, .channel = index});
  }
  pacer_.slow_down(std::max(stride_, lane_stride_));
}

// -- burst ----------------------------------------------------------------------------------------

bool Slot::can_burst() const {
  return pace_.interval_ns == 0 && !vendor_ && channels_[0].kind == Kind::kCounter;
}

Plan Slot::end_burst(int64_t now_ns, int64_t period_ns, int64_t spread_ns) {
  pacer_ = Pacer(pace_);
  gap_ns_ = kNotPlain;  // the burst's own pacer may have come to rest
  if (period_ns > 0) pacer_.set_fast_period(period_ns, spread_ns);
  return pacer_.start(now_ns);
}

}  // namespace pyprof
