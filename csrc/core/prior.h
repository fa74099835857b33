// What all frames of a channel tell of its sensor together, before any joule is placed.
#pragma once

#include <cstdint>
#include <vector>

#include "core/channel.h"
#include "core/frame.h"

namespace pyprof {

// So few powers say nothing about those that were not seen.
inline constexpr size_t kFewPowers = 8;

// The update period as the sampler found it, else as the changes show it, else as documented; 0:
// unknown.
int64_t find_period(const std::vector<Frame>& frames, const Channel& channel);

// The limit in watts by which wraps are told from resets.
double find_likely_power(const std::vector<Frame>& frames, const Channel& channel);

}  // namespace pyprof
