// A unit in a lane: its pace, what was last read of it, and what became of each read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/clock.h"
#include "core/incident.h"
#include "core/pacer.h"
#include "core/trace.h"
#include "core/unit.h"

namespace pyprof {

inline constexpr size_t kCacheLine = 64;

// What each read touches comes first, in one line of the cache: a wake finds the caches cold.
struct alignas(kCacheLine) ChannelState {
  uint64_t raw = 0;
  uint64_t range = 0;
  int64_t last_read_ns = 0;
  int64_t changed_at_ns = 0;
  uint32_t index = 0;
  Kind kind = Kind::kCounter;
  bool seen = false;
  bool failed_since = false;
  bool told_stuck = false;
  TraceBuffer buffer;
  int64_t documented_ns = 0;  // update period before the real one is found, 0: unknown
  // A run of reads that failed in the same way: one incident, however many they were.
  struct Episode {
    int64_t start_ns = 0;
    uint64_t count = 0;
    Sample::Status status = Sample::Status::kOk;
    int32_t code = 0;
  } episode;
};

class alignas(kCacheLine) Slot {
 public:
  Slot(std::unique_ptr<Unit> unit, Pace pace, uint32_t first_index, size_t capacity);
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  // By the lane's thread alone; may block for as long as a driver likes.
  void read() noexcept { reader_->read({samples_, count_}); }
  void read_until(int64_t after_ns) noexcept { after_ns_ = after_ns; }
  // A wake finds the caches cold, so what a read needs is fetched while the calls before it are
  // waited for: first the slot itself, then what it points to.
  void fetch() const noexcept {
    const auto* const bytes = reinterpret_cast<const char*>(this);
    for (size_t at = 0; at < 3 * kCacheLine; at += kCacheLine) __builtin_prefetch(bytes + at, 1);
  }
  void fetch_unit() const noexcept {
    __builtin_prefetch(reader_);
    __builtin_prefetch(lead_, 1);
  }
  int64_t after_ns() const { return after_ns_; }
  bool vendor() const { return vendor_; }

  // All that follows is done under the lane's lock. The read, which began at `before_ns`, becomes
  // changes or a failure; `plan` becomes when to read next. Most reads are of one channel on a
  // grid, and nothing is to be told of them.
  [[gnu::always_inline]] void store(int64_t before_ns, Plan& plan, IncidentLog& log) noexcept {
    const int64_t took = after_ns_ - before_ns;
    if (took > slow_ns_) [[unlikely]] {
      plan = store_slow(before_ns, log);
      return;
    }
    if (--calls_left_ == 0) [[unlikely]]
      judge_calls(log);
    ChannelState& lead = *lead_;
    const int64_t at = before_ns + (took >> 1), last_read = lead.last_read_ns;
    if (at - last_read > gap_ns_ || sample_.status != Sample::Status::kOk) [[unlikely]] {
      plan = store_fully(at, log);
      return;
    }
    if (sample_.raw != lead.raw) {
      if (sample_.raw < lead.raw && lead.range == 0) [[unlikely]] {
        plan = store_fully(at, log);
        return;
      }
      const int64_t changed_at = pacer_.dated(at, last_read);
      lead.buffer.push({last_read, at, changed_at, sample_.raw, 0});
      lead.raw = sample_.raw;
      lead.changed_at_ns = changed_at;
      still_until_ns_ = changed_at + still_ns_;
      if (pacer_.learning()) learn(changed_at, at);
    } else if (at > still_until_ns_) [[unlikely]] {
      plan = store_fully(at, log);
      return;
    }
    lead.last_read_ns = at;
    pacer_.on_grid(after_ns_, plan);
  }
  // The read hung, and others went on without this slot: its value has no date.
  Plan discard(int64_t before_ns, IncidentLog& log) noexcept;
  Plan start(int64_t now_ns);
  Plan attend(int64_t now_ns, Plan planned, bool always) {
    return pacer_.attend(now_ns, planned, always);
  }
  void set_lane_stride(int stride);
  // Calls that take long make reads rarer.
  void restrain_calls(bool yes);
  // Whether each counter has shown an update made after `from_ns`.
  bool settled(int64_t from_ns) const;
  void end(IncidentLog& log) noexcept;  // tells the failures that go on

  const Unit& unit() const { return *unit_; }
  const Pacer& pacer() const { return pacer_; }
  std::vector<ChannelState>& channels() { return channels_; }
  const std::vector<ChannelState>& channels() const { return channels_; }
  // What is known of one of its channels now, apart from its changes.
  Pulse pulse(const ChannelState& channel) const {
    return {channel.last_read_ns, pacer_.period_ns(), pacer_.spread_ns(), pacer_.interval_ns()};
  }
  uint64_t failed() const { return failed_; }
  int stride() const { return std::max(stride_, lane_stride_); }

  // Learning the period of a sensor that updates faster than it will be read.
  bool can_burst() const;
  int64_t worth_ns() const { return pace_.follow_ns; }  // a longer one is found without a burst
  // Ends it; period 0: none was found.
  Plan end_burst(int64_t now_ns, int64_t period_ns, int64_t spread_ns);

 private:
  static constexpr int kCalls = 100;
  static constexpr int64_t kNotPlain = -1;
  static constexpr int64_t kUndatedNs = kNsPerS;  // a value from within so long a call has no date
  Plan store_slow(int64_t before_ns, IncidentLog& log) noexcept;
  Plan store_fully(int64_t at_ns, IncidentLog& log) noexcept;
  void learn(int64_t changed_at_ns, int64_t at_ns) noexcept;
  void take(size_t which, int64_t at_ns, IncidentLog& log) noexcept;
  void note_failure(ChannelState& channel, const Sample& sample, int64_t at_ns, IncidentLog& log);
  void note_recovery(ChannelState& channel, int64_t at_ns, IncidentLog& log, bool at_end);
  void note_stuck(ChannelState& channel, int64_t at_ns, IncidentLog& log);
  void judge_calls(IncidentLog& log);
  int64_t planned_ns(const ChannelState& channel) const;
  int64_t longest_ns(const ChannelState& channel) const;
  int64_t still_for_ns(const ChannelState& channel) const;

  // What each read of a plain grid touches comes first, too.
  Unit* reader_;
  Sample* samples_;
  uint32_t count_;
  const bool vendor_;
  Sample sample_;  // of a unit of one channel
  int64_t after_ns_ = 0;
  ChannelState* lead_ = nullptr;  // the first of the channels
  // One channel on a grid, of which nothing is to be told until then; else a gap below 0.
  int64_t gap_ns_ = kNotPlain;
  int64_t still_until_ns_ = 0, still_ns_ = 0;
  int64_t slow_ns_ = kUndatedNs;
  int calls_left_ = kCalls, slow_calls_ = 0;  // of the present hundred
  Pacer pacer_;
  std::vector<ChannelState> channels_;
  std::unique_ptr<Sample[]> many_;  // of a unit of several
  std::unique_ptr<Unit> unit_;
  const Pace pace_;
  uint64_t failed_ = 0;
  int stride_ = 1, lane_stride_ = 1;
  int calm_ = 0;  // hundreds without a slow one
  bool restrains_ = false;
  bool told_irregular_ = false;
};

}  // namespace pyprof
