// HPE Cray's pm_counters: energy of the node and its parts as the blade's controller meters them.
//
// Each file is one line, "3431612 J 1400006195309843 us": a value and the controller's own time.
// All are renewed raw_scan_hz times a second, and freshness counts the renewals: if it is another
// one after reading than before, the values may belong to two of them.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "core/clock.h"
#include "sources/file.h"
#include "sources/table.h"

namespace pyprof {
namespace {

constexpr const char* kName = "cray";
constexpr int kStalePeriods = 10;
constexpr int64_t kUsualHz = 10;

// A value with the time at which the controller took it, or without.
class StampedFile {
 public:
  explicit StampedFile(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)), error_(fd_ < 0 ? errno : 0) {}
  ~StampedFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  StampedFile(const StampedFile&) = delete;
  StampedFile& operator=(const StampedFile&) = delete;

  int read(uint64_t& value, uint64_t& stamp) const noexcept {
    if (fd_ < 0) return error_;
    std::array<char, 128> text;
    const ssize_t got = ::pread(fd_, text.data(), text.size(), 0);
    if (got < 0) return errno;
    const char* const end = text.data() + got;
    const auto number = std::from_chars(text.data(), end, value);
    if (number.ec != std::errc()) return got == 0 ? ENODATA : EBADMSG;
    const char* at = number.ptr;
    while (at < end && (*at < '0' || *at > '9')) ++at;
    if (std::from_chars(at, end, stamp).ec != std::errc()) stamp = 0;
    return 0;
  }

 private:
  int fd_;
  int error_;
};

class Node final : public Unit {
 public:
  Node(const std::string& folder, int64_t period_ns)
      : stale_ns_(kStalePeriods * period_ns), freshness_(folder + "/freshness") {}

  void add(Channel channel, std::unique_ptr<StampedFile> file) {
    channels_.push_back(std::move(channel));
    parts_.push_back({std::move(file), {}, 0, 0});
  }
  const std::vector<Channel>& channels() const override { return channels_; }

  void read(std::span<Sample> out) noexcept override {
    uint64_t renewals = 0;
    const bool told = count_renewals(renewals);
    if (!told || renewals != renewals_ || !seen_) {
      read_parts();
      // Renewed meanwhile: once more, and there is a tenth of a second for that.
      if (const uint64_t before = renewals; count_renewals(renewals) && renewals != before) {
        read_parts();
      }
      renewals_ = renewals;
      seen_ = true;
    }
    const int64_t now_ns = monotonic_ns();
    for (size_t i = 0; i < parts_.size(); ++i) out[i] = judge(parts_[i], now_ns);
  }

 private:
  struct Part {
    std::unique_ptr<StampedFile> file;
    Sample sample;
    uint64_t stamp;
    int64_t moved_ns;  // when the stamp was first seen
  };

  bool count_renewals(uint64_t& renewals) const noexcept {
    uint64_t ignored = 0;
    return freshness_.read(renewals, ignored) == 0;
  }

  void read_parts() noexcept {
    const int64_t now_ns = monotonic_ns();
    for (Part& part : parts_) {
      uint64_t stamp = 0;
      const int error = part.file->read(part.sample.raw, stamp);
      part.sample.status = error == 0 ? Sample::Status::kOk : Sample::Status::kFailed;
      part.sample.code = error;
      if (error == 0 && (stamp == 0 || stamp != part.stamp)) {
        part.stamp = stamp;
        part.moved_ns = now_ns;
      }
    }
  }

  // A controller that has stopped leaves its last values behind: that is no power of 0 W.
  Sample judge(const Part& part, int64_t now_ns) const noexcept {
    const bool stale = part.sample.status == Sample::Status::kOk && part.stamp != 0 &&
                       now_ns - part.moved_ns > stale_ns_;
    return stale ? Sample{0, Sample::Status::kFailed, ESTALE} : part.sample;
  }

  int64_t stale_ns_;
  StampedFile freshness_;
  uint64_t renewals_ = 0;
  bool seen_ = false;
  std::vector<Channel> channels_;
  std::vector<Part> parts_;
};

// -- what is there --------------------------------------------------------------------------------

Channel describe(const std::string& part, bool energy, int64_t period_ns) {
  const bool whole = part.empty();
  Channel channel;
  channel.id = whole ? "node" : "node/" + part;
  channel.domain = whole ? "host" : part == "cpu" ? "package" : part == "memory" ? "dram" : "gpu";
  channel.device = whole ? "Cray node" : "Cray " + part;
  channel.parent = whole ? "" : "node";
  channel.source = kName;
  channel.kind = energy ? Kind::kCounter : Kind::kGauge;
  channel.quality = energy ? "measured" : "derived";
  channel.method = energy ? "counter" : "power-instant";
  channel.unit = 1.0;  // whole joules or watts
  channel.period_ns = period_ns;
  return channel;
}

class Survey {
 public:
  explicit Survey(const Places& places) : folder_(places.sysfs + "/cray/pm_counters") {
    found_.state.name = kName;
  }

  Found look() {
    std::error_code ignored;
    if (!std::filesystem::exists(folder_, ignored)) {
      found_.state.reason = folder_ + " does not exist: this is no node of an HPE Cray";
      return std::move(found_);
    }
    const auto rate_hz = static_cast<int64_t>(read_uint(folder_ + "/raw_scan_hz").value_or(0));
    period_ns_ = kNsPerS / (rate_hz > 0 ? rate_hz : kUsualHz);
    auto node = std::make_unique<Node>(folder_, period_ns_);
    for (const char* part : {"", "cpu", "memory"}) add(*node, part);
    for (int number = 0; add(*node, "accel" + std::to_string(number)); ++number) {
    }
    found_.state.available = !node->channels().empty();
    if (found_.state.available) found_.units.push_back(std::move(node));
    if (!found_.state.available && found_.state.reason.empty()) {
      found_.state.reason = folder_ + " holds neither energy nor power";
    }
    return std::move(found_);
  }

 private:
  // The part's energy, else its power; false if it has neither.
  bool add(Node& node, const std::string& part) {
    const std::string base = folder_ + "/" + part + (part.empty() ? "" : "_");
    std::error_code ignored;
    for (const bool energy : {true, false}) {
      const std::string path = base + (energy ? "energy" : "power");
      if (!std::filesystem::exists(path, ignored)) continue;
      offer(node, describe(part, energy, period_ns_), path);
      return true;
    }
    return false;
  }

  void offer(Node& node, Channel channel, const std::string& path) {
    auto file = std::make_unique<StampedFile>(path);
    uint64_t value = 0, stamp = 0;
    const int error = file->read(value, stamp);
    if (error == 0 && value != 0) return node.add(std::move(channel), std::move(file));
    channel.quality = "unmeasured";
    channel.reason = path + (error != 0 ? ": " + describe_errno(error)
                                        : " reads 0: the blade does not meter it");
    if (found_.state.reason.empty()) found_.state.reason = channel.reason;
    if (error == EACCES) found_.state.remedy = "sudo chmod o+r " + folder_ + "/* (until a reboot)";
    found_.unreadable.push_back(std::move(channel));
  }

  std::string folder_;
  int64_t period_ns_ = 0;
  Found found_;
};

}  // namespace

Found find_cray(const Places& places) { return Survey(places).look(); }

}  // namespace pyprof
