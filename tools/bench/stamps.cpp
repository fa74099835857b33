// How well the pacer's stamps tell when a sensor changed, in simulated time.
//
//   stamps [SEED] [SECONDS]      (1, 600)
//
// Each row is one sensor read by the real pacer: reads per update, the error of the stamps as
// shares of the period (as they were taken, and as a report places them with all readings known),
// and how often a report's window for a change holds the truth.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "check.h"
#include "core/sampler.h"
#include "core/track.h"
#include "loads.h"
#include "paced.h"

using namespace pyprof;
using simulate::Machine;
using simulate::ns;
using simulate::Sensor;

namespace {

struct Errors {
  std::vector<double> shares;  // of the period
  double at(double quantile) {
    if (shares.empty()) return 0;
    std::sort(shares.begin(), shares.end());
    return 100 * shares[static_cast<size_t>(quantile * static_cast<double>(shares.size() - 1))];
  }
  double within(double share) const {
    const auto count =
        std::count_if(shares.begin(), shares.end(), [&](double error) { return error < share; });
    return 100.0 * static_cast<double>(count) / static_cast<double>(shares.size());
  }
};

constexpr double kLearnS = 8;  // judged from here on

void row(const char* pace_name, Following following, const char* machine_name,
         const Machine& machine, const Sensor& sensor, double length_s, uint64_t seed) {
  check::Random random(seed);
  Sensor own = sensor;
  own.phase = random.uniform();
  SamplerOptions options;
  options.following = following;
  const auto load = simulate::make_load("held training", length_s + 10, own.period_s, random);
  const auto paced =
      simulate::follow(load, own, pace_of(Lane::kVendor, options), 1, length_s, machine, random);
  const Channel channel = simulate::counter_channel(own);
  const Track track = make_track(channel, {paced.frame}, ns(1), ns(length_s));
  const uint64_t first_raw = paced.frame.changes.front().raw;
  Errors taken, placed;
  size_t inside = 0;
  double width = 0;
  for (size_t i = 1; i < paced.made_s.size(); ++i) {
    const Change& change = paced.frame.changes[i];
    if (paced.made_s[i] < kLearnS) continue;
    const double truth_s = paced.made_s[i];
    taken.shares.push_back(std::abs(static_cast<double>(change.at_ns) / 1e9 - truth_s) /
                           own.period_s);
    // The track has one knot for each change: the one with its energy.
    const double energy_j = static_cast<double>(change.raw - first_raw) * own.unit;
    const auto knot = std::lower_bound(
        track.knots.begin(), track.knots.end(), energy_j - own.unit / 2,
        [](const Knot& before, double joules) { return before.energy_j < joules; });
    if (knot == track.knots.end()) continue;
    const double error_s = std::abs(static_cast<double>(knot->t_ns) / 1e9 - truth_s);
    placed.shares.push_back(error_s / own.period_s);
    inside += error_s <= 1.1 * static_cast<double>(knot->half_s);
    width += static_cast<double>(knot->half_s) / own.period_s;
  }
  const auto n = static_cast<double>(placed.shares.size());
  const double all = static_cast<double>(paced.made_s.size() + paced.missed);
  std::printf(
      "%-8s %-8s %5g %-5s %4g  %5.2f %5zu | %6.2f %6.2f | %6.2f %6.2f %6.2f %6.2f | %6.2f %6.2f "
      "%6.2f %6.2f | %6.1f %6.2f\n",
      pace_name, machine_name, own.period_s * 1e3, own.on_grid ? "grid" : "walk", 100 * own.jitter,
      static_cast<double>(paced.reads) / all, paced.missed, taken.within(0.03), taken.within(0.01),
      taken.at(0.5), taken.at(0.95), taken.at(0.99), taken.at(1), placed.at(0.5), placed.at(0.95),
      placed.at(0.99), placed.at(1), 100 * static_cast<double>(inside) / n, 100 * width / n);
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seed = argc > 1 ? static_cast<uint64_t>(std::atoll(argv[1])) : 1;
  const double length_s = argc > 2 ? std::atof(argv[2]) : 600;
  std::printf("%-8s %-8s %5s %-5s %4s  %5s %5s | %13s | %27s | %27s | %13s\n", "", "", "", "", "",
              "", "", "stamps, %", "error of stamps, %", "error in a report, %", "its window, %");
  std::printf(
      "%-8s %-8s %5s %-5s %4s  %5s %5s | %6s %6s | %6s %6s %6s %6s | %6s %6s %6s %6s | %6s %6s\n",
      "pace", "machine", "ms", "kind", "jit", "reads", "miss", "in 3%", "in 1%", "median", "p95",
      "p99", "worst", "median", "p95", "p99", "worst", "holds", "half");
  struct Way {
    const char* pace;
    Following following;
  };
  struct Busy {
    const char* name;
    Machine machine;
  };
  for (const Busy& busy : {Busy{"calm", {}}, Busy{"starved", simulate::starved_machine()}}) {
    for (const Way& way : {Way{"fine", Following::kFine}, Way{"default", Following::kDefault}}) {
      for (const double period_s : {0.1, 0.02}) {
        for (const bool on_grid : {false, true}) {
          for (const double jitter : {0.0, 0.005, 0.03, 0.05}) {
            if (jitter == 0 && on_grid) continue;
            Sensor sensor;
            sensor.period_s = period_s;
            sensor.jitter = jitter;
            sensor.on_grid = on_grid;
            row(way.pace, way.following, busy.name, busy.machine, sensor, length_s * period_s / 0.1,
                seed += 1'000'003);
          }
        }
      }
    }
  }
  return 0;
}
