// THE list of sources. A new backend is one file, one line here, one line in table.cpp.
#pragma once

#include <memory>
#include <vector>

#include "core/unit.h"

namespace pyprof {

Found find_perf(const Places& places);
Found find_powercap(const Places& places);
Found find_nvml(const Places& places);
Found find_amd_smi(const Places& places);
Found find_hwmon(const Places& places);
Found find_level_zero(const Places& places);
Found find_cray(const Places& places);
Found find_meter(const Places& places);

// A modelled gauge from the utilisation of the GPU with the channel's uuid; null if it can't be
// read.
std::unique_ptr<Unit> nvml_utilisation(const Places& places, const Channel& channel, double idle_w,
                                       double design_w);

// The power of a GPU whose counter is sampled, as a channel that is not counted; null if there is
// none.
std::unique_ptr<Unit> nvml_power_beside(const Places& places, const Channel& counter);

struct SourceEntry {
  const char* name;
  Found (*find)(const Places&);
};

const std::vector<SourceEntry>& source_table();

}  // namespace pyprof
