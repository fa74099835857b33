// The phase lock in real time: sensors with known moments of change, read by the sampler's own
// threads.
//
//   phase [SECONDS] [PACE] [REALTIME_PRIORITY]      (60, fine, 0: no real-time priority)
//
// Ten sensors at once, of 20 and 100 ms, with jitter of a given standard deviation and a drift of
// 0.1 % that swings within the run. Prints a table and, in its last line, JSON. `hidden` are the
// updates that no read could have told apart, because the thread was not run for half a period.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "core/clock.h"
#include "core/sampler.h"

using namespace pyprof;

namespace {

constexpr int64_t kLearnNs = 8 * kNsPerS;  // the lock is judged from here on

// The moments of change, known beforehand.
struct Truth {
  double period_ns, jitter;
  std::vector<int64_t> at;

  Truth(double period, double jitter_share, int64_t from_ns, double length_ns, uint64_t seed)
      : period_ns(period), jitter(jitter_share) {
    check::Random random(seed);
    const double phase = random.uniform() * period;
    for (double grid = phase; grid < length_ns;
         grid += period * (1 + 0.001 * std::sin(grid / length_ns * 2 * M_PI))) {
      at.push_back(from_ns + std::llround(grid + jitter * period * random.normal()));
    }
    std::sort(at.begin(), at.end());
  }
};

class Wave : public Unit {
 public:
  Wave(const Truth& truth, int number) : truth_(truth) {
    Channel channel;
    channel.id = "wave" + std::to_string(number);
    channel.domain = "gpu";
    channel.source = "wave";
    channels_ = {channel};
    reads_.reserve(truth.at.size() * 8);
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return Lane::kVendor; }
  void read(std::span<Sample> out) noexcept override {
    const int64_t now = monotonic_ns();
    while (next_ < truth_.at.size() && truth_.at[next_] <= now) ++next_;
    if (reads_.size() < reads_.capacity()) reads_.push_back(now);
    out[0] = {next_, Sample::Status::kOk, 0};
  }
  const std::vector<int64_t>& reads() const { return reads_; }

 private:
  const Truth& truth_;
  std::vector<Channel> channels_;
  std::vector<int64_t> reads_;
  size_t next_ = 0;
};

struct Outcome {
  size_t updates = 0, changes = 0, reads = 0, missed = 0, hidden = 0, in3 = 0, in1 = 0;
  std::vector<double> errors;
};

Outcome judge(const Truth& truth, const Wave& wave, const std::vector<Change>& changes,
              int64_t from_ns) {
  Outcome outcome;
  uint64_t before = 0;
  for (const Change& change : changes) {
    // The value is the number of updates so far.
    const size_t inside = before == 0 ? 0 : change.raw - before;
    before = change.raw;
    if (change.last_old_ns < from_ns || inside == 0) continue;
    ++outcome.changes;
    outcome.updates += inside;
    outcome.missed += inside - 1;
    // Reads are planned less than a quarter of a period apart around an update.
    const auto blind_ns = static_cast<double>(change.first_new_ns - change.last_old_ns);
    if (inside > 1 && blind_ns > 0.75 * truth.period_ns) outcome.hidden += inside - 1;
    const auto error_ns = static_cast<double>(change.at_ns - truth.at[change.raw - 1]);
    const double error = std::abs(error_ns) / truth.period_ns;
    outcome.in3 += error < 0.03;
    outcome.in1 += error < 0.01;
    outcome.errors.push_back(error);
  }
  for (const int64_t read : wave.reads()) outcome.reads += read >= from_ns;
  std::sort(outcome.errors.begin(), outcome.errors.end());
  return outcome;
}

double share(size_t part, size_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 60;
  const std::string pace = argc > 2 ? argv[2] : "fine";
  SamplerOptions options;
  options.following = pace == "default"  ? Following::kDefault
                      : pace == "finest" ? Following::kFinest
                                         : Following::kFine;
  options.scheduling.realtime = argc > 3 ? std::atoi(argv[3]) : 0;
  std::vector<std::unique_ptr<Truth>> truths;
  std::vector<std::unique_ptr<Unit>> units;
  std::vector<const Wave*> waves;
  const int64_t begin = monotonic_ns();
  for (const double period : {20e6, 100e6}) {
    for (const double jitter : {0.0, 0.005, 0.02, 0.05, 0.08}) {
      const uint64_t seed = 10 + truths.size();
      const double length = (seconds + 20) * 1e9;
      truths.push_back(std::make_unique<Truth>(period, jitter, begin, length, seed));
      auto wave = std::make_unique<Wave>(*truths.back(), static_cast<int>(waves.size()));
      waves.push_back(wave.get());
      units.push_back(std::move(wave));
    }
  }
  Sampler sampler(std::move(units), options);
  sampler.start();
  std::vector<std::vector<Change>> changes(waves.size());
  const auto collect = [&] {
    for (const Frame& frame : sampler.drain()) {
      auto& into = changes[frame.channel];
      into.insert(into.end(), frame.changes.begin(), frame.changes.end());
    }
  };
  for (const int64_t end = begin + static_cast<int64_t>(seconds * 1e9) + kLearnNs;
       monotonic_ns() < end;) {
    sleep_until(monotonic_ns() + kNsPerS / 2);
    collect();
  }
  sampler.stop(0);
  collect();
  const SamplerStats stats = sampler.stats();
  std::printf("%9s %7s %8s %13s %9s %9s %8s %7s %7s\n", "period ms", "jitter", "updates",
              "reads/update", "within 3%", "within 1%", "p95 err", "missed", "hidden");
  std::string json = "[";
  for (size_t i = 0; i < waves.size(); ++i) {
    const Truth& truth = *truths[i];
    const Outcome found = judge(truth, *waves[i], changes[i], begin + kLearnNs);
    if (found.updates == 0) continue;
    const double reads = static_cast<double>(found.reads) / static_cast<double>(found.updates);
    const double p95 = 100 * found.errors[found.errors.size() * 95 / 100];
    std::printf("%9g %6.1f%% %8zu %13.2f %8.2f%% %8.2f%% %7.2f%% %7zu %7zu\n",
                truth.period_ns / 1e6, 100 * truth.jitter, found.updates, reads,
                share(found.in3, found.changes), share(found.in1, found.changes), p95, found.missed,
                found.hidden);
    char row[256];
    std::snprintf(row, sizeof row,
                  "%s{\"period_ms\": %g, \"jitter\": %g, \"updates\": %zu, \"reads_per_update\": "
                  "%.4f, \"within_3\": %.4f, \"within_1\": %.4f, \"missed\": %zu, \"hidden\": %zu}",
                  i == 0 ? "" : ", ", truth.period_ns / 1e6, truth.jitter, found.updates, reads,
                  share(found.in3, found.changes), share(found.in1, found.changes), found.missed,
                  found.hidden);
    json += row;
  }
  std::printf("late wakes %llu, CPU %.3f %% of a core\n",
              static_cast<unsigned long long>(stats.late),
              100 * stats.cpu_s / (static_cast<double>(monotonic_ns() - begin) / 1e9));
  std::printf("%s]\n", json.c_str());
  return 0;
}
