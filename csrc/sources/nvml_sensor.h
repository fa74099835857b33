// What an NVIDIA GPU is, and what its sensors are worth by its generation.
#pragma once

#include <string>

#include "sources/nvml_library.h"

namespace pyprof::nvml {

inline constexpr double kWattsPerMilliwatt = 1e-3;

struct Generation {
  int major = 0, minor = 0;  // 0: not told
  bool known() const { return major != 0; }
  // GA100 and everything older gives the power of the moment, later parts the mean of a second.
  bool power_usage_is_instant() const {
    return known() && (major < 8 || (major == 8 && minor == 0));
  }
};

Generation generation_of(const Library& library, nvmlDevice_t device);
std::string name_of(const Library& library, nvmlDevice_t device);
double limit_w(const Library& library, nvmlDevice_t device);  // above it nothing is plausible

void describe_energy(Channel& channel);
// The power of the moment, or the mean of a second.
void describe_power(Channel& channel, bool instant, const Generation& generation);

}  // namespace pyprof::nvml
