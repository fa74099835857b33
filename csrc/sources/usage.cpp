#include "sources/usage.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

#include "core/clock.h"

namespace pyprof {
namespace {

constexpr int64_t kIntervalNs = kNsPerS;
// Two reads closer than this say nothing more than one.
constexpr int64_t kTooCloseNs = 5 * kNsPerMs;
constexpr double kUnit = 1e-6;

uint64_t raw_of(double use) {
  return static_cast<uint64_t>(std::llround(std::max(0.0, use) / kUnit));
}

// Busy ticks of each CPU: user nice system idle iowait irq softirq (steal is another machine's).
bool read_busy(int fd, std::string& text, std::vector<uint64_t>& busy) {
  text.clear();
  char part[4096];
  ssize_t got;
  while ((got = ::pread(fd, part, sizeof part, static_cast<off_t>(text.size()))) > 0) {
    text.append(part, static_cast<size_t>(got));
    if (text.find("\nintr") != std::string::npos) break;  // the rest is not about CPUs
  }
  if (got < 0) return false;
  bool any = false;
  for (size_t at = text.find("\ncpu"); at != std::string::npos; at = text.find("\ncpu", at + 1)) {
    char* end = nullptr;
    const size_t cpu = std::strtoul(text.c_str() + at + 4, &end, 10);
    if (cpu >= busy.size()) continue;
    uint64_t fields[7] = {};
    for (uint64_t& field : fields) field = std::strtoull(end, &end, 10);
    busy[cpu] = fields[0] + fields[1] + fields[2] + fields[5] + fields[6];
    any = true;
  }
  return any;
}

class CpuUsage final : public Unit {
 public:
  CpuUsage(const std::string& proc, std::shared_ptr<Follower> follower,
           const std::vector<SharedPackage>& packages)
      : follower_(std::move(follower)),
        fd_(::open((proc + "/stat").c_str(), O_RDONLY | O_CLOEXEC)),
        tick_s_(1.0 / static_cast<double>(std::max(1L, sysconf(_SC_CLK_TCK)))) {
    size_t cpus = 0;
    for (const SharedPackage& package : packages) {
      const auto count = static_cast<double>(package.cpus.size());
      channels_.push_back(use_channel(package.channel, "party", count));
      channels_.push_back(use_channel(package.channel, "all", count));
      cpus_of_.push_back(package.cpus);
      for (const int cpu : package.cpus) cpus = std::max(cpus, static_cast<size_t>(cpu) + 1);
    }
    now_.resize(cpus);
    before_.resize(cpus);
    raw_.resize(channels_.size());
  }
  ~CpuUsage() override {
    if (fd_ >= 0) ::close(fd_);
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  int64_t interval_ns() const override { return kIntervalNs; }
  Lane lane() const override { return Lane::kSlow; }

  void read(std::span<Sample> out) noexcept override {
    int error = 0;
    try {
      error = look();
    } catch (const std::exception&) {
      error = ENOMEM;
    }
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = {raw_[i], error == 0 ? Sample::Status::kOk : Sample::Status::kFailed, error};
    }
  }

 private:
  int look() {
    const int64_t now_ns = monotonic_ns();
    if (last_ns_ != 0 && now_ns - last_ns_ < kTooCloseNs) return 0;
    if (fd_ < 0 || !read_busy(fd_, text_, now_)) return ENODATA;
    if (!follower_->look(seconds_)) return ESRCH;
    const double elapsed_s = static_cast<double>(now_ns - last_ns_) * 1e-9;
    for (size_t p = 0; last_ns_ != 0 && p < cpus_of_.size(); ++p) {
      uint64_t ticks = 0;
      for (const int cpu : cpus_of_[p]) {
        const auto at = static_cast<size_t>(cpu);
        ticks += now_[at] - std::min(before_[at], now_[at]);
      }
      const double party = (seconds_[p] - before_s_[p]) / elapsed_s;
      const double all = static_cast<double>(ticks) * tick_s_ / elapsed_s;
      raw_[2 * p] = raw_of(party);
      raw_[2 * p + 1] = raw_of(std::max(all, party));
    }
    last_ns_ = now_ns;
    std::swap(now_, before_);
    before_s_ = seconds_;
    return 0;
  }

  std::vector<Channel> channels_;
  std::shared_ptr<Follower> follower_;
  int fd_;
  double tick_s_;
  std::vector<std::vector<int>> cpus_of_;
  std::vector<uint64_t> now_, before_;
  std::vector<double> seconds_, before_s_;
  std::vector<uint64_t> raw_;
  std::string text_;
  int64_t last_ns_ = 0;
};

}  // namespace

Channel use_channel(const std::string& device, const char* who, double capacity) {
  Channel channel;
  channel.id = device + "/" + who;
  channel.domain = kUseDomain;
  channel.parent = device;
  channel.source = "usage";
  channel.quality = "derived";
  channel.method = "share";
  channel.counted = false;
  channel.kind = Kind::kGauge;
  channel.unit = kUnit;
  channel.limit_w = capacity;
  channel.window_ns = -1;
  return channel;
}

std::unique_ptr<Unit> cpu_usage(const Places& places, std::shared_ptr<Follower> follower,
                                const std::vector<SharedPackage>& packages) {
  return std::make_unique<CpuUsage>(places.proc, std::move(follower), packages);
}

std::shared_ptr<Follower> follow(const Places& places, const Party& party,
                                 const std::vector<SharedPackage>& packages) {
  std::vector<size_t> package_of;
  for (size_t p = 0; p < packages.size(); ++p) {
    for (const int cpu : packages[p].cpus) {
      const auto at = static_cast<size_t>(cpu);
      if (at >= package_of.size()) package_of.resize(at + 1);
      package_of[at] = p;
    }
  }
  return std::make_shared<Follower>(places.proc, party, std::move(package_of),
                                    std::max<size_t>(packages.size(), 1));
}

}  // namespace pyprof
