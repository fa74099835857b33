#include "sources/chip.h"

#include <algorithm>
#include <filesystem>
#include <tuple>

#include "sources/file.h"

namespace pyprof {

namespace fs = std::filesystem;

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::vector<Chip> list_chips(const std::string& sysfs) {
  std::vector<Chip> chips;
  std::error_code error;
  for (fs::directory_iterator entry(sysfs + "/class/hwmon", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string path = entry->path().string();
    Chip chip{path, read_line(path + "/name").value_or(""), path + "/device", ""};
    std::error_code ignored;
    if (fs::is_symlink(chip.device, ignored)) {
      chip.address = fs::read_symlink(chip.device, ignored).filename().string();
    }
    chips.push_back(std::move(chip));
  }
  std::sort(chips.begin(), chips.end(), [](const Chip& a, const Chip& b) {
    return std::tuple(a.address, a.path.size(), a.path) <
           std::tuple(b.address, b.path.size(), b.path);
  });
  return chips;
}

}  // namespace pyprof
