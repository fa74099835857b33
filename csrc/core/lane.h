// One thread with a heap of deadlines: units that are due together share a wake.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/pacer.h"
#include "core/sampler.h"
#include "core/trace.h"
#include "core/unit.h"

namespace pyprof {

// A run of reads of one channel that failed in the same way: one event, however many they were.
struct Episode {
  int64_t start_ns = 0;
  uint64_t count = 0;
  uint64_t reported = 0;
  Sample::Status status = Sample::Status::kOk;
  int32_t code = 0;
};

struct ChannelState {
  const Unit* unit = nullptr;
  uint32_t index = 0;
  Kind kind = Kind::kCounter;
  int64_t documented_ns = 0;  // update period before the real one is found, 0: unknown
  bool seen = false;
  uint64_t raw = 0;
  int64_t last_read_ns = 0;
  int64_t changed_at_ns = 0;
  bool failed_since = false;
  Episode episode;
  std::unique_ptr<TraceBuffer> buffer;
};

struct Slot {
  std::unique_ptr<Unit> unit;
  Pace pace;
  Pacer pacer;
  std::vector<Sample> samples;
  std::vector<ChannelState> channels;
  int64_t deadline_ns = 0;
};

class LaneThread : public std::enable_shared_from_this<LaneThread> {
 public:
  LaneThread(std::string name, Lane lane, Pace pace);
  void add(std::unique_ptr<Unit> unit, uint32_t first_index, size_t capacity);
  const std::string& name() const { return name_; }

  void start();
  bool wait_first_reads(int64_t until_ns);
  void ask_stop(int64_t settle_ns);
  bool wait_done(int64_t until_ns);  // true: joined
  void abandon();                    // left behind in a vendor's call

  std::vector<Slot>& slots() { return slots_; }
  void take_events(std::vector<SamplerEvent>& out);
  void add_stats(SamplerStats& stats) const;

 private:
  void run();
  void prepare_thread();
  void burst();
  void read_due(int64_t now_ns);
  int64_t read_slot(Slot& slot, int64_t before_ns);
  bool take_sample(Slot& slot, size_t which, int64_t at_ns, bool* failed);
  void note_failure(ChannelState& channel, const Sample& sample, int64_t at_ns);
  void note_recovery(ChannelState& channel, int64_t at_ns);
  bool settle(int64_t now_ns);

  const std::string name_;
  const Lane lane_;
  const Pace pace_;
  std::vector<Slot> slots_;
  std::vector<Slot*> heap_;
  std::thread thread_;

  std::atomic<bool> stop_{false};
  std::atomic<int64_t> settle_from_ns_{0};
  std::atomic<int64_t> settle_until_ns_{0};
  std::atomic<uint64_t> wakes_{0}, reads_{0}, late_{0}, failed_{0};
  std::atomic<int64_t> cpu_ns_{-1};  // final figure; while the thread lives its clock is asked
  clockid_t cpu_clock_ = 0;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool first_done_ = false;
  bool done_ = false;
  bool clock_known_ = false;
  std::vector<SamplerEvent> events_;
};

}  // namespace pyprof
