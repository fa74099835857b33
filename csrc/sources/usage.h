// Who uses the devices: gauges of the CPU time of a party and of everybody in each package, and of
// their shares of each GPU's time. They count nothing; energy is shared by them afterwards.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/unit.h"
#include "sources/follower.h"

namespace pyprof {

// A device whose energy is to be shared, by the id of its channel.
struct SharedPackage {
  std::string channel;
  std::vector<int> cpus;
};
struct SharedGpu {
  std::string channel;
  std::string uuid;
};

// Domain of their channels: these are no energies.
inline constexpr const char* kUseDomain = "use";

// The channel of what `who` ("party" or "all") uses of a device; its limit is the device's own
// capacity: CPUs, or 1 for a GPU.
Channel use_channel(const std::string& device, const char* who, double capacity);

std::unique_ptr<Unit> cpu_usage(const Places& places, std::shared_ptr<Follower> follower,
                                const std::vector<SharedPackage>& packages);

// Null, with a reason, where the driver does not tell its processes apart.
std::unique_ptr<Unit> gpu_usage(const Places& places, std::shared_ptr<Follower> follower,
                                const SharedGpu& gpu, std::string& why_not);

// A follower that knows where each CPU is.
std::shared_ptr<Follower> follow(const Places& places, const Party& party,
                                 const std::vector<SharedPackage>& packages);

}  // namespace pyprof
