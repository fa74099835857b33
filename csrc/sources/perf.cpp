// RAPL through the kernel's performance counters: 64 bits, all of a die's counters in one read, and
// a capability is enough where powercap wants root.
//
// The PMU's folder names everything: type, events with unit and scale, and in cpumask one CPU per
// die that counts for the whole of it (Linux
// Documentation/ABI/testing/sysfs-bus-event_source-devices-*, arch/x86/events/rapl.c). A count
// starts at 0 when the event is opened.
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <set>

#include "core/clock.h"
#include "sources/file.h"
#include "sources/pmu.h"
#include "sources/table.h"

namespace pyprof {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "rapl-perf";
constexpr size_t kMostEvents = 8;  // of one die; the kernel has five
constexpr int64_t kStillNs = 20 * kNsPerMs;
constexpr int64_t kCoresIntervalNs = kNsPerS;  // one interrupt per core for what nobody counts

struct EventName {
  const char* event;
  const char* domain;
};
// In the order of powercap's zones. The kernel calls the graphics "gpu", powercap "uncore".
constexpr EventName kEvents[] = {{"energy-pkg", "package"}, {"energy-cores", "core"},
                                 {"energy-core", "core"},   {"energy-gpu", "uncore"},
                                 {"energy-ram", "dram"},    {"energy-psys", "psys"}};

int open_event(uint32_t type, uint64_t config, int cpu, int leader) noexcept {
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = type;
  attr.config = config;
  attr.read_format = PERF_FORMAT_GROUP;
  return static_cast<int>(
      syscall(SYS_perf_event_open, &attr, -1, cpu, leader, PERF_FLAG_FD_CLOEXEC));
}

// -- reading --------------------------------------------------------------------------------------

// The counters of one die. Opened anew, on the CPU that cpumask then names, when its CPU has gone.
class Counters final : public Unit {
 public:
  Counters(const Pmu& pmu, std::vector<int> die_cpus, bool per_core)
      : type_(pmu.type),
        cpumask_(pmu.folder + "/cpumask"),
        die_cpus_(std::move(die_cpus)),
        per_core_(per_core) {
    fds_.reserve(die_cpus_.size() * kMostEvents);
  }
  ~Counters() override { close_all(); }
  Counters(const Counters&) = delete;
  Counters& operator=(const Counters&) = delete;

  void add(Channel channel, uint64_t config) {
    channels_.push_back(std::move(channel));
    configs_.push_back(config);
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  int64_t interval_ns() const override { return per_core_ ? kCoresIntervalNs : 0; }

  // Returns 0 or errno. Where the kernel refuses the group, each event is one of its own.
  int open() noexcept {
    close_all();
    error_ = ENODEV;
    std::array<char, 4096> mask{};
    const int file = ::open(cpumask_.c_str(), O_RDONLY | O_CLOEXEC);
    const ssize_t got = file < 0 ? -1 : ::read(file, mask.data(), mask.size() - 1);
    if (file >= 0) ::close(file);
    if (got > 0) {
      for_each_cpu(mask.data(), [this](int cpu) {
        if (fds_.empty() || (per_core_ && error_ == 0)) error_ = open_on(cpu);
      });
    }
    if (error_ != 0) close_all();
    return error_;
  }

  void read(std::span<Sample> out) noexcept override {
    for (Sample& sample : out) sample = {0, Sample::Status::kOk, 0};
    if (!fds_.empty()) error_ = read_all(out);
    if (error_ == 0) return;
    // What was counted on the lost CPU is gone: this read fails, the next one begins anew at 0.
    for (Sample& sample : out) sample = {0, Sample::Status::kLost, error_};
    open();
  }

 private:
  struct Event {
    int fd;
    bool leads;
  };

  int open_on(int cpu) noexcept {
    if (std::find(die_cpus_.begin(), die_cpus_.end(), cpu) == die_cpus_.end()) return error_;
    int leader = -1;
    for (const uint64_t config : configs_) {
      int fd = open_event(type_, config, cpu, leader);
      const bool leads = leader == -1 || fd < 0;
      if (fd < 0 && leader != -1) fd = open_event(type_, config, cpu, -1);
      if (fd < 0) return errno;
      if (leads) leader = fd;
      fds_.push_back({fd, leads});
    }
    return 0;
  }

  int read_all(std::span<Sample> out) noexcept {
    for (size_t first = 0, last = 0; first < fds_.size(); first = last) {
      for (last = first + 1; last < fds_.size() && !fds_[last].leads;) ++last;
      std::array<uint64_t, 1 + kMostEvents> values{};  // their number, then each
      const size_t size = (1 + last - first) * sizeof(uint64_t);
      const ssize_t got = ::read(fds_[first].fd, values.data(), sizeof values);
      if (got < 0) return errno;
      if (static_cast<size_t>(got) != size) return ENODEV;
      for (size_t i = first; i < last; ++i) out[i % out.size()].raw += values[1 + i - first];
    }
    return 0;
  }

  void close_all() noexcept {
    for (const Event& event : fds_) ::close(event.fd);
    fds_.clear();
  }

  uint32_t type_;
  std::string cpumask_;
  std::vector<int> die_cpus_;
  bool per_core_;
  std::vector<Channel> channels_;
  std::vector<uint64_t> configs_;
  std::vector<Event> fds_;  // all of one CPU, then all of the next
  int error_ = ENODEV;
};

// -- what is there --------------------------------------------------------------------------------

// A search for RAPL, die after die.
class Survey {
 public:
  explicit Survey(const Places& places) : places_(places), topology_(read_topology(places.sysfs)) {
    found_.state.name = kName;
  }

  Found look() {
    const std::string devices = places_.sysfs + "/bus/event_source/devices/";
    std::error_code error;
    if (!fs::exists(devices + "power", error)) {
      found_.state.reason = devices +
                            "power does not exist: the processor has no RAPL counters, or "
                            "this is a virtual machine";
      return std::move(found_);
    }
    add_pmu(read_pmu(devices + "power"), false);
    if (fs::exists(devices + "power_core", error)) add_pmu(read_pmu(devices + "power_core"), true);
    found_.state.available = !found_.units.empty();
    if (!found_.state.available && found_.state.reason.empty()) {
      found_.state.reason = devices + "power names no energy event that can be used";
    }
    return std::move(found_);
  }

 private:
  void add_pmu(const Pmu& pmu, bool per_core) {
    if (!pmu.error.empty()) return found_.notes.push_back(pmu.error);
    std::map<Die, std::vector<int>> dies;
    std::map<int, std::set<int>> numbers;
    for (const int cpu : pmu.cpus) {
      const auto place = topology_.find(cpu);
      if (place == topology_.end()) {
        found_.notes.push_back(pmu.folder + "/cpumask names CPU " + std::to_string(cpu) +
                               ", whose package is not known: left out");
        continue;
      }
      dies[per_core ? Die{place->second.package, 0} : place->second];
      numbers[place->second.package].insert(place->second.number);
    }
    for (auto& [die, cpus] : dies) {
      for (const auto& [cpu, place] : topology_) {
        const bool same = place.package == die.package && (per_core || place.number == die.number);
        if (same) cpus.push_back(cpu);
      }
      const bool split = !per_core && numbers[die.package].size() > 1;
      add_die(pmu, die, cpus, split, per_core);
    }
  }

  void add_die(const Pmu& pmu, const Die& die, const std::vector<int>& cpus, bool split,
               bool per_core) {
    auto unit = std::make_unique<Counters>(pmu, cpus, per_core);
    for (const EventName& known : kEvents) {
      const auto config = config_of(pmu, known.event);
      if (!config) continue;
      Channel channel = describe(pmu, known, die, split);
      if (!taken_.insert(channel.id).second) continue;
      if (channel.unit > 0 && answers(pmu, cpus, *config, per_core, channel)) {
        unit->add(std::move(channel), *config);
      }
    }
    if (!unit->channels().empty() && unit->open() == 0) found_.units.push_back(std::move(unit));
  }

  // Opens the event alone and sees whether it moves. One that can't be opened is named as unread.
  bool answers(const Pmu& pmu, const std::vector<int>& cpus, uint64_t config, bool per_core,
               Channel& channel) {
    Counters probe(pmu, cpus, per_core);
    probe.add(channel, config);
    const int error = probe.open();
    if (error != 0) {
      refuse(pmu, channel, error);
      return false;
    }
    Sample sample;
    for (const int64_t until = monotonic_ns() + kStillNs; monotonic_ns() < until;) {
      probe.read({&sample, 1});
      if (sample.status == Sample::Status::kOk && sample.raw > 0) return true;
      sleep_until(monotonic_ns() + kNsPerMs);
    }
    if (channel.counted) leave_unread(channel, "its performance counter stands still at 0");
    return false;
  }

  void refuse(const Pmu& pmu, Channel& channel, int error) {
    const std::string paranoid =
        read_line(places_.proc + "/sys/kernel/perf_event_paranoid").value_or("unknown");
    const bool denied = error == EACCES || error == EPERM;
    const std::string reason = pmu.folder + ": perf_event_open: " + describe_errno(error) +
                               (denied ? ", as kernel.perf_event_paranoid is " + paranoid +
                                             " and this process lacks CAP_PERFMON"
                                       : "");
    if (found_.state.reason.empty()) found_.state.reason = reason;
    if (denied) {
      found_.state.remedy =
          "sudo setcap cap_perfmon=ep on the Python interpreter (readlink -f \"$(which "
          "python3)\"), "
          "or sudo sysctl kernel.perf_event_paranoid=0 until the next boot; in a container "
          "--cap-add PERFMON (whoever may read this can observe other users' activity, "
          "CVE-2020-8694)";
    }
    leave_unread(channel, reason);
  }

  void leave_unread(Channel& channel, const std::string& reason) {
    channel.quality = "unmeasured";
    channel.reason = reason;
    found_.unreadable.push_back(channel);
  }

  Channel describe(const Pmu& pmu, const EventName& known, const Die& die, bool split) const {
    const std::string package = "package-" + std::to_string(die.package) +
                                (split ? "-die-" + std::to_string(die.number) : "");
    Channel channel;
    channel.domain = known.domain;
    channel.id = package;
    channel.source = kName;
    channel.unit = unit_of(pmu, known.event);
    channel.limit_w = channel.domain == "dram" ? 500.0 : channel.domain == "psys" ? 6000.0 : 1500.0;
    channel.period_ns = kNsPerMs;
    if (channel.domain == "core" || channel.domain == "uncore") {
      channel.counted = false;
      channel.parent = package;
      channel.reason = "inside " + package;
    }
    if (channel.domain == "psys") {
      channel.id = die.package == 0 ? "psys" : "psys-" + std::to_string(die.package);
      channel.counted = false;
      channel.reason = "the whole platform, packages included";
    } else if (channel.domain != "package") {
      channel.id += std::string("/") + known.domain;
    }
    channel.device = "RAPL " + channel.id;
    return channel;
  }

  const Places& places_;
  const std::map<int, Die> topology_;
  std::set<std::string> taken_;
  Found found_;
};

}  // namespace

Found find_perf(const Places& places) { return Survey(places).look(); }

}  // namespace pyprof
