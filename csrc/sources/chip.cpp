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

bool on_processor(const Chip& chip, const std::string& sysfs) {
  const std::string slot = chip.address.substr(0, chip.address.rfind('.') + 1);
  std::error_code error;
  for (fs::directory_iterator entry(sysfs + "/bus/pci/devices", error), end;
       !error && !slot.empty() && entry != end; entry.increment(error)) {
    if (entry->path().filename().string().rfind(slot, 0) != 0) continue;
    const std::string kind = read_line(entry->path().string() + "/class").value_or("");
    if (kind.rfind("0x1080", 0) == 0) return true;
  }
  return false;
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

std::vector<std::string> pci_gpus(const std::string& sysfs, const std::string& vendor) {
  std::vector<std::string> addresses;
  std::error_code error;
  for (fs::directory_iterator entry(sysfs + "/bus/pci/devices", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string place = entry->path().string();
    const std::string kind = read_line(place + "/class").value_or("");
    const bool gpu = kind.rfind("0x03", 0) == 0 || kind.rfind("0x12", 0) == 0;
    if (gpu && read_line(place + "/vendor").value_or("") == vendor) {
      addresses.push_back(entry->path().filename().string());
    }
  }
  return addresses;
}

NumberedGpus::NumberedGpus(const std::string& sysfs,
                           std::initializer_list<std::string_view> drivers)
    : chips_(list_chips(sysfs)) {
  std::erase_if(chips_, [&drivers](const Chip& chip) {
    return std::find(drivers.begin(), drivers.end(), chip.name) == drivers.end();
  });
  next_ = static_cast<int>(chips_.size());
}

int NumberedGpus::number_of(const std::string& address) {
  for (size_t i = 0; i < chips_.size(); ++i) {
    if (!address.empty() && chips_[i].address == address) return static_cast<int>(i);
  }
  return next_++;
}

std::string NumberedGpus::path_of(const std::string& address) const {
  for (const Chip& chip : chips_) {
    if (!address.empty() && chip.address == address) return chip.path;
  }
  return "";
}

}  // namespace pyprof
