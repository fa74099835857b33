// One entry of the kernel's hwmon class.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
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

// Places on the bus of a vendor's display and compute devices ("0x1002").
std::vector<std::string> pci_gpus(const std::string& sysfs, const std::string& vendor);

// Numbers for GPUs that a vendor's library lists: those that their chips have in hwmon, so that a
// GPU has one name whoever reads it.
class NumberedGpus {
 public:
  NumberedGpus(const std::string& sysfs, std::initializer_list<std::string_view> drivers);
  int number_of(const std::string& address);  // one that hwmon does not list gets the next
  std::string path_of(const std::string& address) const;  // of its chip, "" if it has none

 private:
  std::vector<Chip> chips_;
  int next_;
};

}  // namespace pyprof
