#include "sources/model.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "core/clock.h"

namespace pyprof {
namespace {

constexpr double kMilliwatts = 1e3;
// proc/stat counts ticks of 10 ms, so a shorter interval tells nothing more.
constexpr int64_t kLoadIntervalNs = 100 * kNsPerMs;
constexpr int64_t kConstantIntervalNs = 500 * kNsPerMs;

void make_gauge(Channel& channel, int64_t window_ns) {
  channel.kind = Kind::kGauge;
  channel.unit = 1 / kMilliwatts;
  channel.range = 0;
  channel.window_ns = window_ns;
  channel.quality = "modelled";
  channel.method = "model";
}

struct Ticks {
  uint64_t busy = 0;
  uint64_t idle = 0;
};

// user nice system idle iowait irq softirq steal; guest time is part of user already, and stolen
// time is another machine's work.
bool parse_ticks(const char* text, Ticks& ticks) {
  if (std::strncmp(text, "cpu ", 4) != 0) return false;
  const char* at = text + 4;
  uint64_t fields[8] = {};
  int count = 0;
  for (; count < 8; ++count) {
    char* end = nullptr;
    fields[count] = std::strtoull(at, &end, 10);
    if (end == at) break;
    at = end;
  }
  if (count < 4) return false;
  ticks.busy = fields[0] + fields[1] + fields[2] + fields[5] + fields[6];
  ticks.idle = fields[3] + fields[4] + fields[7];
  return true;
}

class LoadUnit : public Unit {
 public:
  LoadUnit(const std::string& proc, Channel channel, double idle_w, double design_w)
      : channels_{std::move(channel)},
        fd_(::open((proc + "/stat").c_str(), O_RDONLY | O_CLOEXEC)),
        idle_w_(idle_w),
        design_w_(design_w),
        power_w_(idle_w) {
    make_gauge(channels_[0], -1);
    Sample first;
    read_ticks(before_, first);
  }
  ~LoadUnit() override {
    if (fd_ >= 0) ::close(fd_);
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  int64_t interval_ns() const override { return kLoadIntervalNs; }

  void read(std::span<Sample> out) noexcept override {
    Ticks now;
    if (!read_ticks(now, out[0])) return;
    const auto busy = static_cast<double>(now.busy - before_.busy);
    // The kernel's idle time may step back a little (Documentation/filesystems/proc.rst).
    const double idle =
        now.idle > before_.idle ? static_cast<double>(now.idle - before_.idle) : 0.0;
    if (now.busy >= before_.busy && busy + idle > 0) {
      power_w_ = idle_w_ + (design_w_ - idle_w_) * busy / (busy + idle);
      before_ = now;
    }
    out[0] = {static_cast<uint64_t>(std::llround(power_w_ * kMilliwatts)), Sample::Status::kOk, 0};
  }

 private:
  bool read_ticks(Ticks& ticks, Sample& sample) noexcept {
    char text[512];
    const ssize_t got = fd_ < 0 ? -1 : ::pread(fd_, text, sizeof text - 1, 0);
    sample = {0, Sample::Status::kFailed, fd_ < 0 ? ENOENT : got < 0 ? errno : EBADMSG};
    if (got <= 0) return false;
    text[got] = '\0';
    return parse_ticks(text, ticks);
  }

  std::vector<Channel> channels_;
  int fd_;
  double idle_w_, design_w_, power_w_;
  Ticks before_;
};

class ConstantUnit : public Unit {
 public:
  ConstantUnit(Channel channel, double power_w)
      : channels_{std::move(channel)},
        raw_(static_cast<uint64_t>(std::llround(power_w * kMilliwatts))) {
    make_gauge(channels_[0], -1);
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  int64_t interval_ns() const override { return kConstantIntervalNs; }
  void read(std::span<Sample> out) noexcept override { out[0] = {raw_, Sample::Status::kOk, 0}; }

 private:
  std::vector<Channel> channels_;
  uint64_t raw_;
};

}  // namespace

std::unique_ptr<Unit> load_model(const Places& places, Channel channel, double idle_w,
                                 double design_w) {
  return std::make_unique<LoadUnit>(places.proc, std::move(channel), idle_w, design_w);
}

std::unique_ptr<Unit> constant_model(Channel channel, double power_w) {
  return std::make_unique<ConstantUnit>(std::move(channel), power_w);
}

}  // namespace pyprof
