// The threads that read the hardware. They never take the GIL, never allocate while sampling and
// keep absolute deadlines, so what Python does makes no difference to rate or lateness.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/frame.h"
#include "core/unit.h"

namespace pyprof {

struct SamplerEvent {
  int64_t t_ns;
  std::string kind;  // failed, denied, lost, back, late, note
  int32_t channel;   // index, or -1
  uint64_t count;
  std::string text;
};

struct SamplerStats {
  double cpu_s = 0;
  uint64_t wakes = 0;
  uint64_t reads = 0;
  uint64_t late = 0;  // wakes later than half the planned interval
  uint64_t failed_reads = 0;
  uint64_t thinned = 0;  // changes merged because nobody took them away in time
};

class LaneThread;

class Sampler {
 public:
  // `interval_ns` 0: every unit at the pace of its sensor. Channels are numbered in order of units.
  Sampler(std::vector<std::unique_ptr<Unit>> units, int64_t interval_ns);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // Returns when each unit has been read once, or after a second for those that hang.
  void start();
  // Waits for one more update of each counter, at most `settle_ns`, then ends the threads. One that
  // hangs in a vendor's call is left behind after 2 s.
  void stop(int64_t settle_ns);
  bool running() const;

  // One frame per channel that has news since the last call.
  std::vector<Frame> drain();
  std::vector<SamplerEvent> events();
  SamplerStats stats() const;

 private:
  LaneThread& lane_for(const Unit& unit, int64_t interval_ns);
  bool inherited() const;  // in the child of a fork, where the threads do not exist
  std::vector<std::shared_ptr<LaneThread>> lanes_;
  std::vector<uint64_t> sequence_;
  std::vector<int64_t> drained_read_ns_;
  std::vector<SamplerEvent> own_events_;
  int32_t pid_;
  bool running_ = false;
};

}  // namespace pyprof
