#include "core/sensor.h"

#include <cmath>
#include <stdexcept>
#include <utility>

namespace pyprof {
namespace {

// splitmix64: neighbouring numbers give unrelated values.
uint64_t hash(uint64_t number) {
  number += 0x9E3779B97F4A7C15ULL;
  number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9ULL;
  number = (number ^ (number >> 27)) * 0x94D049BB133111EBULL;
  return number ^ (number >> 31);
}

// In [-0.5, 0.5), the same for ever for one update number.
double offset_of(int64_t number) {
  return static_cast<double>(hash(static_cast<uint64_t>(number)) >> 11) * 0x1p-53 - 0.5;
}

void require(bool holds, const char* sentence) {
  if (!holds) throw std::invalid_argument(sentence);
}

}  // namespace

SensorModel::SensorModel(Signal signal, const SensorSpec& spec)
    : signal_(std::move(signal)), spec_(spec) {
  require(spec.period_ns > 0, "a sensor's period must be longer than 0 ns");
  require(spec.jitter >= 0.0 && spec.jitter < 1.0, "a sensor's jitter must be in [0, 1)");
  require(spec.quantum_j > 0.0 && std::isfinite(spec.quantum_j),
          "a sensor's quantum must be more than 0 J");
  require(spec.window_ns >= 0, "a sensor's window must not be negative");
  require(spec.lag_ns >= 0, "a sensor's lag must not be negative");
  require(spec.range_counts <= 1ULL << 62, "a sensor's range must be at most 2^62 counts");
  require(spec.range_counts == 0 || spec.start_count < spec.range_counts,
          "a sensor's start must lie inside its range");
}

int64_t SensorModel::update_ns(int64_t number) const {
  const int64_t on_time_ns = spec_.phase_ns + number * spec_.period_ns;
  if (spec_.jitter == 0.0) return on_time_ns;
  const double early_or_late = spec_.jitter * offset_of(number);
  return on_time_ns + std::llround(early_or_late * static_cast<double>(spec_.period_ns));
}

int64_t SensorModel::last_number(int64_t t_ns) const {
  const int64_t since_ns = t_ns - spec_.phase_ns;
  // The next regular update may come early, the last one late.
  int64_t number = since_ns / spec_.period_ns + 1;
  while (update_ns(number) > t_ns) --number;
  return number;
}

int64_t SensorModel::last_update_ns(int64_t t_ns) const { return update_ns(last_number(t_ns)); }

int64_t SensorModel::next_update_ns(int64_t t_ns) const { return update_ns(last_number(t_ns) + 1); }

uint64_t SensorModel::counter_at(int64_t t_ns) const {
  const double energy_j = signal_.energy_j(last_update_ns(t_ns) - spec_.lag_ns);
  const auto counts = static_cast<int64_t>(std::floor(energy_j / spec_.quantum_j));
  if (spec_.range_counts == 0) return spec_.start_count + static_cast<uint64_t>(counts);
  const auto range = static_cast<int64_t>(spec_.range_counts);
  const int64_t beyond = counts % range + (counts % range < 0 ? range : 0);
  return (spec_.start_count + static_cast<uint64_t>(beyond)) % spec_.range_counts;
}

double SensorModel::power_at(int64_t t_ns) const {
  const int64_t shown_ns = last_update_ns(t_ns) - spec_.lag_ns;
  return signal_.mean_w(shown_ns - spec_.window_ns, shown_ns);
}

}  // namespace pyprof
