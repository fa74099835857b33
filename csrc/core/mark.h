// Beginnings and ends of stages, as the callers log them and as a recording keeps them.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pyprof {

enum class Phase : uint8_t { kUnset = 0, kDevelopment = 1, kTraining = 2, kDeployment = 3 };

struct Mark {
  enum class Kind : uint8_t { kBegin = 1, kEnd = 2 };
  static constexpr uint8_t kResumed = 1;  // a generator's stage entered again: not a new entry
  Kind kind = Kind::kBegin;
  uint8_t flags = 0;
  Phase phase = Phase::kUnset;  // resolved at the beginning: own, else the parent's, else the profiler's
  int64_t t_ns = 0;
  uint64_t token = 0;   // of this entry, unique in its process, never 0
  uint64_t parent = 0;  // token of the entry it is nested in; 0: the root
  uint32_t name = 0;    // index of its name in its process
};

// Every mark of a process, in the order of logging (times of different threads may interleave by
// less than a microsecond). Growth is bounded by whoever drains it; names are kept for good, the
// first 10,000 distinct ones, later ones share "(other)".
class MarkLog {
 public:
  static constexpr uint32_t kMaxNames = 10000;
  uint32_t intern(std::string_view name);
  void append(const Mark& mark);
  // Takes the marks so far away as one frame (names that are new since the last drain included);
  // empty if there are none.
  std::vector<uint8_t> drain();
  uint64_t pending() const;
  void clear();  // for the child of a fork: forgets marks and names

 private:
  mutable std::mutex mutex_;
  std::vector<Mark> marks_;
  std::vector<std::string> names_;
  size_t drained_names_ = 0;
  uint64_t seq_ = 0;
};

struct MarkFrame {
  uint64_t seq = 0;
  std::vector<std::pair<uint32_t, std::string>> names;
  std::vector<Mark> marks;
};

// Same outer form as a channel frame, magic "PYM1": length, CRC-32C, seq, counts, then varints.
void encode_marks(const MarkFrame& frame, std::vector<uint8_t>& out);
struct DecodedMarks {
  std::vector<MarkFrame> frames;
  size_t damaged_bytes = 0;
};
DecodedMarks decode_marks(std::span<const uint8_t> bytes);

}  // namespace pyprof
