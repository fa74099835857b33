#include "sources/precedence.h"

#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <string>

#include "core/hardware.h"

namespace pyprof {
namespace {

// These read the same registers; hwmon does where the driver amd_energy is loaded.
constexpr std::array kRapl = {"rapl-perf", "rapl-powercap", "hwmon"};

bool is_rapl(const Found& found) {
  return std::find(kRapl.begin(), kRapl.end(), found.state.name) != kRapl.end();
}

std::vector<Channel> readable(const Found& found) {
  std::vector<Channel> channels;
  for (const auto& unit : found.units) {
    channels.insert(channels.end(), unit->channels().begin(), unit->channels().end());
  }
  return channels;
}

size_t count_domain(const std::vector<Channel>& channels, const std::string& domain) {
  return static_cast<size_t>(
      std::count_if(channels.begin(), channels.end(),
                    [&domain](const Channel& channel) { return channel.domain == domain; }));
}

// Channels of a domain that ought to be read and can't be.
size_t count_missing(const Found& found, const std::string& domain) {
  return static_cast<size_t>(std::count_if(
      found.unreadable.begin(), found.unreadable.end(),
      [&domain](const Channel& channel) { return channel.counted && channel.domain == domain; }));
}

// What is left of a unit without the channels of one domain; null if nothing is.
std::unique_ptr<Unit> without(std::unique_ptr<Unit> unit, const std::string& domain) {
  const std::vector<Channel> channels = unit->channels();
  const size_t gone = count_domain(channels, domain);
  if (gone == 0) return unit;
  if (gone == channels.size()) return nullptr;
  auto rest = std::make_unique<Selection>(std::move(unit));
  for (const Channel& channel : channels) {
    if (channel.domain == domain) rest->drop(channel.id);
  }
  return rest;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// Gives up a domain to `winner`, which says the same better.
void yield(Found& loser, const std::string& domain, std::vector<std::string>& given_up) {
  for (const Channel& channel : readable(loser)) {
    if (channel.domain == domain) given_up.push_back(channel.id);
  }
  for (auto& unit : loser.units) unit = without(std::move(unit), domain);
  std::erase(loser.units, nullptr);
  std::erase_if(loser.unreadable,
                [&domain](const Channel& channel) { return channel.domain == domain; });
}

// An interface that misses a part of the domain stands behind one that misses none.
const Found* choose(const std::vector<Found*>& interfaces, const std::string& domain) {
  for (const Found* found : interfaces) {
    const bool whole = count_missing(*found, domain) == 0;
    if (whole && count_domain(readable(*found), domain) > 0) return found;
  }
  for (const Found* found : interfaces) {
    if (count_domain(readable(*found), domain) > 0) return found;
  }
  for (const Found* found : interfaces) {
    if (count_domain(found->unreadable, domain) > 0) return found;
  }
  return nullptr;
}

void choose_interfaces(std::vector<Found>& found) {
  std::vector<Found*> interfaces;
  for (Found& each : found) {
    if (is_rapl(each)) interfaces.push_back(&each);
  }
  for (Found* loser : interfaces) {
    std::vector<std::string> given_up;
    std::set<std::string> winners;
    for (const char* domain : {"package", "dram", "core", "uncore", "psys"}) {
      const Found* const winner = choose(interfaces, domain);
      const bool yields = winner != nullptr && winner != loser;
      if (!yields) continue;
      if (count_domain(readable(*winner), domain) > 0) winners.insert(winner->state.name);
      yield(*loser, domain, given_up);
    }
    if (winners.empty()) continue;
    const std::string by = *winners.begin();
    if (!given_up.empty()) {
      loser->notes.push_back("RAPL is read through " + by + ", so " + loser->state.name +
                             " leaves out " + listed(given_up));
    }
    // What another interface reads needs no mending.
    if (!loser->units.empty() || !loser->unreadable.empty()) continue;
    loser->state.remedy.clear();
    if (loser->state.available) {
      loser->state.reason = "not needed, as " + by + " reads the same counters";
    }
  }
}

// -- one GPU, several readers ---------------------------------------------------------------------

// In order of preference: a counter before a power, a file of the kernel before a library.
constexpr std::array kGpuReaders = {"amd-smi", "hwmon", "level-zero"};

// The place on the bus with which these sources end a GPU's name, "" if it has none.
std::string place_of(const Channel& channel) {
  const size_t at = channel.device.rfind(" at ");
  const bool reads =
      std::find(kGpuReaders.begin(), kGpuReaders.end(), channel.source) != kGpuReaders.end();
  return channel.domain == "gpu" && reads && at != channel.device.npos ? channel.device.substr(at)
                                                                       : "";
}

bool knows(const std::vector<Channel>& channels, const std::string& place) {
  return std::any_of(channels.begin(), channels.end(),
                     [&place](const Channel& channel) { return place_of(channel) == place; });
}

void give_up_place(Found& loser, const std::string& place) {
  for (auto& unit : loser.units) {
    if (knows(unit->channels(), place)) unit = nullptr;
  }
  std::erase(loser.units, nullptr);
  std::erase_if(loser.unreadable,
                [&place](const Channel& channel) { return place_of(channel) == place; });
}

// Each GPU is left to the first source that reads it, else to the first one that lists it.
void choose_gpu_readers(std::vector<Found>& found) {
  std::vector<Found*> readers;
  std::set<std::string> places;
  for (const char* const name : kGpuReaders) {
    for (Found& each : found) {
      if (each.state.name != name) continue;
      readers.push_back(&each);
      for (const Channel& channel : readable(each)) places.insert(place_of(channel));
      for (const Channel& channel : each.unreadable) places.insert(place_of(channel));
    }
  }
  places.erase("");
  for (const std::string& place : places) {
    const auto reads = [&place](const Found* each) { return knows(readable(*each), place); };
    const auto lists = [&place](const Found* each) { return knows(each->unreadable, place); };
    auto best = std::find_if(readers.begin(), readers.end(), reads);
    if (best == readers.end()) best = std::find_if(readers.begin(), readers.end(), lists);
    for (Found* const each : readers) {
      if (each == *best || (!reads(each) && !lists(each))) continue;
      give_up_place(*each, place);
      each->notes.push_back("the GPU" + place + " is read through " + (*best)->state.name +
                            ", so " + each->state.name + " leaves it out");
    }
  }
}

// -- what lies inside what ------------------------------------------------------------------------

bool names_any(const std::string& text, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(),
                     [&text](const char* word) { return text.find(word) != text.npos; });
}

bool is_any(const std::string& text, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(),
                     [&text](const char* word) { return text == word; });
}

template <typename Which>
bool counts_any(const std::vector<Found>& found, Which which) {
  for (const Found& each : found) {
    for (const Channel& channel : readable(each)) {
      if (channel.counted && which(channel)) return true;
    }
  }
  return false;
}

template <typename Which>
void leave_out(std::vector<Found>& found, Which which, const std::string& reason) {
  for (Found& each : found) {
    for (auto& unit : each.units) {
      for (Channel channel : std::vector<Channel>(unit->channels())) {
        if (!channel.counted || !which(channel)) continue;
        channel.counted = false;
        channel.reason = reason;
        auto amended = std::make_unique<Selection>(std::move(unit));
        amended->replace(channel);
        unit = std::move(amended);
      }
    }
  }
}

// A superchip's GPU counter or the meter of its module holds CPU, GPU and memory: one of the two
// counts. The counter is the better one where it is known to hold everything.
void leave_out_in_modules(std::vector<Found>& found) {
  const auto whole_gpu = [](const Channel& channel) {
    return channel.domain == "gpu" && channel.kind == Kind::kCounter &&
           channel.method == "counter" && names_any(channel.device, {"GH200"});
  };
  const auto told_by_driver = [](const Channel& channel) {
    return channel.domain == "module" && channel.source == "nvml";
  };
  const auto gpu_on_module = [](const Channel& channel) {
    return channel.domain == "gpu" &&
           names_any(channel.device, {"GB200", "GB300", "GB10", "Orin", "Thor"});
  };
  const auto on_module = [](const Channel& channel) {
    return channel.source == "hwmon" &&
           is_any(channel.domain, {"module", "package", "core", "uncore"});
  };
  if (counts_any(found, whole_gpu)) {
    leave_out(found, on_module, "inside the GPU's energy, which is the whole module's");
  } else if (counts_any(found, told_by_driver)) {
    leave_out(found, on_module, "inside the module, whose power the GPU's driver tells");
  } else if (counts_any(found, [](const Channel& c) { return c.domain == "module"; })) {
    leave_out(found, gpu_on_module, "inside the module, which is metered as a whole");
  }
}

// The controller of a Cray blade meters what others read at the device itself, and faster.
void leave_out_twins(std::vector<Found>& found) {
  for (const char* domain : {"package", "dram", "gpu"}) {
    const auto same_domain = [domain](const Channel& c) { return c.domain == domain; };
    const bool twice = counts_any(found, [&same_domain](const Channel& channel) {
      return same_domain(channel) && channel.source != "cray";
    });
    if (!twice) continue;
    leave_out(
        found,
        [&same_domain](const Channel& channel) {
          return same_domain(channel) && channel.source == "cray";
        },
        "read at the device itself as well");
  }
}

// Several meters of the whole machine: the one that somebody attached on purpose, else the blade's.
void leave_out_hosts(std::vector<Found>& found) {
  const auto is_host = [](const Channel& channel) { return channel.domain == "host"; };
  const bool components = counts_any(found, [](const Channel& channel) {
    return is_any(channel.domain, {"package", "gpu", "dram", "module", "psys"});
  });
  if (components) leave_out(found, is_host, "the whole machine, with what is counted apart");
  for (const char* const best : {"meter", "cray"}) {
    if (!counts_any(found, [&](const Channel& c) { return is_host(c) && c.source == best; }))
      continue;
    leave_out(
        found, [&](const Channel& c) { return is_host(c) && c.source != best; },
        std::string("the same machine as the source ") + best + " meters");
  }
}

}  // namespace

void settle(std::vector<Found>& found) {
  choose_interfaces(found);
  choose_gpu_readers(found);
  leave_out_in_modules(found);
  leave_out_twins(found);
  leave_out_hosts(found);
}

}  // namespace pyprof
