#include "core/lane.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <utility>

#include "core/burst.h"
#include "core/clock.h"
#include "core/crew.h"
#include "core/mark.h"

namespace pyprof {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kTaken = -1;
constexpr unsigned long kSlackNs = 1000;  // the default of 50 us is half a bracket of RAPL
constexpr int64_t kBurstNs = 8 * kNsPerMs;
constexpr int64_t kAwayNs = kNsPerMs / 4;          // reads of files take a few microseconds
constexpr int64_t kLongestBurstNs = 4 * kBurstNs;  // where the thread was away meanwhile
constexpr size_t kMostBurst = 64;
constexpr int64_t kNearNs = 20 * kNsPerMs;
constexpr int64_t kHangNs = 10 * kNsPerMs;   // no driver's call takes so long in good health
constexpr int64_t kVouchNs = 50 * kNsPerMs;  // so seldom the watch is put off where reads are close
constexpr int64_t kOnTimeNs = 50 * kNsPerUs;  // half of the shortest interval
constexpr int64_t kCheckNs = 2 * kNsPerS;
constexpr int64_t kFirstCheckNs = 3 * kNsPerS;  // finding the periods costs more, once
constexpr double kRelax = 0.8;  // of the budget, which twice the reads must not exceed
constexpr int kMostStride = 64;

}  // namespace

LaneThread::LaneThread(std::string name, const SamplerOptions& options, bool guarded)
    : name_(std::move(name)),
      options_(options),
      guarded_(guarded),
      on_time_ns_(std::max(kOnTimeNs, options.interval_ns / 2)) {}

// -- life, by others ------------------------------------------------------------------------------

void LaneThread::add(std::unique_ptr<Slot> slot, Plan due) {
  enter(*slot, due);
  slots_.push_back(std::move(slot));
}

void LaneThread::enter(Slot& slot, Plan due) {
  const std::string& source = slot.unit().channels().front().source;
  const size_t before = entries_.size();
  if (before > 0) entries_[before - 1].next = entries_[before - 1].after_next = &slot;
  if (before > 1) entries_[before - 2].after_next = &slot;
  entries_.push_back({due, &slot, &latencies_[source], guarded_ && slot.vendor(), &slot, &slot});
}

void LaneThread::start(std::shared_ptr<Crew> crew) {
  auto self = shared_from_this();  // a thread that hangs keeps what it uses alive
  thread_ = std::thread([self, crew] { self->run(crew); });
}

bool LaneThread::wait_first_reads(int64_t until_ns) {
  std::unique_lock lock(gate_mutex_);
  return gate_.wait_for(lock, std::chrono::nanoseconds(until_ns - monotonic_ns()),
                        [this] { return first_done_; });
}

void LaneThread::ask_stop(int64_t settle_ns) {
  const int64_t now = monotonic_ns();
  settle_from_ns_ = now;
  settle_until_ns_ = now + settle_ns;
  stop_ = true;
  bell_.fetch_add(1);
  syscall(SYS_futex, &bell_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

bool LaneThread::wait_done(int64_t until_ns) {
  {
    std::unique_lock lock(gate_mutex_);
    if (!gate_.wait_for(lock, std::chrono::nanoseconds(until_ns - monotonic_ns()),
                        [this] { return done_; })) {
      return false;
    }
  }
  if (thread_.joinable()) thread_.join();
  return true;
}

void LaneThread::abandon() {
  if (thread_.joinable()) thread_.detach();
  const int64_t since = settle_from_ns_;
  const std::lock_guard lock(mutex_);
  for (const auto& slot : slots_) {
    const auto index = static_cast<int32_t>(slot->channels()[0].index);
    const int64_t read = slot->channels()[0].last_read_ns;
    if (read >= since) continue;
    log_.note({.t_ns = monotonic_ns(),
               .kind = Incident::Kind::kHung,
               .channel = index,
               .figure = static_cast<double>(since - read) / kNsPerS,
               .at_end = true});
  }
}

// The call that was in progress may end and the next one hang.
int64_t LaneThread::look_again_ns(int64_t now_ns) const {
  if (!guarded_ || vouched_ns_.load(std::memory_order_relaxed) > now_ns) return Watch::kNotAgain;
  const std::lock_guard lock(mutex_);
  return slots_.size() < 2 ? Watch::kNotAgain : now_ns + kHangNs;
}

std::shared_ptr<LaneThread> LaneThread::leave_hung(int64_t now_ns) {
  int64_t since = busy_since_ns_.load(std::memory_order_acquire);
  if (since <= 0 || now_ns - since < kHangNs) return nullptr;
  // Locked before the units are claimed: should the call return now, its thread finds out that they
  // are gone, and waits in come_back until they have been moved.
  const std::lock_guard lock(mutex_);
  if (slots_.size() < 2) return nullptr;
  if (!busy_since_ns_.compare_exchange_strong(since, kTaken)) return nullptr;
  auto heir = std::make_shared<LaneThread>(name_, options_, guarded_);
  std::vector<std::unique_ptr<Slot>> hung;
  const auto hung_at = static_cast<size_t>(current_ - entries_.data());
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (i == hung_at) {
      hung.push_back(std::move(slots_[i]));
    } else {
      heir->add(std::move(slots_[i]), entries_[i].due);
    }
  }
  // Those that were read in this turn and are not stored yet are stored by the heir, first of all.
  heir->turn_ns_ = heir->next_ns_ = turn_ns_;
  heir->left_ = hung_at;
  heir->first_turn_ = first_turn_;
  heir->stride_ = stride_;
  heir->marks_ = marks_;
  slots_ = std::move(hung);
  hung_since_ns_ = since;
  return heir;
}

void LaneThread::take_frames(std::vector<Frame>& out, std::vector<Progress>& progress) {
  // The watch may move units to another lane meanwhile, but they stay where they are in memory.
  struct Taken {
    const ChannelState* channel;
    Pulse pulse;
  };
  std::vector<Taken> taken;
  taken.reserve(progress.size());  // before the lock: the sampling thread never waits for memory
  {
    const std::lock_guard lock(mutex_);
    for (const auto& slot : slots_) {
      for (ChannelState& channel : slot->channels()) {
        channel.buffer.turn();
        taken.push_back({&channel, slot->pulse(channel)});
      }
    }
  }
  for (const auto& [channel, pulse] : taken) {
    Progress& so_far = progress[channel->index];
    const std::span<const Change> changes = channel->buffer.taken();
    if (changes.empty() && pulse.last_read_ns == so_far.read_ns) continue;
    out.push_back({channel->index, so_far.sequence, pulse, {changes.begin(), changes.end()}});
    so_far = {so_far.sequence + changes.size(), pulse.last_read_ns};
  }
}

void LaneThread::take_events(std::vector<SamplerEvent>& out) {
  std::vector<Incident> taken;
  taken.reserve(IncidentLog::most());  // before the lock, and in words after it
  {
    const std::lock_guard lock(mutex_);
    log_.take(taken);
  }
  for (const Incident& incident : taken) out.push_back(in_words(incident));
}

void LaneThread::add_stats(SamplerStats& stats) const {
  const std::lock_guard lock(mutex_);
  int64_t cpu = cpu_ns_;
  if (cpu < 0) cpu = clock_known_ ? clock_ns(cpu_clock_) : 0;
  stats.cpu_s += static_cast<double>(cpu) / kNsPerS;
  stats.wakes += wakes_;
  stats.late += late_;
  for (const auto& [name, latencies] : latencies_) {
    SourceStats& source = stats.sources[name];
    source.reads += latencies.count();
    stats.reads += latencies.count();
    source.latencies.merge(latencies);
  }
  for (const auto& slot : slots_) {
    stats.sources[slot->unit().channels().front().source].failed_reads += slot->failed();
    stats.failed_reads += slot->failed();
    // A gauge may repeat its value; a counter moves with every update.
    if (slot->channels()[0].kind == Kind::kCounter) stats.unseen += slot->pacer().unseen();
    stats.slowed = std::max(stats.slowed, slot->stride());
    for (const ChannelState& channel : slot->channels()) {
      stats.thinned += channel.buffer.thinned();
      stats.channels.push_back({channel.index, slot->pacer().period_ns(),
                                slot->pacer().period_spread_ns(), slot->pacer().mode()});
    }
  }
}

// -- the thread -----------------------------------------------------------------------------------

void LaneThread::prepare_thread() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);  // signals belong to the workload's threads
  pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
  prctl(PR_SET_TIMERSLACK, kSlackNs);  // of this thread only
  const Scheduling& wanted = options_.scheduling;
  int refused = 0;
  const auto self = static_cast<id_t>(syscall(SYS_gettid));
  if (wanted.has_nice && setpriority(PRIO_PROCESS, self, wanted.nice) != 0) refused = errno;
  if (wanted.realtime > 0) {
    const sched_param priority{wanted.realtime};
    if (const int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority); error != 0)
      refused = error;
  }
  if (!wanted.cpus.empty()) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : wanted.cpus) {
      if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu), &set);
    }
    if (const int error = pthread_setaffinity_np(pthread_self(), sizeof set, &set); error != 0)
      refused = error;
  }
  const std::lock_guard lock(mutex_);
  clock_known_ = pthread_getcpuclockid(pthread_self(), &cpu_clock_) == 0;
  if (refused != 0) {
    log_.note({.t_ns = monotonic_ns(), .kind = Incident::Kind::kUnprivileged, .code = refused});
  }
}

[[gnu::hot]] void LaneThread::run(const std::shared_ptr<Crew>& crew) {
  prepare_thread();
  if (guarded_) timer_.emplace(crew->watch());
  next_check_ns_ = monotonic_ns() + kFirstCheckNs;
  if (first_turn_) {
    first_reads();
  } else {
    store(left_, kNever);
    plan();
  }
  while (true) {
    int64_t now = monotonic_ns();
    if (now < next_ns_) {
      if (guarded_) vouch(next_ns_, now);
      doze(now, next_ns_);
      now = monotonic_ns();
      ++woke_;
    }
    if (stop_.load(std::memory_order_relaxed)) {
      if (!settling_) begin_settling(now);
      if (settled(now)) break;
    }
    if (now >= next_check_ns_) restrain(*crew, now);
    if (!turn(now)) come_back();
  }
  finish();
}

void LaneThread::first_reads() {
  const int64_t now = monotonic_ns();
  {
    const std::lock_guard lock(mutex_);
    for (const auto& slot : slots_) slot->start(now);  // one grid for all
  }
  marks_ = marks_made();
  if (!turn(now)) come_back();
  if (!guarded_ && options_.interval_ns == 0) burst();
  {
    const std::lock_guard lock(gate_mutex_);
    first_done_ = true;
  }
  gate_.notify_all();
}

// Up to `until_ns` and through a call that does not hang, the watch need not look.
void LaneThread::vouch(int64_t until_ns, int64_t now_ns) {
  const int64_t vouched_ns = vouched_ns_.load(std::memory_order_relaxed);
  if (until_ns == kNever || vouched_ns >= until_ns + kHangNs) return;
  // Half of it is for a wake that comes late.
  const int64_t later_ns = std::max(until_ns, now_ns + kVouchNs) + 2 * kHangNs;
  vouched_ns_.store(later_ns, std::memory_order_relaxed);
  timer_->put_off(later_ns);
}

// On a word that can be rung, so that a stop does not wait for a distant deadline. For a near one
// it does: the plain sleep wakes with less of the kernel's code and data.
[[gnu::hot]] void LaneThread::doze(int64_t now_ns, int64_t until_ns) {
  const uint32_t rung = bell_.load(std::memory_order_relaxed);
  if (stop_.load(std::memory_order_acquire) && !settling_) return;
  const int64_t at = settling_ ? std::min<int64_t>(until_ns, settle_until_ns_) : until_ns;
  if (at - now_ns < kNearNs) return sleep_until(at);
  const timespec when{at / kNsPerS, at % kNsPerS};
  syscall(SYS_futex, &bell_, FUTEX_WAIT_BITSET_PRIVATE, rung, at == kNever ? nullptr : &when,
          nullptr, FUTEX_BITSET_MATCH_ANY);
}

// Reads beside a mark are of use where they are not on a grid anyway.
void LaneThread::look_for_marks(int64_t now_ns) {
  const uint64_t marks = marks_made();
  if (marks == marks_) return;
  marks_ = marks;
  attend(now_ns, false);
}

// Reads whatever is ready, then stores it all at once. False: a call hung for so long that the
// other units were given to another lane.
[[gnu::hot]] bool LaneThread::turn(int64_t now_ns) {
  if (options_.interval_ns == 0) look_for_marks(now_ns);
  if (guarded_) vouch(now_ns, now_ns);
  turn_ns_ = now_ns;
  int64_t before = now_ns;
  int64_t next = kNever;
  for (const Entry& entry : entries_) {
    entry.after_next->fetch();
    entry.next->fetch_unit();
    if (entry.due.ready_ns > now_ns) {
      next = std::min(next, entry.due.deadline_ns);
      continue;
    }
    Slot& slot = *entry.slot;
    if (entry.watched) {
      current_ = &entry;
      busy_since_ns_.store(before, std::memory_order_release);
      slot.read();
      before = monotonic_ns();
      slot.read_until(before);
      if (busy_since_ns_.exchange(0) == kTaken) return false;
    } else {
      slot.read();
      before = monotonic_ns();
      slot.read_until(before);
    }
  }
  store(entries_.size(), next);
  return true;
}

// What was ready among the first `count` has been read, each from the end of the read before on;
// the deadline of the others is `next_ns`.
[[gnu::hot]] void LaneThread::store(size_t count, int64_t next_ns) {
  const std::lock_guard lock(mutex_);
  wakes_ += woke_;
  woke_ = 0;
  if (turn_ns_ - next_ns_ > on_time_ns_) count_late();
  const int64_t turn_ns = turn_ns_;
  int64_t before = turn_ns;
  for (Entry& entry : std::span(entries_.data(), count)) {
    if (entry.due.ready_ns > turn_ns) continue;
    Slot& slot = *entry.slot;
    const int64_t after = slot.after_ns();
    entry.latencies->add(after - before);
    slot.store(before, entry.due, log_);
    next_ns = std::min(next_ns, entry.due.deadline_ns);
    before = after;
  }
  next_ns_ = next_ns;
  first_turn_ = false;
}

void LaneThread::count_late() {
  if (first_turn_) return;
  for (const Entry& entry : entries_) {
    if (entry.due.ready_ns > turn_ns_) continue;
    const int64_t late = turn_ns_ - entry.due.deadline_ns;
    late_ += late > kOnTimeNs && late > entry.slot->pacer().interval_ns() / 2;
  }
}

void LaneThread::plan() {
  next_ns_ = kNever;
  for (const Entry& entry : entries_) next_ns_ = std::min(next_ns_, entry.due.deadline_ns);
}

// The call has returned at last, and this lane has nothing but its unit.
void LaneThread::come_back() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
  enter(*slots_[0], {});
  busy_since_ns_ = 0;
  Entry& left = entries_[0];
  left.latencies->add(left.slot->after_ns() - hung_since_ns_);
  left.due = left.slot->discard(hung_since_ns_, log_);
  plan();
}

void LaneThread::attend(int64_t now_ns, bool always) {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : entries_) entry.due = entry.slot->attend(now_ns, entry.due, always);
  plan();
}

// Reads as fast as possible for a few milliseconds: the only way to learn the period of a sensor
// that updates faster than it will be read.
void LaneThread::burst() {
  Burst found[kMostBurst];
  bool away[kMostBurst] = {};
  const size_t count = std::min(slots_.size(), kMostBurst);
  const int64_t longest_ns = monotonic_ns() + kLongestBurstNs;
  int64_t until_ns = longest_ns - kLongestBurstNs + kBurstNs, last_ns = until_ns - kBurstNs;
  const std::lock_guard lock(mutex_);
  for (bool all = false; !all && monotonic_ns() < longest_ns;) {
    all = true;
    for (size_t i = 0; i < count; ++i) {
      Slot& slot = *slots_[i];
      if (!slot.can_burst() || found[i].done()) continue;
      if (last_ns > until_ns && !found[i].wants_more(last_ns, slot.worth_ns())) continue;
      all = false;
      const ChannelState& lead = slot.channels()[0];
      const int64_t changed = lead.changed_at_ns, read = lead.last_read_ns;
      const int64_t before = monotonic_ns();
      slot.read();
      const int64_t after = monotonic_ns();
      slot.read_until(after);
      entries_[i].latencies->add(after - before);
      // Time in which the thread was away is made up for.
      if (after - last_ns > kAwayNs) until_ns += after - last_ns;
      last_ns = after;
      // The thread was away within the read: of the value nobody knows when it was so. The next
      // read tells.
      away[i] = after - before > kAwayNs && !away[i];
      if (away[i]) continue;
      slot.store(before, entries_[i].due, log_);
      found[i].read(lead.last_read_ns, read, lead.changed_at_ns != changed);
    }
  }
  const int64_t now = monotonic_ns();
  for (size_t i = 0; i < count; ++i) {
    Slot& slot = *slots_[i];
    if (!slot.can_burst()) continue;
    const auto [period, spread] = found[i].period();
    entries_[i].due = slot.end_burst(now, period, spread);
  }
  plan();
}

// -- restraint ------------------------------------------------------------------------------------

// The lanes share one budget. The one that takes most is slowed down first.
void LaneThread::restrain(Crew& crew, int64_t now_ns) {
  const int64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  const int64_t since = std::exchange(checked_ns_, now_ns);
  const int64_t used = cpu - std::exchange(checked_cpu_ns_, cpu);
  next_check_ns_ = now_ns + kCheckNs;
  if (since == 0) return;
  const double load = static_cast<double>(used) / static_cast<double>(now_ns - since);
  load_.store(load, std::memory_order_relaxed);
  if (options_.budget <= 0) return;
  const double total = crew.load();
  const bool most = load * static_cast<double>(crew.size()) >= total;
  int stride = stride_;
  if (total > options_.budget && most && stride < kMostStride) stride *= 2;
  // At half the stride this lane would take twice as much.
  if (stride > 1 && stride == stride_ && total + load < kRelax * options_.budget) stride /= 2;
  if (stride == stride_) return;
  const std::lock_guard lock(mutex_);
  const bool slower = stride > stride_;
  stride_ = stride;
  for (const auto& slot : slots_) slot->set_lane_stride(stride);
  if (slower || stride == 1) {
    log_.note({.t_ns = now_ns,
               .kind = slower ? Incident::Kind::kOverBudget : Incident::Kind::kFullPace,
               .count = static_cast<uint64_t>(stride),
               .figure = total});
  }
}

// -- end ------------------------------------------------------------------------------------------

void LaneThread::begin_settling(int64_t now_ns) {
  settling_ = true;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& slot : slots_) slot->set_lane_stride(1);
  }
  // Read all at once, and the update after it closely.
  for (Entry& entry : entries_) entry.due = {now_ns, now_ns};
  if (!turn(now_ns)) come_back();
  attend(monotonic_ns(), true);
}

// True when every counter has shown an update made after the stop was asked for, or time is up.
bool LaneThread::settled(int64_t now_ns) {
  if (now_ns >= settle_until_ns_) return true;
  const int64_t from = settle_from_ns_;
  const std::lock_guard lock(mutex_);
  return std::all_of(slots_.begin(), slots_.end(),
                     [from](const auto& slot) { return slot->settled(from); });
}

void LaneThread::finish() {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& slot : slots_) slot->end(log_);
    wakes_ += woke_;
    cpu_ns_ = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  }
  timer_.reset();
  {
    const std::lock_guard lock(gate_mutex_);
    done_ = true;
  }
  gate_.notify_all();
}

}  // namespace pyprof
