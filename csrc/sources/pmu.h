// A performance monitoring unit as the kernel describes it in its folder below event_source.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pyprof {

struct Pmu {
  std::string folder;
  uint32_t type = 0;
  std::vector<int> cpus;  // that count, one per die or, in power_core, one per core
  std::string error;      // why it can't be used
};

struct Die {
  int package = 0;
  int number = 0;
  bool operator<(const Die& other) const {
    return std::pair(package, number) < std::pair(other.package, other.number);
  }
};

// Calls `each` for the CPUs of a list like "0-3,8". Allocates nothing.
template <typename Each>
void for_each_cpu(const char* text, Each each) noexcept {
  while (*text >= '0' && *text <= '9') {
    char* end = nullptr;
    const long first = std::strtol(text, &end, 10);
    const long last = *end == '-' ? std::strtol(end + 1, &end, 10) : first;
    for (long cpu = first; cpu <= last && last < 65536; ++cpu) each(static_cast<int>(cpu));
    text = *end == ',' ? end + 1 : end;
  }
}

Pmu read_pmu(const std::string& folder);

// The bits that a term like "event=0x02" sets, by the PMU's format ("config:0-7"); nothing if there
// is no such event.
std::optional<uint64_t> config_of(const Pmu& pmu, const std::string& event);

// Joules per count; 0 if it isn't told or isn't in joules.
double unit_of(const Pmu& pmu, const std::string& event);

// The die of every CPU.
std::map<int, Die> read_topology(const std::string& sysfs);

}  // namespace pyprof
