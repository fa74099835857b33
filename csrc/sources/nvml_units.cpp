#include "sources/nvml_units.h"

#include <algorithm>
#include <cmath>

namespace pyprof::nvml {
namespace {

// A batch of fields is an array of these in the driver's own layout.
static_assert(sizeof(nvmlFieldValue_t) == 40);

// A field's value is typed by the driver; one that can't be a power or an energy is refused.
std::optional<uint64_t> whole(nvmlValueType_t type, const nvmlValue_t& value) {
  switch (type) {
    case NVML_VALUE_TYPE_UNSIGNED_INT:
      return value.uiVal;
    case NVML_VALUE_TYPE_UNSIGNED_LONG:
      return value.ulVal;
    case NVML_VALUE_TYPE_UNSIGNED_LONG_LONG:
      return value.ullVal;
    case NVML_VALUE_TYPE_DOUBLE:
      if (!(value.dVal >= 0.0 && value.dVal < 0x1p63)) return std::nullopt;
      return static_cast<uint64_t>(std::llround(value.dVal));
    default:
      return std::nullopt;
  }
}

nvmlFieldValue_t entry_of(const Field& field) {
  nvmlFieldValue_t entry{};
  entry.fieldId = field.id;
  entry.scopeId = field.scope;
  entry.nvmlReturn = NVML_ERROR_NO_DATA;
  return entry;
}

// What one entry says once the call itself has succeeded.
Answer answer_of(const nvmlFieldValue_t& entry) {
  if (entry.nvmlReturn != NVML_SUCCESS) return {entry.nvmlReturn, 0};
  const std::optional<uint64_t> value = whole(entry.valueType, entry.value);
  return value ? Answer{NVML_SUCCESS, *value} : Answer{NVML_ERROR_INVALID_STATE, 0};
}

class Batch final : public Unit {
 public:
  Batch(Device device, std::vector<Channel> channels, const std::vector<Field>& fields)
      : device_(std::move(device)), channels_(std::move(channels)) {
    for (const Field& field : fields) asked_.push_back(entry_of(field));
    entries_ = asked_;
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  std::string describe(int32_t code) const override { return device_.describe(code); }

  void read(std::span<Sample> out) noexcept override {
    std::copy(asked_.begin(), asked_.end(), entries_.begin());
    const nvmlReturn_t code = device_.call([this](const Library& library, nvmlDevice_t handle) {
      const nvmlReturn_t whole_call =
          library.field_values(handle, static_cast<int>(entries_.size()), entries_.data());
      if (whole_call != NVML_SUCCESS) return whole_call;
      // A GPU that is lost may say so in its entries alone.
      for (const nvmlFieldValue_t& entry : entries_) {
        if (status_of(entry.nvmlReturn) == Sample::Status::kLost) return entry.nvmlReturn;
      }
      return NVML_SUCCESS;
    });
    for (size_t i = 0; i < entries_.size(); ++i) {
      const Answer answer = code == NVML_SUCCESS ? answer_of(entries_[i]) : Answer{code, 0};
      out[i] = {answer.value, status_of(answer.code), static_cast<int32_t>(answer.code)};
    }
  }

 private:
  Device device_;
  std::vector<Channel> channels_;
  std::vector<nvmlFieldValue_t> asked_;
  std::vector<nvmlFieldValue_t> entries_;
};

// -- the driver's buffer of samples ---------------------------------------------------------------

constexpr double kJoulesPerNanojoule = 1e-9;  // milliwatts times microseconds
constexpr int64_t kCoarsestUs = 50'000;       // the power reading of recent parts has 100 ms
constexpr unsigned kFewest = 8;
constexpr int64_t kReadIntervalNs = 100 * kNsPerMs;
constexpr int64_t kSilenceNs = 2 * kNsPerS;
constexpr uint64_t kMostPeriods = 3;  // between two samples; beyond that some are missing

class Sampled final : public Unit {
 public:
  Sampled(Device device, Channel channel, size_t capacity, int64_t period_us)
      : device_(std::move(device)),
        channels_{std::move(channel)},
        buffer_(capacity),
        period_us_(static_cast<uint64_t>(period_us)),
        interval_ns_(std::min(kReadIntervalNs, static_cast<int64_t>(capacity) * period_us * 250)) {}
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  std::string describe(int32_t code) const override { return device_.describe(code); }
  int64_t interval_ns() const override { return interval_ns_; }

  void read(std::span<Sample> out) noexcept override {
    auto count = static_cast<unsigned>(buffer_.size());
    nvmlValueType_t type = NVML_VALUE_TYPE_UNSIGNED_INT;
    const nvmlReturn_t code = device_.call([&](const Library& library, nvmlDevice_t handle) {
      return library.samples(handle, NVML_TOTAL_POWER_SAMPLES, last_us_, &type, &count,
                             buffer_.data());
    });
    const int64_t now_ns = monotonic_ns();
    bool whole_stretch = true;
    if (code == NVML_SUCCESS) {
      whole_stretch = take(std::min<size_t>(count, buffer_.size()), type, now_ns);
    } else if (code != NVML_ERROR_NOT_FOUND) {  // nothing new since is no failure
      out[0] = {0, status_of(code), static_cast<int32_t>(code)};
      return;
    }
    const bool silent = now_ns - heard_ns_ > kSilenceNs;
    if (silent) last_us_ = 0;  // the clock of the stamps may have been set back
    out[0] = {energy_nj_, silent || !whole_stretch ? Sample::Status::kLost : Sample::Status::kOk,
              static_cast<int32_t>(NVML_ERROR_NO_DATA)};
  }

 private:
  // Each sample is the power since the one before. False if some have been overwritten: what was
  // used meanwhile is not known, so the counter begins anew.
  bool take(size_t count, nvmlValueType_t type, int64_t now_ns) noexcept {
    bool unbroken = true;
    for (size_t i = 0; i < count; ++i) {
      const nvmlSample_t& sample = buffer_[i];
      const std::optional<uint64_t> power_mw = whole(type, sample.sampleValue);
      if (!power_mw || (last_us_ != 0 && sample.timeStamp <= last_us_)) continue;
      const uint64_t passed_us = last_us_ == 0 ? 0 : sample.timeStamp - last_us_;
      if (passed_us > kMostPeriods * period_us_ || (last_us_ == 0 && energy_nj_ != 0)) {
        energy_nj_ = 0;
        unbroken = false;
      } else {
        energy_nj_ += *power_mw * passed_us;
      }
      last_us_ = sample.timeStamp;
      heard_ns_ = now_ns;
    }
    return unbroken;
  }

  Device device_;
  std::vector<Channel> channels_;
  std::vector<nvmlSample_t> buffer_;
  uint64_t period_us_;
  int64_t interval_ns_;
  unsigned long long last_us_ = 0;
  int64_t heard_ns_ = monotonic_ns();
  uint64_t energy_nj_ = 0;
};

// What the buffer holds now; empty if there is none.
std::vector<nvmlSample_t> first_look(const Library& library, nvmlDevice_t handle) {
  nvmlValueType_t type = NVML_VALUE_TYPE_UNSIGNED_INT;
  unsigned count = 0;
  if (library.samples == nullptr || library.samples(handle, NVML_TOTAL_POWER_SAMPLES, 0, &type,
                                                    &count, nullptr) != NVML_SUCCESS) {
    return {};
  }
  std::vector<nvmlSample_t> found(count);
  const bool told = count > 0 && library.samples(handle, NVML_TOTAL_POWER_SAMPLES, 0, &type, &count,
                                                 found.data()) == NVML_SUCCESS;
  found.resize(told ? std::min<size_t>(count, found.size()) : 0);
  const auto shows_power = [type](const nvmlSample_t& sample) {
    return whole(type, sample.sampleValue).value_or(0) > 0;
  };
  if (!std::any_of(found.begin(), found.end(), shows_power)) found.clear();
  return found;
}

}  // namespace

Answer ask_field(const Library& library, nvmlDevice_t device, const Field& field) {
  if (library.field_values == nullptr) return {};
  nvmlFieldValue_t entry = entry_of(field);
  const nvmlReturn_t code = library.field_values(device, 1, &entry);
  return code == NVML_SUCCESS ? answer_of(entry) : Answer{code, 0};
}

std::unique_ptr<Unit> batch(Device device, std::vector<Channel> channels,
                            const std::vector<Field>& fields) {
  return std::make_unique<Batch>(std::move(device), std::move(channels), fields);
}

std::unique_ptr<Unit> sampled(const std::shared_ptr<Library>& library, nvmlDevice_t handle,
                              Channel channel) {
  const std::vector<nvmlSample_t> found = first_look(*library, handle);
  if (found.size() < kFewest || found.back().timeStamp <= found.front().timeStamp) return nullptr;
  const uint64_t spanned_us = found.back().timeStamp - found.front().timeStamp;
  const auto period_us = static_cast<int64_t>(spanned_us / (found.size() - 1));
  if (period_us <= 0 || period_us > kCoarsestUs) return nullptr;
  channel.kind = Kind::kCounter;
  channel.quality = "derived";
  channel.method = "power-instant";
  channel.unit = kJoulesPerNanojoule;
  channel.period_ns = period_us * kNsPerUs;
  Device device(library, handle, channel.uuid);
  return std::make_unique<Sampled>(std::move(device), std::move(channel), found.size(), period_us);
}

}  // namespace pyprof::nvml
