// The threads that read the hardware. They never take the GIL, never allocate while sampling and
// keep absolute deadlines, so what Python does makes no difference to rate or lateness.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/frame.h"
#include "core/incident.h"
#include "core/latencies.h"
#include "core/pacer.h"
#include "core/unit.h"

namespace pyprof {

// How closely sensors are followed, when they are not read blindly.
enum class Following : uint8_t { kDefault, kFine, kFinest };

// Where and how urgently the sampling threads run; unset: as any other thread of the process.
struct Scheduling {
  bool has_nice = false;
  int nice = 0;
  int realtime = 0;       // > 0: SCHED_FIFO at this priority
  std::vector<int> cpus;  // empty: wherever the process may run
};

struct SamplerOptions {
  Following following = Following::kDefault;
  int64_t interval_ns = 0;  // > 0: blind reads of everything at this interval
  double budget = 0;        // CPU time of all sampling threads, of one core; 0: no limit
  Scheduling scheduling;
};

struct SourceStats {
  uint64_t reads = 0;
  uint64_t failed_reads = 0;
  Latencies latencies;
};

struct ChannelStats {
  uint32_t index = 0;
  int64_t period_ns = 0;  // detected; 0: unknown
  int64_t spread_ns = 0;  // interquartile; 0: unknown
  Pacer::Mode mode = Pacer::Mode::kAcquire;
};

struct SamplerStats {
  double cpu_s = 0;
  uint64_t wakes = 0;
  uint64_t reads = 0;
  uint64_t late = 0;  // wakes later than half the planned interval
  uint64_t failed_reads = 0;
  uint64_t thinned = 0;  // changes merged because nobody took them away in time
  uint64_t unseen = 0;   // updates that were predicted and not seen
  int slowed = 1;        // reads are so many times rarer than planned, at the worst
  std::map<std::string, SourceStats> sources;
  std::vector<ChannelStats> channels;
};

// How far a channel has been drained.
struct Progress {
  uint64_t sequence = 0;
  int64_t read_ns = 0;
};

class LaneThread;
class Crew;

class Sampler {
 public:
  // Channels are numbered in order of units.
  Sampler(std::vector<std::unique_ptr<Unit>> units, SamplerOptions options);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // Returns when each unit has been read once, or after a second for those that hang.
  void start();
  // Waits for one more update of each counter, at most `settle_ns`, then ends the threads. One that
  // hangs in a driver's call is left behind so that stopping takes no more than 2 s.
  void stop(int64_t settle_ns);
  bool running() const;

  // One frame per channel that has news since the last call.
  std::vector<Frame> drain();
  std::vector<SamplerEvent> events();
  SamplerStats stats() const;

 private:
  bool inherited() const;  // in the child of a fork, where the threads do not exist
  std::shared_ptr<Crew> crew_;
  std::vector<Progress> progress_;
  int32_t pid_;
  bool running_ = false;
};

// How units of this kind are read.
Pace pace_of(Lane lane, const SamplerOptions& options);

}  // namespace pyprof
