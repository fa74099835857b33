#include "sources/table.h"

namespace pyprof {

// In order of preference. An explicit list, because static initialisers vanish from a static
// library.
const std::vector<SourceEntry>& source_table() {
  static const std::vector<SourceEntry> table = {
      {"rapl-perf", find_perf},          // counters of x86 processors, by system call
      {"rapl-powercap", find_powercap},  // the same, by files
      {"nvml", find_nvml},               // NVIDIA GPUs
      {"amd-smi", find_amd_smi},         // AMD GPUs, by ROCm's library
      {"hwmon", find_hwmon},             // AMD and Intel GPUs, Grace, Jetson
      {"level-zero", find_level_zero},   // Intel GPUs that hwmon does not show
      {"cray", find_cray},               // nodes of HPE Cray
      {"meter", find_meter},             // an external meter
  };
  return table;
}

}  // namespace pyprof
