// Units of an NVIDIA GPU that give more than one number a call.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "sources/nvml_library.h"

namespace pyprof::nvml {

// An entry of the driver's field query. `scope` is one of NVML_POWER_SCOPE_*: the header's defines
// have 2 for memory and 3 for the base of the GPU, a comment beside the fields says otherwise.
struct Field {
  unsigned id = 0;
  unsigned scope = 0;
};

Answer ask_field(const Library& library, nvmlDevice_t device, const Field& field);

// Several fields in one call. Each entry has a status of its own.
std::unique_ptr<Unit> batch(Device device, std::vector<Channel> channels,
                            const std::vector<Field>& fields);

// The driver's own buffer of power samples, added up to a counter, so that every sample counts
// however seldom it is read; null where the driver keeps none, or keeps them coarser than its power
// reading is.
std::unique_ptr<Unit> sampled(const std::shared_ptr<Library>& library, nvmlDevice_t handle,
                              Channel channel);

}  // namespace pyprof::nvml
