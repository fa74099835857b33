// The bytes in which changes are kept: self-describing, checksummed, found again without an index.
// clang-format off
//
//   offset size
//   0      4    magic "PYF2"
//   4      4    length of the whole frame in bytes, little endian
//   8      4    CRC-32C of everything from offset 12
//   12     4    channel index in its recording
//   16     8    sequence number of the first change (counts changes of this channel from 0)
//   24     4    number of changes
//   28     4    detected update period, us (0: unknown)
//   32     8    base: first_new of the first change, us on CLOCK_MONOTONIC (last_read if there is none)
//   40     8    time of the last successful read, us
//   48     8    raw value of the first change
//   56     4    planned interval between reads, us
//   60     4    spread of the update period, us
//   64     -    five columns, one entry a change:
//               zigzag second difference of first_new in us (varint);
//               the bracket (varint): us since the first_new before << 2 | has_flags << 1, or
//               where that is larger the bracket itself in us << 2 | has_flags << 1 | 1;
//               place of at_ns in the bracket in 1/255 (one byte);
//               zigzag second difference of raw (varint; two's complement, any 64-bit step is exact);
//               flags (one byte) of those that have some
//
// Schema 1 of the recording had "PYF1": the same header, then entry after entry: first_new, bracket
// in us << 1 | has_flags, place, raw, flags.
// clang-format on
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/trace.h"

namespace pyprof {

struct Frame {
  uint32_t channel = 0;
  uint64_t first_seq = 0;
  Pulse pulse;
  std::vector<Change> changes;
};

uint32_t crc32c(std::span<const uint8_t> bytes);

// Appends one frame to `out`. Stamps are rounded to microseconds.
void encode_frame(const Frame& frame, std::vector<uint8_t>& out);

struct Decoded {
  std::vector<Frame> frames;
  std::vector<std::span<const uint8_t>> pieces;  // of the input, one a frame
  size_t damaged_bytes = 0;                      // skipped between whole frames
};

// Reads every whole frame in `bytes`, in any order of channels, resynchronising on the magic after
// damage. Bytes are hostile: lengths, counts and varints are bounded by the input.
Decoded decode_frames(std::span<const uint8_t> bytes);

}  // namespace pyprof
