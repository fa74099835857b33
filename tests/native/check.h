// The least a native test needs: CHECK prints the expression that failed and where, and goes on;
// CHECK_NEAR prints both values. A test's main returns check::result().
#pragma once

#include <cmath>
#include <cstdio>

namespace check {

inline int failures = 0;

inline void fail(const char* file, int line, const char* text) {
  ++failures;
  std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
}

inline int result() {
  if (failures == 0) return 0;
  std::fprintf(stderr, "%d checks failed\n", failures);
  return 1;
}

}  // namespace check

#define CHECK(expression) \
  do {                    \
    if (!(expression)) check::fail(__FILE__, __LINE__, #expression); \
  } while (false)

#define CHECK_NEAR(value, expected, tolerance)                                                  \
  do {                                                                                          \
    const double check_value = (value), check_expected = (expected);                            \
    if (!(std::abs(check_value - check_expected) <= (tolerance))) {                             \
      check::fail(__FILE__, __LINE__, #value " near " #expected);                               \
      std::fprintf(stderr, "  %.12g is not within %.3g of %.12g\n", check_value,                \
                   static_cast<double>(tolerance), check_expected);                             \
    }                                                                                           \
  } while (false)
