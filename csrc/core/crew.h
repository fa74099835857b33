// All lanes of a sampler. Grows when a call hangs.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/sampler.h"
#include "core/watch.h"

namespace pyprof {

class LaneThread;

class Crew : public std::enable_shared_from_this<Crew> {
 public:
  explicit Crew(SamplerOptions options);
  void add(std::shared_ptr<LaneThread> lane);
  std::vector<std::shared_ptr<LaneThread>> lanes() const;
  void start();
  void close();  // no lane is added any more
  Watch& watch() { return watch_; }
  double load() const;
  size_t size() const;

 private:
  int64_t look(int64_t now_ns);

  const SamplerOptions options_;
  mutable std::mutex mutex_;
  bool closed_ = false;
  std::vector<std::shared_ptr<LaneThread>> lanes_;
  Watch watch_;
};

}  // namespace pyprof
