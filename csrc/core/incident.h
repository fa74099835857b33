// What goes wrong while sampling, kept without memory of its own until somebody takes it away.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/unit.h"

namespace pyprof {

struct SamplerEvent {
  int64_t t_ns;
  std::string kind;  // failed, denied, lost, back, late, note
  int32_t channel;   // index, or -1
  uint64_t count;
  std::string text;
};

struct Incident {
  enum class Kind : uint8_t {
    kFailed,        // reads failed: `count` of them with `code`
    kDenied,        // refused
    kLost,          // the device was gone
    kBack,          // and is back
    kHung,          // a driver's call took `figure` seconds; others went on without it
    kIrregular,     // updates can't be predicted: polled every `figure` seconds
    kStuck,         // a counter stood still for `figure` seconds
    kSlowCalls,     // calls take long: reads are `count` times rarer
    kOverBudget,    // CPU time of `figure` of a core: reads are `count` times rarer
    kFullPace,      // and no more
    kUnprivileged,  // a scheduling option was refused with `code`
  };
  int64_t t_ns = 0;
  Kind kind = Kind::kFailed;
  int32_t channel = -1;
  uint64_t count = 1;
  int32_t code = 0;  // in the words of `unit`, if there is one
  double figure = 0;
  const Unit* unit = nullptr;
  bool at_end = false;  // still so when the run ended
};

Incident::Kind incident_of(Sample::Status status);
SamplerEvent in_words(const Incident& incident);

// Fixed size. When full, further incidents of a kind and channel are counted into the last of them.
class IncidentLog {
 public:
  void note(const Incident& incident) noexcept;
  // Moves what was noted to `out`, which must have room for `most()`.
  void take(std::vector<Incident>& out) noexcept;
  static constexpr size_t most() { return kMost; }

 private:
  static constexpr size_t kMost = 256;
  std::array<Incident, kMost> kept_;
  size_t count_ = 0;
};

}  // namespace pyprof
