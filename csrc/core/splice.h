// The changes of several recordings of the same sensors made into one: no instant counts twice.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/frame.h"

namespace pyprof {

// Recordings are added one after the other, in order of their beginnings. Of each channel what
// earlier ones have covered already is left out, and the changes are numbered anew, so that they
// follow on. A reader then finds one trace: where nothing was read between two recordings there is
// a gap, and where they overlap there is none.
class Splice {
 public:
  explicit Splice(size_t channels) : joints_(channels) {}

  // What follows is of this recording: its channel i is ours `channels[i]` (-1: left out), and
  // `shift_ns` is added to its times. Recordings of one `stream` are parts of one trace, whose
  // changes are numbered through.
  void begin(const std::string& stream, std::vector<int32_t> channels, int64_t shift_ns);
  // The frames as they follow on; of one recording in order of time. Appends to `out`.
  void add(std::span<const uint8_t> bytes, std::vector<uint8_t>& out);

 private:
  struct Joint {
    uint64_t next_seq = 0;
    uint64_t raw = 0;
    int64_t last_read_ns = INT64_MIN;
    bool started = false;
  };
  // What is known of a channel of the present stream.
  struct Source {
    uint64_t next_seq = 0;
    bool seen = false;  // it had been read before the instant up to which others have covered
  };
  void append(Frame frame, Joint& joint, Source& source, int64_t covered_ns,
              std::vector<uint8_t>& out) const;

  std::vector<Joint> joints_;
  std::map<std::string, std::vector<Source>> sources_;
  std::vector<Source>* present_ = nullptr;
  std::vector<int32_t> channels_;
  std::vector<int64_t> covered_ns_;
  int64_t shift_ns_ = 0;
};

}  // namespace pyprof
