// Frames of one channel made into few, and cut to what is needed of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pyprof {

// Appends the frames in `frames` to `out`, joined per channel where their numbers follow each
// other, each of at most `most` changes. Where changes are missing between, two frames stay two.
void join_frames(std::span<const uint8_t> frames, size_t most, std::vector<uint8_t>& out);

// Appends of each frame the changes between two moments, and `context` more on either side.
void cut_frames(std::span<const uint8_t> frames, int64_t from_ns, int64_t to_ns, size_t context,
                std::vector<uint8_t>& out);

}  // namespace pyprof
