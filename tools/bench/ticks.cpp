// The sampler alone, without Python: reads RAPL zones and GPUs blindly for a while.
//
//   ticks SYSFS LIBNVIDIA_ML INTERVAL_NS SECONDS
//
// Prints one JSON object. Made to be run by valgrind (see instructions.py).
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/sampler.h"
#include "sources/table.h"

using namespace pyprof;

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  Places places;
  places.sysfs = argv[1];
  places.nvml = argv[2];
  std::vector<std::unique_ptr<Unit>> units;
  for (const auto find : {find_powercap, find_nvml}) {
    for (auto& unit : find(places).units) units.push_back(std::move(unit));
  }
  if (units.empty()) return 3;
  const auto count = static_cast<double>(units.size());
  SamplerOptions options;
  options.interval_ns = std::atoll(argv[3]);
  Sampler sampler(std::move(units), options);
  sampler.start();
  sleep_until(monotonic_ns() + static_cast<int64_t>(std::atof(argv[4]) * 1e9));
  sampler.stop(0);
  const SamplerStats stats = sampler.stats();
  std::printf("{\"units\": %g, \"ticks\": %g, \"wakes\": %llu}\n", count,
              static_cast<double>(stats.reads) / count,
              static_cast<unsigned long long>(stats.wakes));
  return 0;
}
