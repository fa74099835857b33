// A run that is cut short at any instant: its energy up to there against the truth.
#include <algorithm>
#include <cstring>
#include <vector>

#include "check.h"
#include "core/curve.h"
#include "core/sampler.h"
#include "paced.h"

using namespace pyprof;
using simulate::ns;

namespace {

constexpr double kPowerW = 250;

bool verbose = false;

struct Errors {
  std::vector<double> seconds;  // of the power
  size_t outside = 0;
  double quantile(double share) {
    std::sort(seconds.begin(), seconds.end());
    return seconds[static_cast<size_t>(share * static_cast<double>(seconds.size() - 1))];
  }
};

// Many runs of a constant power, followed at the default pace and cut after `least_s` to `most_s`.
// The account goes on for up to `beyond_s` after the last read, as where other sensors were read.
Errors cut(double period_s, double least_s, double most_s, double beyond_s,
           const simulate::Machine& machine, int rounds) {
  Errors errors;
  for (int round = 0; round < rounds; ++round) {
    check::Random random(4100 + static_cast<uint64_t>(round) * 7919);
    simulate::Load load;
    load.hold(20, kPowerW);
    simulate::Sensor sensor;
    sensor.period_s = period_s;
    sensor.phase = random.uniform();
    const double from_s = 2, to_s = from_s + random.uniform(least_s, most_s);
    const auto paced =
        simulate::follow(load, sensor, pace_of(Lane::kFiles, {}), from_s, to_s, machine, random);
    const int64_t start = paced.frame.changes.front().first_new_ns;
    const int64_t end =
        paced.frame.pulse.last_read_ns + ns(random.uniform(0, std::max(beyond_s, 1e-9)));
    const Curve curve(simulate::counter_channel(sensor), {paced.frame}, start, end, {}, {});
    const Estimate found = curve.between(start, end);
    const double truth_j = kPowerW * static_cast<double>(end - start) / 1e9;
    errors.seconds.push_back(std::abs(found.energy_j - truth_j) / kPowerW);
    errors.outside += found.energy_j - found.down_j > truth_j;
    errors.outside += found.energy_j + found.up_j < truth_j;
  }
  if (verbose) {
    std::printf("%4.0f ms, %.1f to %.1f s: median %.3f, 95 %% %.3f, worst %.3f ms; outside %zu\n",
                period_s * 1e3, least_s, most_s, 1e3 * errors.quantile(0.5),
                1e3 * errors.quantile(0.95), 1e3 * errors.quantile(1), errors.outside);
  }
  return errors;
}

}  // namespace

int main(int argc, char** argv) {
  verbose = argc > 1 && std::strcmp(argv[1], "-v") == 0;
  simulate::Machine busy;
  busy.stall_share = 0.3;
  busy.stall_s = 8e-3;
  // Of a sensor that is read once in twenty updates half an update is not known, whatever is done.
  Errors fast = cut(0.005, 0.3, 2.3, 0.1, {}, 500);
  CHECK(fast.quantile(0.5) < 2.0e-3);
  CHECK(fast.quantile(1) < 4.5e-3);
  CHECK(fast.outside <= 25);
  CHECK(cut(0.005, 0.3, 2.3, 0.1, busy, 500).quantile(0.95) < 4.6e-3);
  Errors followed = cut(0.02, 0.3, 2.3, 0.02, {}, 500);
  CHECK(followed.quantile(0.5) < 0.2e-3);
  CHECK(followed.quantile(1) < 1.2e-3);
  CHECK(followed.outside <= 25);
  CHECK(cut(0.02, 0.3, 2.3, 0.02, busy, 500).quantile(0.5) < 0.5e-3);
  Errors slow = cut(0.1, 1, 3, 0.1, {}, 500);
  CHECK(slow.quantile(0.5) < 0.6e-3);
  CHECK(slow.quantile(0.95) < 1.5e-3);
  CHECK(slow.outside <= 25);
  return check::result();
}
