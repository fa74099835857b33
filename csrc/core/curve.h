// E(t) of one channel: one shared curve, so that neighbours which meet in an instant agree on it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/channel.h"
#include "core/frame.h"

namespace pyprof {

struct Roll;
struct Track;
struct Around;
struct Repeats;
class Levels;
struct States;

// Something that happened to a channel, found while its curve was built.
struct CurveEvent {
  int64_t t_ns;
  std::string kind;  // gap, wrap, reset, note
  uint64_t count;
  std::string text;
};

// What an interval comes from.
enum Cause : uint8_t {
  kEdges,    // when within an update the power changed, and when the update was
  kQuantum,  // the sensor's least step
  kGaps,     // stretches without a reading
  kWindow,   // what a power reading averages over, and what it leaves out
  kRepeats,  // the fit of short stages that repeat
  kModel,    // how far a model may be wrong
  kCauses
};
// Half-widths, joules.
using Causes = std::array<double, kCauses>;
const char* cause_name(Cause cause);

// Energy since the run's start with what is known about it. down_j and up_j are the half-widths of
// a 95 % interval of this one value (edges, quantum, gaps, averaging window; not the tolerance).
struct Estimate {
  double energy_j;
  double down_j;
  double up_j;
  Causes causes{};
};

// The curve at one instant, with all that a stretch which begins or ends there must know.
struct Edge {
  double energy_j = 0;
  double lost_j = 0;  // sum, up to here, of what may have been used unseen and is not in energy_j
  float down_j = 0, up_j = 0;  // half-widths of a 95 % interval, of the place within the interval
  float hard_down_j = 0, hard_up_j = 0;  // what no power in the device's reach can exceed
  float blur_j = 0;                      // half-width for the changes' own brackets and the quantum
  float into_s = 0;                      // since the beginning of the interval
  uint32_t interval = 0;
  bool echo = false;  // in a load in step with the readings
};

// Energy of one stretch of time or of several. The causes stay apart until `Curve::settle`.
struct Stretch {
  double energy_j = 0;
  double down_j = 0, up_j = 0;  // of edges: added linearly, their errors have a common sign
  double variance_j2 = 0;  // of what the sensor never looked at: independent, adds in quadrature
  double lost_j = 0;       // only ever upwards
  double quantum_j = 0;    // the part of the edges' doubt that is the sensor's least step

  void add(const Stretch& other) {
    energy_j += other.energy_j;
    down_j += other.down_j;
    up_j += other.up_j;
    variance_j2 += other.variance_j2;
    lost_j += other.lost_j;
    quantum_j += other.quantum_j;
  }
};

// How the energy runs within one interval between two changes.
struct Shape {
  uint32_t interval = UINT32_MAX;
  int64_t start_ns = 0, end_ns = 0;
  double width_s = 0, energy_j = 0, before_j = 0;
  struct Corner {
    double into_s, energy_j;      // since the beginning of the interval
    double down_j = 0, up_j = 0;  // kDrawn: half-widths of its 95 % interval
  };
  std::vector<Corner> corners;      // none: a straight line
  double start_w = 0, slope_w = 0;  // gauges: power at the beginning, and its change up to the end
  enum class Class : uint8_t {
    kQuiet,
    kLevel,
    kStep,
    kMixed,
    kDrawn,
    kEcho,
    kBridged,
    kBeyond,
    kRamp,
    kUnfolded,
    kRepeated
  } kind = Class::kQuiet;
  double spread_w = 0;                      // of the five interval powers around
  double varies_w = 0;                      // standard deviation of a power that lasts
  double most_w = 0;                        // highest of the three in the middle
  double least_w = 0;                       // lowest of the five
  double half_start_s = 0, half_end_s = 0;  // half brackets of the two changes
  double tied = 0;                          // how far these are displaced together, 0 to 1
  bool bland = false;                       // kEcho: no reading shows which powers there are
  bool matched = false;                     // a stage's mark is the one step in the interval
  double torn_j = 0;                        // by what two courses differ, either of which may be it
  double blur_start_j = 0, blur_mark_j = 0, blur_end_j = 0;  // then, for the brackets

  double at(double into_s) const;
};

class Curve {
 public:
  // Non-decreasing calls are O(1) amortised with a cursor.
  struct Cursor {
    size_t at = 0;
    size_t blank = 0;
    Shape shape;
  };

  // `frames` of this channel in any order; [start_ns, end_ns] is the run.
  // `marks` are the times of stage marks, sorted: likely moments of a change of power. They must
  // outlive the curve.
  // `rolls` stand for the readings of their time (core/roll.h).
  Curve(const Channel& channel, std::vector<Frame> frames, int64_t start_ns, int64_t end_ns,
        std::span<const int64_t> marks, std::span<const Roll> rolls = {});
  Curve(Curve&&) noexcept;
  Curve& operator=(Curve&&) noexcept;
  ~Curve();

  // Solves stages that repeat faster than the channel updates, together; `states` are those between
  // the marks. Before anything is asked.
  void solve(const States& states);
  const Repeats& repeats() const { return *repeats_; }
  // Gauges: the averaging window, else negative.
  double window_s() const;
  // Widens an estimate over `duration_s` in which a gauge may have met a load always at the same
  // point, for `blind_s` of it: any power between those seen, or within the device's reach.
  void blind(Estimate& estimate, double duration_s, double blind_s) const;
  // Whether the repeats that were solved describe all the time between two instants.
  bool repeated(int64_t from_ns, int64_t to_ns, Cursor& cursor) const;

  bool empty() const;  // no reading at all: the energy is unknown, not zero

  // Energy between two instants of the run, with its interval. Exactly additive in energy_j.
  Estimate between(int64_t from_ns, int64_t to_ns) const;
  // The value of the curve alone.
  Estimate at(int64_t t_ns, Cursor& cursor) const;

  // For those who add up many stretches: edges once, stretches from them, one interval at the end.
  Edge edge(int64_t t_ns, Cursor& cursor) const;
  Stretch stretch(const Edge& from, const Edge& to, double duration_s) const;
  Estimate settle(const Stretch& sum, double duration_s) const;

  double coverage(int64_t from_ns, int64_t to_ns) const;  // share bracketed by readings
  double mean_w(int64_t from_ns,
                int64_t to_ns) const;  // over the covered time; NaN if there is none
  double peak_w() const;               // highest mean power between two changes; NaN if unknown
  int64_t update_period_ns() const;    // 0: unknown
  int64_t read_interval_ns() const;    // 0: unknown
  const std::vector<CurveEvent>& events() const;

 private:
  Shape shape(size_t interval) const;
  Shape::Class classify(const Around& around, const Shape& shape) const;
  // A step between two powers: where it is by the energy, and the nearest mark (< 0: none) with how
  // much better it explains that place than chance.
  struct Step {
    double at_s = 0, mark_s = -1, evidence = 0;
  };
  Step find_step(const Shape& shape, double left_w, double right_w) const;
  double mark_share() const;
  void bend(Shape& shape) const;
  bool draw(Shape& shape) const;
  void repeat(Shape& shape) const;
  int64_t delayed(int64_t t_ns, size_t guess) const;
  void bound(Edge& edge, const Shape& shape) const;
  double variance_at(const Edge& edge) const;
  double energy_at(int64_t t_ns) const;

  std::unique_ptr<Track> track_;
  std::unique_ptr<Repeats> repeats_;
  std::unique_ptr<Levels> levels_;
  const States* states_ = nullptr;
  mutable double mark_share_ = -1;  // of marks that are changes; < 0: not asked for yet
  std::span<const int64_t> marks_;
  int64_t start_ns_, end_ns_;
  double start_j_ = 0;
};

}  // namespace pyprof
