// One entry of the kernel's hwmon class.
#pragma once

#include <string>
#include <vector>

namespace pyprof {

struct Chip {
  std::string path;     // .../hwmon3
  std::string name;     // amdgpu
  std::string device;   // the folder of the device it belongs to
  std::string address;  // on the bus, "" if the tree doesn't tell
};

bool exists(const std::string& path);

// In the order of their places on the bus, which numbers devices the same way at every boot.
std::vector<Chip> list_chips(const std::string& sysfs);

}  // namespace pyprof
