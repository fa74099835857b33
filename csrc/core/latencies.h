// How long calls took: counts in classes a fifth of their value wide. Fixed size, so that noting
// one costs a few instructions and no memory.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <numeric>

namespace pyprof {

class Latencies {
 public:
  void add(int64_t ns) noexcept {
    ++counts_[index_of(ns)];
    total_ns_ += ns;
  }
  void merge(const Latencies& other) noexcept {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    total_ns_ += other.total_ns_;
  }
  uint64_t count() const noexcept {
    return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
  }
  int64_t total_ns() const noexcept { return total_ns_; }
  // The duration that `share` of the calls did not exceed, within a tenth; 0 before any.
  int64_t quantile_ns(double share) const noexcept {
    uint64_t left = static_cast<uint64_t>(share * static_cast<double>(count()));
    for (size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] > left) return middle_of(i);
      left -= counts_[i];
    }
    return 0;
  }

 private:
  // The exponent of a float and the first two bits of its mantissa are a class, in one shift.
  static constexpr int kFirst = (127 + 6) * 4;  // up to 64 ns is one class
  static constexpr size_t kClasses = size_t{63 - 6} * 4 + 1;
  static size_t index_of(int64_t ns) noexcept {
    // A clock that stood still, or ran backwards, falls into the first class.
    const auto bits = std::bit_cast<int32_t>(static_cast<float>(ns));
    return static_cast<size_t>(std::max((bits >> 21) - kFirst, 0));
  }
  static int64_t middle_of(size_t index) noexcept {
    const auto bits = static_cast<int32_t>(kFirst + static_cast<int>(index)) << 21 | 1 << 20;
    return static_cast<int64_t>(std::bit_cast<float>(bits));
  }

  std::array<uint32_t, kClasses> counts_{};
  int64_t total_ns_ = 0;
};

}  // namespace pyprof
