// Joules of every channel and every stage of a run: one sweep over marks and curves.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/channel.h"
#include "core/curve.h"
#include "core/mark.h"
#include "core/roll.h"
#include "core/sweep.h"

namespace pyprof {

struct ChannelResult {
  bool known = false;  // false: nothing was read; the numbers below then mean nothing
  double energy_j = 0, low_j = 0, high_j = 0;
  double mean_w = 0, peak_w = 0, coverage = 0, update_period_s = 0;  // NaN where unknown
  Causes bound{};
};

// A row whose entries are too short for a channel, solved from all of them together.
struct SolvedResult {
  uint32_t channel = 0;
  double energy_j = 0, low_j = 0, high_j = 0, mean_w = 0;
  uint64_t iterations = 0;
  double lag_s = 0;  // by which the power follows the marks
};

struct StageResult {
  std::string
      path;  // names joined with '/'; '/' and '\' inside a name are escaped with '\'; root ""
  Phase phase = Phase::kTraining;
  uint64_t count = 0;      // entries (a generator entered again is not a new one)
  uint64_t processes = 0;  // that entered it
  double duration_s = 0;   // sum of the entries
  double wall_s = 0;       // their union in time
  double energy_j = 0, low_j = 0, high_j = 0, self_energy_j = 0;  // of counted channels, as above
  std::vector<double> channels_j;    // per channel over the union, NaN where unknown
  Causes bound{};                    // half-widths of the interval's causes
  std::vector<uint32_t> unresolved;  // counted channels too slow for this stage
  std::vector<SolvedResult> solved;  // on channels that see its entries only together
  bool cut = false;                  // an entry had no end in the recording
  uint64_t synced = 0;               // entries at whose both ends the devices were waited for
};

struct AccountResult {
  std::vector<ChannelResult> channels;
  std::vector<StageResult> stages;             // the root first, then in order of first beginning
  double energy_j = 0, low_j = 0, high_j = 0;  // of counted channels that are known; NaN if none is
  std::vector<std::pair<uint32_t, CurveEvent>> events;
  uint64_t damaged_bytes = 0;
};

// What is each row's own of the counted energy, up to each of some moments.
struct OwnSeries {
  std::vector<Row> rows;                   // the root first, then in order of first beginning
  std::vector<std::vector<double>> own_j;  // moments x rows
  bool known = false;                      // false: no counted channel was read
};

// Collects a run's bytes, then solves once. Frames and marks may come in any order.
class Account {
 public:
  Account(std::vector<Channel> channels, int64_t start_ns, int64_t end_ns, Phase root_phase);
  void add_frames(std::span<const uint8_t> bytes);
  // Roll-ups that stand for the readings of their time, sorted and disjoint; the readings around
  // them reach a few changes into them.
  void add_rolls(uint32_t channel, std::vector<Roll> rolls);
  // Marks of one process; `shift_ns` is added to its times (another time namespace; usually 0).
  void add_marks(uint32_t process, std::span<const uint8_t> bytes, int64_t shift_ns = 0);
  // Every moment within the run at which a stage begins or ends, and the run itself; sorted.
  std::vector<int64_t> times_ns() const;
  AccountResult solve() const;
  // Counted energy in equal steps of time (for the power over time): steps x channels, NaN unknown.
  std::vector<std::vector<double>> series(int64_t from_ns, int64_t to_ns, size_t steps) const;
  // `self_energy_j` of every row from the start up to each of the moments, which are sorted.
  OwnSeries own(std::span<const int64_t> times_ns) const;

 private:
  Curve make_curve(size_t channel, std::span<const int64_t> times_ns, const States& states) const;

  std::vector<Channel> channels_;
  int64_t start_ns_, end_ns_;
  Phase root_phase_;
  // By channel, as they were given: decoded they take eight times the room, which one channel at a
  // time is granted.
  std::vector<std::vector<std::vector<uint8_t>>> frames_;
  std::vector<std::vector<Roll>> rolls_;  // by channel
  std::vector<ProcessMarks> marks_;
  uint64_t damaged_bytes_ = 0;
};

}  // namespace pyprof
