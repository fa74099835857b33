// Frames of one channel made into few: what the writer's many small blocks become.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pyprof {

// Appends the frames in `frames` to `out`, joined per channel where their numbers follow each
// other, each of at most `most` changes. Where changes are missing between, two frames stay two.
void join_frames(std::span<const uint8_t> frames, size_t most, std::vector<uint8_t>& out);

}  // namespace pyprof
