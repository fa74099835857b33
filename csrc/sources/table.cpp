#include "sources/table.h"

namespace pyprof {

// In order of preference. An explicit list, because static initialisers vanish from a static library.
const std::vector<SourceEntry>& source_table() {
  static const std::vector<SourceEntry> table = {
      {"rapl-perf", find_perf},
      {"rapl-powercap", find_powercap},
      {"nvml", find_nvml},
      {"hwmon", find_hwmon},
      {"cray", find_cray},
      {"meter", find_meter},
  };
  return table;
}

}  // namespace pyprof
