// Power and energy sensors of the kernel's hwmon class: AMD and Intel GPUs, AMD's processors, the
// power meters of ACPI (NVIDIA Grace), the rails of a Jetson.
//
// Units are those of Linux Documentation/hwmon/sysfs-interface.rst: µW, µJ, mV, mA, ms.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>

#include "core/clock.h"
#include "sources/chip.h"
#include "sources/file.h"
#include "sources/table.h"

namespace pyprof {
namespace {

constexpr const char* kName = "hwmon";
constexpr double kMicro = 1e-6;
constexpr double kPlausibleOverLimit = 1.5;

// Whether a device sleeps. Asking does not wake it; reading its sensors would.
class Sleep {
 public:
  explicit Sleep(const std::string& device)
      : fd_(::open((device + "/power/runtime_status").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
  }
  ~Sleep() {
    if (fd_ >= 0) ::close(fd_);
  }
  Sleep(const Sleep&) = delete;
  Sleep& operator=(const Sleep&) = delete;
  bool asleep() const noexcept {
    char text[16] = {};
    return fd_ >= 0 && ::pread(fd_, text, sizeof text - 1, 0) > 0 &&
           std::strncmp(text, "suspend", 7) == 0;
  }

 private:
  int fd_;
};

// A number, or the product of two: power as voltage times current.
class Sensor final : public Unit {
 public:
  Sensor(Channel channel, Lane lane, const std::string& path, const std::string& factor,
         const std::string& device)
      : channels_{std::move(channel)}, lane_(lane), sleep_(device), file_(path) {
    if (!factor.empty()) factor_ = std::make_unique<NumberFile>(factor);
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return lane_; }
  bool asleep() const noexcept { return sleep_.asleep(); }

  void read(std::span<Sample> out) noexcept override {
    if (asleep()) {
      out[0] = {0, Sample::Status::kLost, EAGAIN};
      return;
    }
    file_.read(out[0]);
    if (factor_ == nullptr || out[0].status != Sample::Status::kOk) return;
    const uint64_t first = out[0].raw;
    factor_->read(out[0]);
    out[0].raw *= first;
  }

 private:
  std::vector<Channel> channels_;
  Lane lane_;
  Sleep sleep_;
  NumberFile file_;
  std::unique_ptr<NumberFile> factor_;
};

double highest_w(const Chip& chip, std::initializer_list<const char*> files) {
  uint64_t highest_uw = 0;
  for (const char* file : files) {
    highest_uw = std::max(highest_uw, read_uint(chip.path + "/" + file).value_or(0));
  }
  return kPlausibleOverLimit * kMicro * static_cast<double>(highest_uw);
}

Channel gauge(const std::string& id, const std::string& domain, const std::string& device) {
  Channel channel;
  channel.id = id;
  channel.domain = domain;
  channel.device = device;
  channel.source = kName;
  channel.kind = Kind::kGauge;
  channel.quality = "derived";
  channel.method = "power-average";
  channel.unit = kMicro;
  return channel;
}

Channel counter(const std::string& id, const std::string& domain, const std::string& device) {
  Channel channel = gauge(id, domain, device);
  channel.kind = Kind::kCounter;
  channel.quality = "measured";
  channel.method = "counter";
  return channel;
}

void put_inside(Channel& channel, const std::string& parent) {
  channel.parent = parent;
  channel.counted = false;
  channel.reason = "inside " + parent;
}

class Survey {
 public:
  explicit Survey(const Places& places) : sysfs_(places.sysfs), chips_(list_chips(places.sysfs)) {
    found_.state.name = kName;
  }

  Found look() {
    for (const Chip& chip : chips_) {
      if (chip.name == "amdgpu") add_amd_gpu(chip);
      if (chip.name == "i915" || chip.name == "xe") add_intel_gpu(chip);
      if (chip.name == "amd_energy" || chip.name == "zenergy") add_sockets(chip);
      if (chip.name == "power_meter") add_meter(chip);
      if (chip.name == "ina3221") add_rails(chip);
    }
    leave_out_contained();
    for (Entry& entry : entries_) offer(entry);
    found_.state.available = !found_.units.empty();
    if (entries_.empty()) {
      found_.state.reason =
          sysfs_ + "/class/hwmon has no sensor of power or energy that pyprof knows";
    }
    return std::move(found_);
  }

 private:
  struct Entry {
    Channel channel;
    Lane lane;
    std::string path;
    std::string factor;  // "" or the second file of a product
    std::string device;
  };

  void add_amd_gpu(const Chip& chip) {
    const bool average = exists(chip.path + "/power1_average");
    Channel channel = gauge("amdgpu" + std::to_string(amd_gpus_++), "gpu", at("AMD GPU", chip));
    channel.uuid = read_line(chip.device + "/unique_id").value_or("");
    channel.method = average ? "power-average" : "power-instant";
    channel.limit_w = highest_w(chip, {"power1_cap_max", "power1_cap"});
    if (on_processor(chip, sysfs_)) {
      channel.counted = false;
      channel.reason = "on the processor's die, whose package it is part of";
    }
    const char* const file = average ? "/power1_average" : "/power1_input";
    // The driver asks the GPU's own processor, which may take its time.
    entries_.push_back({channel, Lane::kVendor, chip.path + file, "", chip.device});
  }

  void add_intel_gpu(const Chip& chip) {
    const std::string id = "intelgpu" + std::to_string(intel_gpus_++);
    std::string card;
    for (const char* number : {"1", "2"}) {
      const std::string base = chip.path + "/energy" + number;
      if (!exists(base + "_input")) continue;
      const bool inner = read_line(base + "_label").value_or("card") == "pkg";
      Channel channel =
          counter(inner && !card.empty() ? id + "/pkg" : id, "gpu", at("Intel GPU", chip));
      channel.limit_w = highest_w(chip, {"power1_rated_max", "power1_max", "power1_crit"});
      if (!card.empty()) put_inside(channel, card);
      if (card.empty()) card = id;
      entries_.push_back({channel, Lane::kFiles, base + "_input", "", chip.device});
    }
  }

  void add_sockets(const Chip& chip) {
    for (int number = 1; exists(chip.path + "/energy" + std::to_string(number) + "_input");
         ++number) {
      const std::string base = chip.path + "/energy" + std::to_string(number);
      const std::string label = read_line(base + "_label").value_or("");
      if (label.rfind("Esocket", 0) != 0) continue;
      const std::string id = "package-" + std::to_string(std::atoi(label.c_str() + 7));
      Channel channel = counter(id, "package", "AMD " + id);
      channel.limit_w = 1500.0;
      entries_.push_back({channel, Lane::kFiles, base + "_input", "", ""});
    }
  }

  // On Grace the firmware says which part of a socket it is; elsewhere it is the whole machine.
  void add_meter(const Chip& chip) {
    const std::string folder = exists(chip.path + "/power1_average") ? chip.path : chip.device;
    const std::string about = read_line(folder + "/power1_oem_info").value_or("");
    const size_t number_at = about.find_last_of(' ') + 1;
    const std::string socket = about.substr(std::min(number_at, about.size()));
    Channel channel = gauge("host", "host", "ACPI power meter");
    if (about.find("Socket") != about.npos) {
      const std::string package = "package-" + socket;
      channel.device = about;
      if (about.rfind("Module", 0) == 0) channel.domain = "module", channel.id = "module-" + socket;
      if (about.rfind("Grace", 0) == 0) channel.domain = "package", channel.id = package;
      if (about.rfind("CPU", 0) == 0) channel.domain = "core", channel.id = package + "/core";
      if (about.rfind("SysIO", 0) == 0) channel.domain = "uncore", channel.id = package + "/uncore";
    }
    channel.window_ns = channel.period_ns =
        static_cast<int64_t>(read_uint(folder + "/power1_average_interval").value_or(0) * kNsPerMs);
    // Each reading is a method of the firmware.
    entries_.push_back({channel, Lane::kVendor, folder + "/power1_average", "", ""});
  }

  void add_rails(const Chip& chip) {
    for (int number = 1; number <= 3; ++number) {  // what follows are sums of shunt voltages
      const std::string rail = std::to_string(number);
      const std::string label = read_line(chip.path + "/in" + rail + "_label").value_or("NC");
      if (label == "NC" || !exists(chip.path + "/curr" + rail + "_input")) continue;
      const bool input = label == "VDD_IN" || label == "POM_5V_IN";
      Channel channel = gauge(label, input ? "module" : "other", "Jetson rail " + label);
      channel.method = "power-instant";
      entries_.push_back({channel, Lane::kVendor, chip.path + "/in" + rail + "_input",
                          chip.path + "/curr" + rail + "_input", ""});
    }
  }

  // Grace's parts lie in their package and module, a Jetson's rails behind its board's input.
  static std::vector<std::string> around(const Channel& channel) {
    const size_t slash = channel.id.find('/');
    const std::string socket = channel.id.substr(0, slash);
    if (channel.domain == "other") return {"VDD_IN", "POM_5V_IN"};
    if (socket.rfind("package-", 0) != 0) return {};
    const std::string module = "module-" + socket.substr(std::strlen("package-"));
    return slash == channel.id.npos ? std::vector{module} : std::vector{socket, module};
  }

  void leave_out_contained() {
    std::set<std::string> ids;
    for (const Entry& entry : entries_) ids.insert(entry.channel.id);
    for (Entry& entry : entries_) {
      for (const std::string& outer : around(entry.channel)) {
        if (entry.channel.counted && ids.contains(outer)) put_inside(entry.channel, outer);
      }
    }
  }

  void offer(Entry& entry) {
    std::string& id = entry.channel.id;
    const std::string base = id;
    for (int n = 2; !taken_.insert(id).second; ++n) id = base + "#" + std::to_string(n);
    auto unit =
        std::make_unique<Sensor>(entry.channel, entry.lane, entry.path, entry.factor, entry.device);
    if (unit->asleep()) {
      found_.notes.push_back(id + " sleeps; it is read while it is awake, and not woken");
      return found_.units.push_back(std::move(unit));
    }
    Sample sample;
    unit->read({&sample, 1});
    const bool read = sample.status == Sample::Status::kOk;
    const bool dead = read && sample.raw == 0 && entry.channel.id.rfind("amdgpu", 0) == 0;
    if (read && !dead) return found_.units.push_back(std::move(unit));
    entry.channel.quality = "unmeasured";
    entry.channel.reason =
        entry.path + ": " +
        (dead ? "reads 0, as the second die of a board does whose first die counts for both"
              : describe_errno(sample.code));
    if (found_.state.reason.empty()) found_.state.reason = entry.channel.reason;
    if (sample.status == Sample::Status::kDenied) {
      found_.state.remedy = "sudo chmod o+r " + entry.path + " (until the next boot)";
    }
    found_.unreadable.push_back(entry.channel);
  }

  static std::string at(const std::string& what, const Chip& chip) {
    return chip.address.empty() ? what : what + " at " + chip.address;
  }

  std::string sysfs_;
  std::vector<Chip> chips_;
  std::vector<Entry> entries_;
  std::set<std::string> taken_;
  int amd_gpus_ = 0;
  int intel_gpus_ = 0;
  Found found_;
};

}  // namespace

Found find_hwmon(const Places& places) { return Survey(places).look(); }

}  // namespace pyprof
