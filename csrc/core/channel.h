// What one number of a sensor is: its identity, unit, range and place in the tree of containment.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace pyprof {

// How the raw integer of a channel is to be read.
enum class Kind : uint8_t {
  kCounter = 0,  // cumulative energy; only differences mean anything
  kGauge = 1,    // power, describing the `window_ns` before the sensor's update
};

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

struct Channel {
  std::string id;                    // short and stable: gpu0, package-0, package-0/dram
  std::string domain;                // gpu package core uncore dram psys module host other
  std::string device;                // the name a person knows it by
  std::string uuid;                  // identity across runs and tools, "" if it has none
  std::string parent;                // id of the channel that contains this one, or ""
  std::string source;                // rapl-powercap, nvml, modelled, replay
  std::string scope = "node";        // node, devices
  std::string quality = "measured";  // measured derived modelled unmeasured
  std::string method = "counter";    // counter power-instant power-average model replay
  std::string reason;                // why it is not counted or not measured, one sentence, else ""
  bool counted = true;
  Kind kind = Kind::kCounter;
  double unit = 1.0;            // joules per count (counter) or watts per count (gauge)
  uint64_t range = 0;           // counts after which a counter starts again at 0; 0: 64 bits, never
  double limit_w = 0.0;         // highest plausible mean power; 0: unknown
  double tolerance = kUnknown;  // the sensor's own accuracy as a fraction
  double low_ratio = 1.0;  // models only: true energy / estimate lies in [low_ratio, high_ratio]
  double high_ratio = 1.0;
  int64_t window_ns = 0;  // gauges: averaging window; -1: the mean since the previous reading
  int64_t period_ns =
      0;  // documented update period, 0 if not known; the sampler finds the real one
};

}  // namespace pyprof
