// RAPL through the kernel's powercap tree: one file of microjoules per zone.
//
// Zones nest in the tree, their energies do not all: core and uncore lie inside their package, dram
// beside it, psys around everything. The registers update about every millisecond and wrap at
// max_energy_range_uj (Linux Documentation/power/powercap/powercap.rst; Intel SDM vol. 3, 15.10).
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>

#include "core/clock.h"
#include "sources/file.h"
#include "sources/table.h"

namespace pyprof {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "rapl-powercap";
constexpr double kJoulesPerMicrojoule = 1e-6;
constexpr int kLooks = 12;
constexpr int kMeetings = 3;
constexpr uint64_t kNearUj = 5'000'000;  // what 500 W use in 10 ms

struct Zone {
  std::string key;      // intel-rapl:0:1, intel-rapl-mmio:0
  std::string control;  // intel-rapl, intel-rapl-mmio
  std::string path;
  std::string name;  // package-0, dram
};

class ZoneUnit : public Unit {
 public:
  ZoneUnit(Channel channel, std::unique_ptr<NumberFile> file)
      : file_(std::move(file)), channels_{std::move(channel)} {}
  const std::vector<Channel>& channels() const override { return channels_; }
  [[gnu::hot]] void read(std::span<Sample> out) noexcept override { file_->read(out[0]); }

 private:
  std::unique_ptr<NumberFile> file_;  // first what a read touches
  std::vector<Channel> channels_;
};

bool is_zone(const std::string& key) {
  return key.rfind("intel-rapl", 0) == 0 && key.find(':') != std::string::npos;
}

std::string control_of(const std::string& key) { return key.substr(0, key.find(':')); }

// The key of the zone around it: intel-rapl:0:1 -> intel-rapl:0; "" at the top.
std::string around(const std::string& key) {
  const size_t colon = key.rfind(':');
  return key.find(':') == colon ? "" : key.substr(0, colon);
}

void collect(const fs::path& folder, int depth, std::map<std::string, Zone>& zones) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    const std::string key = entry->path().filename().string();
    if (key.rfind("intel-rapl", 0) != 0 || !fs::is_directory(entry->path(), ignored)) continue;
    if (is_zone(key) && !zones.contains(key)) {
      const std::string name = read_line(entry->path().string() + "/name").value_or("");
      zones[key] = {key, control_of(key), entry->path().string(), name.empty() ? key : name};
    }
    if (depth > 0) collect(entry->path(), depth - 1, zones);
  }
}

std::map<std::string, Zone> list_zones(const std::string& sysfs) {
  std::map<std::string, Zone> zones;
  collect(sysfs + "/class/powercap", 2, zones);
  if (zones.empty()) collect(sysfs + "/devices/virtual/powercap", 3, zones);
  return zones;
}

std::string domain_of(const std::string& name) {
  if (name.rfind("package", 0) == 0) return "package";
  for (const char* known : {"core", "uncore", "dram", "psys"}) {
    if (name == known) return known;
  }
  return "other";
}

// Far above any part on sale, so that it only tells a wrap from a reset and a second wrap.
double limit_of(const std::string& domain, const std::string& path) {
  const double floor_w = domain == "dram" ? 500.0 : domain == "psys" ? 6000.0 : 1500.0;
  const double rated_w =
      static_cast<double>(read_uint(path + "/constraint_0_max_power_uw").value_or(0)) * 1e-6;
  return std::max(floor_w, 4 * rated_w);
}

std::string id_of(const Zone& zone, const std::map<std::string, Zone>& zones) {
  const auto outer = zones.find(around(zone.key));
  const std::string base = outer == zones.end() ? zone.name : outer->second.name + "/" + zone.name;
  return zone.control == "intel-rapl" ? base : zone.control + "/" + base;
}

Channel describe(const Zone& zone, const std::map<std::string, Zone>& zones) {
  Channel channel;
  channel.id = id_of(zone, zones);
  channel.domain = domain_of(zone.name);
  channel.device = "RAPL " + channel.id;
  channel.source = kName;
  channel.unit = kJoulesPerMicrojoule;
  channel.range = read_uint(zone.path + "/max_energy_range_uj").value_or(0);
  if (channel.range != 0) ++channel.range;  // the file names the highest value, not their number
  channel.limit_w = limit_of(channel.domain, zone.path);
  channel.period_ns = kNsPerMs;
  if (channel.domain == "core" || channel.domain == "uncore") {
    const auto outer = zones.find(around(zone.key));
    channel.counted = false;
    channel.parent = outer == zones.end() ? "" : id_of(outer->second, zones);
    channel.reason = "inside " + (channel.parent.empty() ? "its package" : channel.parent);
  } else if (channel.domain == "other") {
    channel.counted = false;
    channel.reason = "a zone of unknown kind: '" + zone.name + "'";
  }
  return channel;
}

struct Candidate {
  Zone zone;
  Channel channel;
  std::unique_ptr<NumberFile> file;
  int error = 0;
};

// package-0-die-1 -> package-0: the number that the zones of one package share.
std::string package_of(const std::string& name) { return name.substr(0, name.find("-die-")); }

// Two zones that show one register are one counter seen twice. Whether they are is told by their
// values: those of two registers hardly ever meet, and never stay together. A read may fall between
// the updates of the two, so a difference of a few milliseconds' energy proves nothing.
bool same_counter(Candidate& a, Candidate& b) {
  int met = 0;
  for (int attempt = 0; attempt < kLooks; ++attempt) {
    Sample first, second, again;
    a.file->read(first);
    b.file->read(second);
    a.file->read(again);
    if (second.status != Sample::Status::kOk || second.raw == 0) return false;
    if (second.raw + kNearUj < first.raw || second.raw > again.raw + kNearUj) return false;
    if (second.raw >= first.raw && second.raw <= again.raw && ++met == kMeetings) return true;
    sleep_until(monotonic_ns() + 2 * kNsPerMs);
  }
  return false;
}

void leave_out(Channel& channel, const std::string& reason) {
  channel.counted = false;
  channel.reason = reason;
}

void leave_out_twins(std::vector<Candidate>& candidates, std::vector<std::string>& notes) {
  for (size_t i = 0; i < candidates.size(); ++i) {
    Candidate& twin = candidates[i];
    if (twin.channel.domain != "package" || twin.error != 0) continue;
    for (size_t j = 0; j < i; ++j) {
      Candidate& first = candidates[j];
      if (first.channel.domain != "package" || !first.channel.counted) continue;
      if (package_of(first.zone.name) != package_of(twin.zone.name)) continue;
      const bool mapped = first.zone.control != twin.zone.control;
      if (first.error != 0) {
        if (mapped) leave_out(first.channel, "read through " + twin.channel.id + " instead");
        continue;
      }
      if (!mapped && !same_counter(first, twin)) continue;
      leave_out(twin.channel, mapped ? "the same package as " + first.channel.id +
                                           ", through memory-mapped registers"
                                     : "mirrors " + first.channel.id);
      notes.push_back(twin.channel.id + " is not counted: " + twin.channel.reason);
      break;
    }
  }
}

bool is_memory_of(const Candidate& memory, const Candidate& package) {
  return memory.channel.domain == "dram" && around(memory.zone.key) == package.zone.key;
}

// The memory below a package that is a twin is a twin itself, of the memory below the first.
void leave_out_children(std::vector<Candidate>& candidates) {
  const auto first_has_memory = [&candidates](const Candidate& twin) {
    return std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& package) {
      const bool same = package.channel.domain == "package" && package.channel.counted &&
                        package_of(package.zone.name) == package_of(twin.zone.name);
      return same && std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& c) {
               return is_memory_of(c, package) && c.error == 0;
             });
    });
  };
  for (Candidate& child : candidates) {
    for (const Candidate& outer : candidates) {
      const bool below_twin =
          is_memory_of(child, outer) && outer.channel.domain == "package" && !outer.channel.counted;
      if (below_twin && first_has_memory(outer)) {
        leave_out(child.channel, "below " + outer.channel.id + ", which is not counted");
      }
    }
  }
}

// The platform holds packages and memory. It counts where no package can be read, and then once:
// several sockets may show it, those that are not its master as 0.
void leave_out_psys(std::vector<Candidate>& candidates) {
  const auto packages = [&candidates](bool readable) {
    return std::any_of(candidates.begin(), candidates.end(), [readable](const Candidate& c) {
      return c.channel.domain == "package" && c.channel.counted && (!readable || c.error == 0);
    });
  };
  const Candidate* platform = nullptr;
  for (Candidate& candidate : candidates) {
    if (candidate.channel.domain != "psys") continue;
    Sample sample;
    if (candidate.error == 0) candidate.file->read(sample);
    const bool moves = sample.status == Sample::Status::kOk && sample.raw > 0;
    if (packages(candidate.error == 0)) {
      leave_out(candidate.channel, "the whole platform, packages included");
    } else if (candidate.error == 0 && moves && platform == nullptr) {
      platform = &candidate;
    } else if (candidate.error == 0) {
      leave_out(candidate.channel, moves ? "the same platform, through another socket"
                                         : "stands at 0: another socket shows the platform");
    }
  }
  if (platform == nullptr) return;
  for (Candidate& candidate : candidates) {
    const bool inside = candidate.channel.domain == "package" || candidate.channel.domain == "dram";
    if (inside && candidate.channel.counted) {
      leave_out(candidate.channel, "inside " + platform->channel.id);
    }
  }
}

void make_ids_unique(std::vector<Candidate>& candidates) {
  std::set<std::string> used;
  for (Candidate& candidate : candidates) {
    const std::string base = candidate.channel.id;
    for (int n = 2; !used.insert(candidate.channel.id).second; ++n) {
      candidate.channel.id = base + "#" + std::to_string(n);
    }
  }
}

std::vector<Candidate> open_zones(const std::map<std::string, Zone>& zones) {
  std::vector<Candidate> candidates;
  for (const auto& [key, zone] : zones) {
    Candidate candidate{zone, describe(zone, zones), nullptr, 0};
    candidate.file = std::make_unique<NumberFile>(zone.path + "/energy_uj");
    candidate.error = candidate.file->open_patiently();
    candidates.push_back(std::move(candidate));
  }
  // The plain registers first: their memory-mapped twins are then the ones left out.
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) {
                     return a.zone.control.size() < b.zone.control.size();
                   });
  return candidates;
}

void explain_absence(const std::string& sysfs, SourceState& state) {
  std::error_code error;
  const std::string folder = sysfs + "/class/powercap";
  if (fs::exists(folder, error)) {
    state.reason = "no RAPL zone in " + folder +
                   ": the kernel module intel_rapl_msr is not loaded, or this is a virtual machine "
                   "or a container that hides it";
    state.remedy = "sudo modprobe intel_rapl_msr";
  } else {
    state.reason = folder + " does not exist: the kernel or the container offers no powercap";
    state.remedy = "sudo modprobe intel_rapl_msr";
  }
}

void explain_refusal(const std::vector<Candidate>& candidates, SourceState& state) {
  std::string files;
  const Candidate* refused = nullptr;
  for (const Candidate& candidate : candidates) {
    if (candidate.error == 0) continue;
    if (refused == nullptr) refused = &candidate;
    files += " " + candidate.file->path();
  }
  if (refused == nullptr) return;
  state.reason = refused->file->path() + ": " + describe_errno(refused->error);
  if (refused->error == EACCES || refused->error == EPERM) {
    state.remedy = "sudo groupadd -f powercap && sudo chgrp powercap" + files +
                   " && sudo chmod g+r" + files +
                   " && sudo usermod -aG powercap $USER, then log in again (lasts until the next "
                   "boot; members of the group can observe other users' activity, CVE-2020-8694)";
  }
}

}  // namespace

Found find_powercap(const Places& places) {
  Found found;
  found.state.name = kName;
  const auto zones = list_zones(places.sysfs);
  if (zones.empty()) {
    explain_absence(places.sysfs, found.state);
    return found;
  }
  std::vector<Candidate> candidates = open_zones(zones);
  make_ids_unique(candidates);
  leave_out_twins(candidates, found.notes);
  leave_out_children(candidates);
  leave_out_psys(candidates);
  explain_refusal(candidates, found.state);
  for (Candidate& candidate : candidates) {
    if (candidate.error == 0) {
      if (candidate.channel.range == 0) {
        found.notes.push_back(candidate.channel.id + ": " + candidate.zone.path +
                              "/max_energy_range_uj can't be read, so a wrap is taken for a reset");
      }
      found.state.available = true;
      found.units.push_back(
          std::make_unique<ZoneUnit>(std::move(candidate.channel), std::move(candidate.file)));
    } else {
      const std::string why = candidate.file->path() + ": " + describe_errno(candidate.error);
      const std::string& instead = candidate.channel.reason;
      candidate.channel.quality = "unmeasured";
      candidate.channel.reason = why + (candidate.channel.counted ? "" : "; " + instead);
      found.unreadable.push_back(std::move(candidate.channel));
    }
  }
  return found;
}

}  // namespace pyprof
