#include "check.h"
#include "core/counter.h"

using pyprof::step;
using Kind = pyprof::Step::Kind;

int main() {
  // Difference, wrap and reset of a counter that starts again at 1000.
  CHECK(step(10, 25, 1000, 100).kind == Kind::kDifference && step(10, 25, 1000, 100).counts == 15);
  CHECK(step(990, 5, 1000, 100).kind == Kind::kWrapped && step(990, 5, 1000, 100).counts == 15);
  CHECK(step(500, 5, 1000, 100).kind == Kind::kReset);
  CHECK(step(7, 7, 1000, 100).counts == 0);
  // No limit known: a fall is a wrap.
  CHECK(step(500, 5, 1000, 0).kind == Kind::kWrapped && step(500, 5, 1000, 0).counts == 505);
  // Time enough for a second wrap: the difference is known only modulo the range.
  CHECK(step(990, 5, 1000, 1015).kind == Kind::kUnknowable);
  CHECK(step(990, 5, 1000, 1014).kind == Kind::kWrapped);
  CHECK(step(10, 25, 1000, 1015).kind == Kind::kUnknowable);
  // 64 bits never wrap: a fall is always a reset.
  CHECK(step(10, 3, 0, 0).kind == Kind::kReset);
  CHECK(step(0, UINT64_MAX, 0, 0).counts == UINT64_MAX);
  // A sensor that exceeds its own range is trusted only while it rises.
  CHECK(step(1500, 1600, 1000, 0).kind == Kind::kDifference);
  CHECK(step(1600, 20, 1000, 0).kind == Kind::kReset);
  // A rise that no limit allows is not energy; limits are taken generously.
  CHECK(step(5, 405, 0, 100).kind == Kind::kDifference);
  CHECK(step(5, 1000, 0, 100).kind == Kind::kImplausible);
  CHECK(step(5, UINT64_MAX, 0, 100).counts == 0);
  CHECK(step(10, 900, 1000, 100).kind == Kind::kImplausible);
  CHECK(step(1500, 9000, 1000, 100).kind == Kind::kImplausible);
  return check::result();
}
