// Who uses a GPU, from the driver's samples of its processes: each has its share of the time in
// which kernels ran on the GPU (sm utilisation), a mean over up to a second.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <exception>
#include <unordered_map>
#include <utility>

#include "sources/nvml_library.h"
#include "sources/usage.h"

namespace pyprof {
namespace {

constexpr int64_t kIntervalNs = kNsPerS;
constexpr size_t kMostSamples = 1024;
constexpr double kUnit = 1e-6;
constexpr double kPercent = 1e-2;

class GpuUsage final : public Unit {
 public:
  GpuUsage(const Places& places, std::shared_ptr<Follower> follower, const SharedGpu& gpu,
           nvml::Device device)
      : channels_{use_channel(gpu.channel, "party", 1.0), use_channel(gpu.channel, "all", 1.0)},
        proc_(places.proc),
        follower_(std::move(follower)),
        device_(std::move(device)),
        samples_(kMostSamples) {}

  const std::vector<Channel>& channels() const override { return channels_; }
  int64_t interval_ns() const override { return kIntervalNs; }
  Lane lane() const override { return Lane::kSlow; }

  void read(std::span<Sample> out) noexcept override {
    Sample told{0, Sample::Status::kFailed, ENOMEM};
    try {
      told = look();
    } catch (const std::exception&) {
    }
    out[0] = out[1] = told;
    out[0].raw = raw_[0];
    out[1].raw = raw_[1];
    if (told.status == Sample::Status::kOk && strangers_) {
      out[0].status = Sample::Status::kFailed;
      out[0].code = ESRCH;
    }
  }

  // The driver's answer to the first question.
  nvmlReturn_t try_once() noexcept {
    unsigned count = 0;
    const nvmlReturn_t code = ask(count);
    return code == NVML_ERROR_NOT_FOUND ? NVML_SUCCESS : code;
  }

 private:
  nvmlReturn_t ask(unsigned& count) noexcept {
    return device_.call([&](const nvml::Library& library, nvmlDevice_t handle) {
      if (library.process_utilisation == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
      count = static_cast<unsigned>(samples_.size());
      return library.process_utilisation(handle, samples_.data(), &count, seen_us_);
    });
  }

  Sample look() {
    unsigned count = 0;
    const nvmlReturn_t code = ask(count);
    if (code == NVML_ERROR_NOT_FOUND) {
      // No new sample: the last ones hold once more, as the driver's pace is much like ours.
      if (std::exchange(held_, true)) raw_ = {}, strangers_ = false;
      return {0, Sample::Status::kOk, 0};
    }
    if (code != NVML_SUCCESS) return {0, nvml::status_of(code), static_cast<int32_t>(code)};
    held_ = false;
    follower_->keep_fresh();
    add_up(count);
    return {0, Sample::Status::kOk, 0};
  }

  // Several samples of one process are of successive times: their mean counts.
  void add_up(unsigned count) {
    struct Sum {
      double busy = 0;
      unsigned samples = 0;
    };
    std::unordered_map<unsigned, Sum> processes;
    for (unsigned i = 0; i < std::min<size_t>(count, samples_.size()); ++i) {
      const nvmlProcessUtilizationSample_t& sample = samples_[i];
      if (sample.timeStamp <= seen_us_ || sample.smUtil > 100) continue;
      Sum& sum = processes[sample.pid];
      sum.busy += sample.smUtil * kPercent;
      ++sum.samples;
    }
    for (unsigned i = 0; i < std::min<size_t>(count, samples_.size()); ++i) {
      seen_us_ = std::max(seen_us_, samples_[i].timeStamp);
    }
    double party = 0, all = 0;
    size_t busy = 0, known = 0;
    for (const auto& [pid, sum] : processes) {
      const double use = sum.busy / sum.samples;
      all += use;
      if (follower_->holds(static_cast<int32_t>(pid))) party += use;
      if (use <= 0) continue;
      ++busy;
      known += ::access((proc_ + "/" + std::to_string(pid)).c_str(), F_OK) == 0;
    }
    // In a container the driver's process ids may be the host's: then nobody is known here.
    strangers_ = busy > 0 && known == 0;
    const double scale = all > 1.0 ? 1.0 / all : 1.0;
    raw_ = {static_cast<uint64_t>(std::llround(party * scale / kUnit)),
            static_cast<uint64_t>(std::llround(all * scale / kUnit))};
  }

  std::vector<Channel> channels_;
  std::string proc_;
  std::shared_ptr<Follower> follower_;
  nvml::Device device_;
  std::vector<nvmlProcessUtilizationSample_t> samples_;
  unsigned long long seen_us_ = 0;
  std::array<uint64_t, 2> raw_{};
  bool held_ = false;
  bool strangers_ = false;
};

}  // namespace

std::unique_ptr<Unit> gpu_usage(const Places& places, std::shared_ptr<Follower> follower,
                                const SharedGpu& gpu, std::string& why_not) {
  SourceState state;
  const auto library = nvml::open_library(places, state);
  const nvmlDevice_t handle = library == nullptr ? nullptr : nvml::find_device(*library, gpu.uuid);
  if (handle == nullptr) {
    why_not = "its driver does not answer";
    return nullptr;
  }
  auto unit = std::make_unique<GpuUsage>(places, std::move(follower), gpu,
                                         nvml::Device(library, handle, gpu.uuid));
  const nvmlReturn_t code = unit->try_once();
  if (code != NVML_SUCCESS) {
    why_not = nvml::words(*library, code);
    return nullptr;
  }
  return unit;
}

}  // namespace pyprof
