// One sampling thread and the units it reads. All deadlines stand in one table, and whatever is
// ready when the thread wakes is read in that wake.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/incident.h"
#include "core/latencies.h"
#include "core/lock.h"
#include "core/sampler.h"
#include "core/slot.h"
#include "core/watch.h"

namespace pyprof {

class Crew;

class LaneThread : public std::enable_shared_from_this<LaneThread> {
 public:
  // `guarded`: its calls may hang, and the crew's watch looks after it.
  LaneThread(std::string name, const SamplerOptions& options, bool guarded);
  void add(std::unique_ptr<Slot> slot, Plan due = {});
  const std::string& name() const { return name_; }
  bool guarded() const { return guarded_; }
  size_t units() const { return entries_.size(); }

  void start(std::shared_ptr<Crew> crew);
  bool wait_first_reads(int64_t until_ns);
  void ask_stop(int64_t settle_ns);
  bool wait_done(int64_t until_ns);  // true: joined
  void abandon();                    // left behind in a driver's call

  // By the watch. If a call hangs, the unit it is about keeps this lane and its thread, and the
  // others go on in the lane that is returned; else null.
  std::shared_ptr<LaneThread> leave_hung(int64_t now_ns);
  // By the watch: when to look again whatever this lane says, if it has not gone on.
  int64_t look_again_ns(int64_t now_ns) const;

  void take_frames(std::vector<Frame>& out, std::vector<Progress>& progress);
  void take_events(std::vector<SamplerEvent>& out);
  void add_stats(SamplerStats& stats) const;
  double load() const { return load_.load(std::memory_order_relaxed); }

 private:
  // What a wake needs of each slot, in one table.
  struct Entry {
    Plan due;
    Slot* slot;
    Latencies* latencies;  // of all its source's calls
    bool watched;          // its calls may hang
    // The slots one and two entries further on, or the last one: whose data is fetched meanwhile.
    const Slot* next;
    const Slot* after_next;
  };

  void run(const std::shared_ptr<Crew>& crew);
  void prepare_thread();
  void first_reads();
  void burst();
  void doze(int64_t now_ns, int64_t until_ns);
  void vouch(int64_t until_ns, int64_t now_ns);
  void come_back();
  void enter(Slot& slot, Plan due);
  void look_for_marks(int64_t now_ns);
  bool turn(int64_t now_ns);
  void store(size_t count, int64_t next_ns);
  void count_late();
  void attend(int64_t now_ns, bool always);
  void plan();
  void restrain(Crew& crew, int64_t now_ns);
  void begin_settling(int64_t now_ns);
  bool settled(int64_t now_ns);
  void finish();

  const std::string name_;
  const SamplerOptions options_;
  const bool guarded_;
  std::thread thread_;
  std::optional<Watch::Timer> timer_;

  // The thread's own; the watch takes it over when a call hangs.
  std::vector<Entry> entries_;  // one for each slot
  int64_t turn_ns_ = 0;         // of the present turn: what was ready then is read, in order
  int64_t next_ns_ = 0;
  int64_t next_check_ns_ = 0, checked_ns_ = 0, checked_cpu_ns_ = 0;
  uint64_t marks_ = 0;
  uint64_t woke_ = 0;               // wakes that are not counted yet
  const Entry* current_ = nullptr;  // in whose call the thread is
  int64_t hung_since_ns_ = 0;       // when that call began, if it hung
  size_t left_ = 0;  // of a lane that takes over: so many were read before it came, if ready
  bool first_turn_ = true;
  bool settling_ = false;

  const int64_t on_time_ns_;  // no unit is late as long as the wake is not later than this
  // Start of the driver's call in progress; 0: none; -1: taken over by the watch.
  std::atomic<int64_t> busy_since_ns_{0};
  std::atomic<int64_t> vouched_ns_{0};  // the watch looks if the thread has said nothing until then
  std::atomic<uint32_t> bell_{0};       // rung to end a sleep
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> settle_from_ns_{0};
  std::atomic<int64_t> settle_until_ns_{0};
  std::atomic<double> load_{0};      // CPU time per time, lately
  std::atomic<int64_t> cpu_ns_{-1};  // final figure; while the thread lives its clock is asked

  mutable Lock mutex_;  // guards what follows and the slots' stored state
  uint64_t wakes_ = 0, late_ = 0;
  int stride_ = 1;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::map<std::string, Latencies> latencies_;  // by source
  IncidentLog log_;
  clockid_t cpu_clock_ = 0;
  bool clock_known_ = false;

  std::mutex gate_mutex_;  // guards what follows
  std::condition_variable gate_;
  bool first_done_ = false;
  bool done_ = false;
};

}  // namespace pyprof
