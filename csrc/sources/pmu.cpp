#include "sources/pmu.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "sources/file.h"

namespace pyprof {

namespace fs = std::filesystem;

std::optional<uint64_t> config_of(const Pmu& pmu, const std::string& event) {
  const auto term = read_line(pmu.folder + "/events/" + event);
  const size_t equals = term ? term->find('=') : std::string::npos;
  if (equals == std::string::npos || term->find(',') != std::string::npos) return std::nullopt;
  const std::string place =
      read_line(pmu.folder + "/format/" + term->substr(0, equals)).value_or("config:0-7");
  const unsigned long shift =
      std::strtoul(place.substr(std::min<size_t>(place.size(), 7)).c_str(), nullptr, 10);
  if (place.rfind("config:", 0) != 0 || shift > 63) return std::nullopt;
  return std::strtoull(term->c_str() + equals + 1, nullptr, 0) << shift;
}

double unit_of(const Pmu& pmu, const std::string& event) {
  const std::string base = pmu.folder + "/events/" + event;
  if (read_line(base + ".unit").value_or("Joules") != "Joules") return 0;
  const std::string scale = read_line(base + ".scale").value_or("");
  double unit_j = 0;  // strtod would read "0.5" as 0 where the locale has a decimal comma
  std::from_chars(scale.data(), scale.data() + scale.size(), unit_j);
  return unit_j;
}

Pmu read_pmu(const std::string& folder) {
  Pmu pmu;
  pmu.folder = folder;
  const auto type = read_uint(folder + "/type");
  const auto mask = read_line(folder + "/cpumask");
  if (mask) for_each_cpu(mask->c_str(), [&pmu](int cpu) { pmu.cpus.push_back(cpu); });
  if (!type) pmu.error = folder + "/type can't be read";
  if (type && pmu.cpus.empty()) pmu.error = folder + "/cpumask names no CPU";
  pmu.type = static_cast<uint32_t>(type.value_or(0));
  return pmu;
}

std::map<int, Die> read_topology(const std::string& sysfs) {
  std::map<int, Die> dies;
  std::error_code error;
  for (fs::directory_iterator entry(sysfs + "/devices/system/cpu", error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.rfind("cpu", 0) != 0 || name.find_first_not_of("0123456789", 3) != name.npos) continue;
    const std::string folder = entry->path().string() + "/topology/";
    const auto package = read_uint(folder + "physical_package_id");
    if (!package || name.size() == 3) continue;
    dies[std::atoi(name.c_str() + 3)] = {
        static_cast<int>(*package), static_cast<int>(read_uint(folder + "die_id").value_or(0))};
  }
  return dies;
}

}  // namespace pyprof
