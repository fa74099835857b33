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
  static constexpr unsigned kLowestBit = 6;    // up to 64 ns is one class
  static constexpr unsigned kHighestBit = 40;  // 18 minutes
  static size_t index_of(int64_t ns) noexcept {
    // A clock that stood still, or ran backwards, falls into the first class.
    const auto value = std::clamp<int64_t>(ns, 1LL << kLowestBit, (1LL << kHighestBit) - 1);
    const auto bit = static_cast<unsigned>(std::bit_width(static_cast<uint64_t>(value)) - 1);
    return (bit - kLowestBit) * 4 + (static_cast<uint64_t>(value) >> (bit - 2) & 3);
  }
  static int64_t middle_of(size_t index) noexcept {
    const auto bit = static_cast<unsigned>(index / 4) + kLowestBit;
    const auto low = (int64_t{4} + static_cast<int64_t>(index % 4)) << (bit - 2);
    return low + (int64_t{1} << (bit - 3));
  }

  std::array<uint32_t, size_t{kHighestBit - kLowestBit} * 4> counts_{};
  int64_t total_ns_ = 0;
};

}  // namespace pyprof
