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

// AMD's processors with graphics carry their security processor in the slot of the graphics.
bool on_processor(const Chip& chip, const std::string& sysfs);

bool exists(const std::string& path);

// In the order of their places on the bus, which numbers devices the same way at every boot.
std::vector<Chip> list_chips(const std::string& sysfs);

}  // namespace pyprof
