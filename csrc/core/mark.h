// Beginnings and ends of stages, as the callers log them and as a recording keeps them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace pyprof {

enum class Phase : uint8_t { kUnset = 0, kDevelopment = 1, kTraining = 2, kDeployment = 3 };

struct Mark {
  enum class Kind : uint8_t { kBegin = 1, kEnd = 2 };
  static constexpr uint8_t kResumed = 1;  // a generator's stage entered again: not a new entry
  static constexpr uint8_t kSynced = 2;   // the devices were waited for just before
  Kind kind = Kind::kBegin;
  uint8_t flags = 0;
  Phase phase =
      Phase::kUnset;  // resolved at the beginning: own, else the parent's, else the profiler's
  int64_t t_ns = 0;
  uint64_t token = 0;   // of this entry, unique in its process, never 0
  uint64_t parent = 0;  // token of the entry it is nested in; 0: the root
  uint32_t name = 0;    // index of its name in its process
};

// How many marks this process has made: whoever samples sees by it that stages begin and end.
uint64_t marks_made() noexcept;

// Every mark of a process, in the order of logging (times of different threads may interleave by
// less than a microsecond). Growth is bounded by whoever drains it; names are kept for good, the
// first 10,000 distinct ones, later ones share "(other)".
class MarkLog {
 public:
  static constexpr uint32_t kMaxNames = 10000;
  MarkLog();
  ~MarkLog();
  uint32_t intern(std::string_view name);
  void append(const Mark& mark);
  // Takes the marks so far away as frames (names that are new since the last drain included); empty
  // if there are none.
  std::vector<uint8_t> drain();
  uint64_t pending() const;
  void clear();  // for the child of a fork: forgets marks and names

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view name) const { return std::hash<std::string_view>{}(name); }
  };
  struct State {
    std::mutex mutex;
    std::vector<Mark> marks;
    std::vector<Mark> spare;  // empty, with the room that marks have had before
    std::vector<std::string> names;
    std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>> index_of;
    size_t drained_names = 0;
    uint64_t seq = 0;
  };
  std::unique_ptr<State> state_;
};

struct MarkFrame {
  uint64_t seq = 0;  // of its first mark: counts the marks of the process from 0
  std::vector<std::pair<uint32_t, std::string>> names;
  std::vector<Mark> marks;
};

// clang-format off
// Same outer form as a channel frame, magic "PYM1":
//
//   offset size
//   0      12   magic, length, CRC-32C
//   12     8    sequence number of the first mark
//   20     4    number of names
//   24     4    number of marks
//   28     -    names: index, length in bytes (varints), UTF-8
//          -    marks: kind | phase << 2 | flags << 4 (one byte), zigzag difference of the time in
//               ns and of the token to the mark before, and for a beginning zigzag of token -
//               parent (0: the root) and the name's index
//
// clang-format on
// Long logs become several frames; each can be read without the others, apart from its names.
void encode_marks(const MarkFrame& frame, std::vector<uint8_t>& out);
struct DecodedMarks {
  std::vector<MarkFrame> frames;
  size_t damaged_bytes = 0;
};
DecodedMarks decode_marks(std::span<const uint8_t> bytes);

}  // namespace pyprof
