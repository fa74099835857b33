#include "core/lane.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/clock.h"

namespace pyprof {
namespace {

constexpr int64_t kLongestSleepNs = 100 * kNsPerMs;  // how soon a stop is noticed at the latest
constexpr int64_t kShareNs = 150 * kNsPerUs;         // units due within this share a wake
constexpr int64_t kBurstNs = 8 * kNsPerMs;
constexpr int kBurstChanges = 5;
constexpr size_t kMostEvents = 4096;

bool later(const Slot* a, const Slot* b) { return a->deadline_ns > b->deadline_ns; }

const char* kind_of(Sample::Status status) {
  switch (status) {
    case Sample::Status::kDenied:
      return "denied";
    case Sample::Status::kLost:
      return "lost";
    default:
      return "failed";
  }
}

}  // namespace

LaneThread::LaneThread(std::string name, Lane lane, Pace pace)
    : name_(std::move(name)), lane_(lane), pace_(pace) {
  events_.reserve(64);
}

void LaneThread::add(std::unique_ptr<Unit> unit, uint32_t first_index, size_t capacity) {
  Pace pace = pace_;
  if (const int64_t own = unit->interval_ns(); own > 0)
    pace.interval_ns = std::max(own, pace.interval_ns);
  Slot slot{std::move(unit), pace, Pacer(pace), {}, {}};
  const auto& channels = slot.unit->channels();
  slot.samples.resize(channels.size());
  for (size_t i = 0; i < channels.size(); ++i) {
    ChannelState state;
    state.index = first_index + static_cast<uint32_t>(i);
    state.unit = slot.unit.get();
    state.kind = channels[i].kind;
    state.documented_ns = channels[i].period_ns;
    state.buffer = std::make_unique<TraceBuffer>(capacity);
    slot.channels.push_back(std::move(state));
  }
  slots_.push_back(std::move(slot));
}

void LaneThread::start() {
  for (Slot& slot : slots_) heap_.push_back(&slot);
  auto self = shared_from_this();  // a thread that hangs keeps what it uses alive
  thread_ = std::thread([self] { self->run(); });
}

bool LaneThread::wait_first_reads(int64_t until_ns) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::nanoseconds(until_ns - monotonic_ns()),
                           [this] { return first_done_; });
}

void LaneThread::ask_stop(int64_t settle_ns) {
  const int64_t now = monotonic_ns();
  settle_from_ns_ = now;
  settle_until_ns_ = now + settle_ns;
  stop_ = true;
}

bool LaneThread::wait_done(int64_t until_ns) {
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::nanoseconds(until_ns - monotonic_ns()),
                           [this] { return done_; })) {
      return false;
    }
  }
  if (thread_.joinable()) thread_.join();
  return true;
}

void LaneThread::abandon() {
  if (thread_.joinable()) thread_.detach();
}

void LaneThread::prepare_thread() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);  // signals belong to the workload's threads
  pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
  prctl(PR_SET_TIMERSLACK,
        1000UL);  // this thread only; the default of 50 us is half a RAPL bracket
  const std::lock_guard lock(mutex_);
  clock_known_ = pthread_getcpuclockid(pthread_self(), &cpu_clock_) == 0;
}

void LaneThread::run() {
  prepare_thread();
  for (Slot& slot : slots_) {
    slot.pacer.start(monotonic_ns());
    slot.deadline_ns = read_slot(slot, monotonic_ns());
  }
  {
    const std::lock_guard lock(mutex_);
    first_done_ = true;
  }
  changed_.notify_all();
  if (lane_ == Lane::kFiles && pace_.interval_ns == 0) burst();
  std::make_heap(heap_.begin(), heap_.end(), later);
  bool settling = false;
  for (;;) {
    const int64_t deadline = heap_.front()->deadline_ns;
    int64_t now = monotonic_ns();
    if (now < deadline) {
      sleep_until(std::min(deadline, now + kLongestSleepNs));
      now = monotonic_ns();
      wakes_.fetch_add(1, std::memory_order_relaxed);
    }
    if (stop_.load(std::memory_order_relaxed)) {
      if (!settling) {
        settling = true;
        for (Slot& slot : slots_) slot.deadline_ns = read_slot(slot, monotonic_ns());
        std::make_heap(heap_.begin(), heap_.end(), later);
      }
      if (settle(now)) break;
    }
    if (now >= heap_.front()->deadline_ns) read_due(now);
  }
  cpu_ns_ = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
}

// Reads as fast as possible for a few milliseconds: the only way to learn the period of a sensor
// that updates faster than it will be read.
void LaneThread::burst() {
  const int64_t until = monotonic_ns() + kBurstNs;
  struct Burst {
    int64_t first = 0, last = 0;
    int changes = 0;
  };
  std::vector<Burst> found(slots_.size());
  for (bool all = false; !all && monotonic_ns() < until;) {
    all = true;
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      if (slot.pace.interval_ns > 0 || slot.channels[0].kind != Kind::kCounter) continue;
      if (found[i].changes >= kBurstChanges) continue;
      all = false;
      const int64_t before = slot.channels[0].changed_at_ns;
      read_slot(slot, monotonic_ns());
      const int64_t after = slot.channels[0].changed_at_ns;
      if (after == before) continue;
      if (found[i].changes++ == 0) found[i].first = after;
      found[i].last = after;
    }
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].pace.interval_ns > 0) continue;
    slots_[i].pacer = Pacer(slots_[i].pace);
    slots_[i].deadline_ns = slots_[i].pacer.start(monotonic_ns());
    // Three changes in 8 ms: the sensor is faster than is worth following. The first change of the
    // burst may follow a read long before it, so it only starts the clock.
    if (found[i].changes >= 3) {
      slots_[i].pacer.set_fast_period((found[i].last - found[i].first) / (found[i].changes - 1));
      slots_[i].deadline_ns = monotonic_ns() + pace_.coarse_ns;
    }
  }
}

void LaneThread::read_due(int64_t now_ns) {
  int64_t before = now_ns;
  while (heap_.front()->deadline_ns <= now_ns + kShareNs) {
    Slot* slot = heap_.front();
    const int64_t planned = slot->pacer.interval_ns();
    if (now_ns - slot->deadline_ns > planned / 2) late_.fetch_add(1, std::memory_order_relaxed);
    std::pop_heap(heap_.begin(), heap_.end(), later);
    slot->deadline_ns = read_slot(*slot, before);
    std::push_heap(heap_.begin(), heap_.end(), later);
    before = monotonic_ns();
    if (before > now_ns + kNsPerMs) return;  // a slow call: look at the clock again
  }
}

// Returns the unit's next deadline.
int64_t LaneThread::read_slot(Slot& slot, int64_t before_ns) {
  slot.unit->read(slot.samples);
  const int64_t after = monotonic_ns();
  const int64_t middle = before_ns + (after - before_ns) / 2;
  reads_.fetch_add(1, std::memory_order_relaxed);
  const ChannelState& first = slot.channels[0];
  const int64_t last_old = first.last_read_ns;
  bool failed = false;
  const bool seen = first.seen;
  const bool changed =
      seen && slot.samples[0].status == Sample::Status::kOk && slot.samples[0].raw != first.raw;
  int64_t next;
  if (slot.samples[0].status != Sample::Status::kOk) {
    next = slot.pacer.retry(after);
  } else {
    next = slot.pacer.next(middle, after, changed, last_old);
  }
  for (size_t i = 0; i < slot.channels.size(); ++i) take_sample(slot, i, middle, &failed);
  if (failed) failed_.fetch_add(1, std::memory_order_relaxed);
  return next;
}

bool LaneThread::take_sample(Slot& slot, size_t which, int64_t at_ns, bool* failed) {
  ChannelState& channel = slot.channels[which];
  const Sample& sample = slot.samples[which];
  if (sample.status != Sample::Status::kOk) {
    *failed = true;
    channel.failed_since = true;
    note_failure(channel, sample, at_ns);
    return false;
  }
  if (channel.episode.count != 0) note_recovery(channel, at_ns);
  const Pacer& pacer = slot.pacer;
  const int64_t period = pacer.period_ns() > 0 ? pacer.period_ns() : channel.documented_ns;
  const int64_t planned = std::max(pacer.interval_ns(), period);
  const int64_t elapsed = at_ns - channel.last_read_ns;
  const bool gap = channel.seen && (channel.failed_since ? elapsed > 2 * planned
                                                         : elapsed > 4 * planned + 50 * kNsPerMs);
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
          std::clamp(which == 0 ? pacer.changed_at_ns() : at_ns, channel.last_read_ns, at_ns);
    }
    channel.buffer->push(change);
    if (changed) channel.changed_at_ns = change.at_ns;
    channel.raw = sample.raw;
    channel.seen = true;
  }
  channel.last_read_ns = at_ns;
  channel.buffer->beat({at_ns, pacer.period_ns(), pacer.spread_ns(), pacer.interval_ns()});
  return changed;
}

void LaneThread::note_failure(ChannelState& channel, const Sample& sample, int64_t at_ns) {
  Episode& episode = channel.episode;
  if (episode.count != 0 && episode.status != sample.status) note_recovery(channel, at_ns);
  if (episode.count == 0) episode = {at_ns, 0, 0, sample.status, sample.code};
  ++episode.count;
}

void LaneThread::note_recovery(ChannelState& channel, int64_t at_ns) {
  Episode& episode = channel.episode;
  std::string words = channel.unit->describe(episode.code);
  const std::lock_guard lock(mutex_);
  if (events_.size() + 2 <= kMostEvents) {
    events_.push_back({episode.start_ns, kind_of(episode.status),
                       static_cast<int32_t>(channel.index), episode.count, std::move(words)});
    if (episode.status == Sample::Status::kLost) {
      events_.push_back({at_ns, "back", static_cast<int32_t>(channel.index), 1, ""});
    }
  }
  episode = {};
}

// True when every counter has shown an update made after the stop was asked for, or time is up.
bool LaneThread::settle(int64_t now_ns) {
  if (now_ns >= settle_until_ns_) {
    for (Slot& slot : slots_) {
      for (ChannelState& channel : slot.channels) {
        if (channel.episode.count != 0) {
          std::string words =
              channel.unit->describe(channel.episode.code) + ", until the end of the run";
          const std::lock_guard lock(mutex_);
          events_.push_back({channel.episode.start_ns, kind_of(channel.episode.status),
                             static_cast<int32_t>(channel.index), channel.episode.count,
                             std::move(words)});
        }
      }
    }
    return true;
  }
  const int64_t from = settle_from_ns_;
  for (const Slot& slot : slots_) {
    for (const ChannelState& channel : slot.channels) {
      if (channel.last_read_ns < from) return false;
      // A value that is at most one fast update old says enough; a slow sensor's next one is due.
      const int64_t period = slot.pacer.period_ns();
      const int64_t age = period < 5 * kNsPerMs ? period : 0;
      if (channel.kind == Kind::kCounter && channel.changed_at_ns + age < from) return false;
    }
  }
  return true;
}

void LaneThread::take_events(std::vector<SamplerEvent>& out) {
  const std::lock_guard lock(mutex_);
  for (SamplerEvent& event : events_) out.push_back(std::move(event));
  events_.clear();
}

void LaneThread::add_stats(SamplerStats& stats) const {
  int64_t cpu = cpu_ns_;
  if (cpu < 0) {
    const std::lock_guard lock(mutex_);
    cpu = clock_known_ && !done_ ? clock_ns(cpu_clock_) : 0;
  }
  stats.cpu_s += static_cast<double>(cpu) / kNsPerS;
  stats.wakes += wakes_;
  stats.reads += reads_;
  stats.late += late_;
  stats.failed_reads += failed_;
  for (const Slot& slot : slots_) {
    for (const ChannelState& channel : slot.channels) stats.thinned += channel.buffer->thinned();
  }
}

}  // namespace pyprof
