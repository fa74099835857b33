// The checks of the native tests: a failing one prints itself, and the test's exit status is 1.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <iostream>

namespace check {

inline int failures = 0;

inline void that(bool ok, const char* expression, const char* file, int line) {
  if (ok) return;
  ++failures;
  std::fprintf(stderr, "%s:%d: not true: %s\n", file, line, expression);
}

template <typename A, typename B>
void equal(const A& left, const B& right, const char* expression, const char* file, int line) {
  if (left == right) return;
  ++failures;
  std::cerr << file << ':' << line << ": " << expression << ": " << left << " is not " << right
            << '\n';
}

inline void near(double left, double right, double slack, const char* expression, const char* file,
                 int line) {
  if (std::abs(left - right) <= slack) return;  // false for NaN, so that it fails
  ++failures;
  std::fprintf(stderr, "%s:%d: %s: %.12g is not within %.3g of %.12g\n", file, line, expression,
               left, slack, right);
}

inline int result() {
  if (failures != 0) std::fprintf(stderr, "%d checks failed\n", failures);
  return failures == 0 ? 0 : 1;
}

// SplitMix64: the same numbers everywhere for a seed, unlike the distributions of <random>.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    state_ += 0x9E3779B97F4A7C15ULL;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t limit) { return bits() % limit; }
  double uniform(double low = 0, double high = 1) {
    return low + (high - low) * static_cast<double>(bits() >> 11) * 0x1p-53;
  }
  double exponential(double mean) { return -mean * std::log1p(-uniform()); }
  double normal() { return std::sqrt(exponential(2)) * std::cos(6.283185307179586 * uniform()); }

 private:
  uint64_t state_;
};

}  // namespace check

#define CHECK(expression) check::that((expression), #expression, __FILE__, __LINE__)
#define CHECK_EQUAL(left, right) check::equal((left), (right), #left, __FILE__, __LINE__)
#define CHECK_NEAR(left, right, slack) \
  check::near((left), (right), (slack), #left, __FILE__, __LINE__)
