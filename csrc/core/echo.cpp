#include "core/echo.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/track.h"

namespace pyprof {
namespace {

// Constants from simulation with a known truth.
constexpr size_t kMostUpdates = 12;  // in a pattern
constexpr size_t kLong = 3;          // patterns before: what only wanders has left by then
constexpr size_t kLongMarks = 8;     // updates before: the same for marks
constexpr int kEnough = 16;          // changes of power that came again in a row
constexpr int kSetBack = 4;          // by one that did not
constexpr double kBrackets = 0.8;    // of what two brackets may make of a power
constexpr double kStray = 0.05;      // of a change: what a pattern drifts from one time to the next
constexpr double kClear = 0.05;      // of the power: a smaller change tells nothing
constexpr double kMarkStray = 0.05;  // of an update: the same for marks
constexpr ptrdiff_t kMostMarks = 3;  // in an interval: of more of them one is always near
constexpr double kFineBracket = 0.3;  // of the interval: wider ones tell nothing
constexpr size_t kBeside = 2;         // intervals on each side that tell whether a power lasts
constexpr double kBland = 0.2;        // of the power: neighbours that differ less look constant

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

class Echoes {
 public:
  Echoes(Track& track, std::span<const int64_t> marks) : track_(track), marks_(marks) {}
  void find();

 private:
  struct Interval {
    bool known = false;
    double power_w = 0, noise_w = 0;
  };
  // How long something has come again.
  struct Row {
    int score = 0;
    size_t first = 0;
  };
  Interval look(size_t at) const;
  int64_t nearest_mark(int64_t t_ns) const;
  bool marked_again(size_t earlier, size_t now) const;
  bool alike(const Interval& a, const Interval& b, double stray_w) const {
    return std::abs(a.power_w - b.power_w) < a.noise_w + b.noise_w + stray_w;
  }
  void follow(Row& row, size_t at, size_t reach, bool again, bool tells, Knot::Echo kind);

  Track& track_;
  std::span<const int64_t> marks_;
  std::array<Interval, kLong * kMostUpdates + 1> last_;
  std::array<Row, kMostUpdates + 1> rows_;
  Row marked_;
};

Echoes::Interval Echoes::look(size_t at) const {
  const Knot& from = track_.knots[at];
  const Knot& to = track_.knots[at + 1];
  Interval found;
  const double width_s = seconds(to.t_ns - from.t_ns);
  found.known = from.kind == Knot::Kind::kPlain &&
                2 * std::max(from.half_s, to.half_s) < kFineBracket * width_s;
  found.power_w = (to.energy_j - from.energy_j) / width_s;
  const double brackets_s = double{from.half_s} + to.half_s;
  found.noise_w = (kBrackets * found.power_w * brackets_s + track_.quantum_j) / width_s;
  return found;
}

int64_t Echoes::nearest_mark(int64_t t_ns) const {
  const auto after = std::lower_bound(marks_.begin(), marks_.end(), t_ns);
  if (after == marks_.begin()) return *after;
  if (after == marks_.end()) return *(after - 1);
  return *after - t_ns < t_ns - *(after - 1) ? *after : *(after - 1);
}

// Whether a mark lies beside this change of the counter as one did beside an earlier one.
bool Echoes::marked_again(size_t earlier, size_t now) const {
  const Knot& then = track_.knots[earlier];
  const Knot& knot = track_.knots[now];
  const auto width_ns = static_cast<double>(track_.knots[now + 1].t_ns - knot.t_ns);
  const int64_t due_ns = knot.t_ns + nearest_mark(then.t_ns) - then.t_ns;
  const double off = std::abs(static_cast<double>(nearest_mark(due_ns) - due_ns)) / width_ns;
  const double brackets = 1e9 * (double{then.half_s} + knot.half_s) / width_ns;
  const auto first = std::upper_bound(marks_.begin(), marks_.end(), knot.t_ns);
  const auto last = std::lower_bound(first, marks_.end(), track_.knots[now + 1].t_ns);
  return off < kMarkStray + kBrackets * brackets && last - first <= kMostMarks;
}

void Echoes::follow(Row& row, size_t at, size_t reach, bool again, bool tells, Knot::Echo kind) {
  if (!again) {
    row.score = std::max(std::min(row.score, 2 * kEnough) - kSetBack, 0);
    return;
  }
  if (!tells) {
    if (row.score >= kEnough) track_.knots[at].echo = std::max(track_.knots[at].echo, kind);
    return;
  }
  if (row.score++ == 0) row.first = at - std::min(at, reach);
  if (row.score < kEnough) return;
  const size_t from = row.score == kEnough ? row.first : at;
  for (size_t i = from; i <= at; ++i) track_.knots[i].echo = std::max(track_.knots[i].echo, kind);
}

void Echoes::find() {
  for (size_t at = 0; at + 1 < track_.knots.size(); ++at) {
    const Interval now = look(at);
    last_[at % last_.size()] = now;
    if (!now.known) {
      rows_.fill({});
      marked_ = {};
      continue;
    }
    if (at == 0) continue;
    const Interval& before = last_[(at - 1) % last_.size()];
    const double change_w = std::abs(now.power_w - before.power_w);
    const bool changed = before.known && !alike(now, before, kClear * now.power_w);
    const auto as_then = [&](size_t updates) {
      const Interval& then = last_[(at - updates) % last_.size()];
      return then.known && alike(now, then, kStray * change_w);
    };
    for (size_t n = 2; n <= kMostUpdates && kLong * n <= at; ++n) {
      follow(rows_[n], at, n, as_then(n) && as_then(kLong * n), changed, Knot::Echo::kPowers);
    }
    if (at < kLongMarks || marks_.empty()) continue;
    const bool again = marked_again(at - 1, at) && marked_again(at - kLongMarks, at);
    follow(marked_, at, 1, again, true, Knot::Echo::kMarks);
  }
}

// Whether the powers in and beside an interval differ so little that it looks constant.
bool looks_constant(const std::vector<Knot>& knots, size_t at) {
  const auto power_w = [&](size_t i) {
    return (knots[i + 1].energy_j - knots[i].energy_j) / seconds(knots[i + 1].t_ns - knots[i].t_ns);
  };
  double least_w = power_w(at), most_w = least_w;
  for (size_t i = at - std::min(at, kBeside); i < knots.size() - 1 && i <= at + kBeside; ++i) {
    if (knots[i].kind != Knot::Kind::kPlain) continue;
    least_w = std::min(least_w, power_w(i));
    most_w = std::max(most_w, power_w(i));
  }
  return most_w - least_w < kBland * power_w(at);
}

// One note for a run: powers in step tell more than marks do.
void note(Track& track, Knot::Echo kind, const std::string& what) {
  const auto first = std::find_if(track.knots.begin(), track.knots.end(),
                                  [kind](const Knot& knot) { return knot.echo == kind; });
  track.events.push_back({first->t_ns, "note", 1,
                          what + ": intervals are wider there. A pause of random length in the "
                                 "loop breaks the step (pyprof.dither())"});
}

}  // namespace

void find_echoes(Track& track, std::span<const int64_t> marks) {
  if (!(track.quantum_j > 0) || track.knots.size() < 3) return;
  Echoes(track, marks).find();
  bool powers = false, quiet = false;
  for (size_t i = 0; i + 1 < track.knots.size(); ++i) {
    Knot::Echo& echo = track.knots[i].echo;
    if (echo == Knot::Echo::kMarks && looks_constant(track.knots, i)) {
      echo = Knot::Echo::kQuietMarks;
    }
    powers = powers || echo == Knot::Echo::kPowers;
    quiet = quiet || echo == Knot::Echo::kQuietMarks;
  }
  if (powers) {
    note(track, Knot::Echo::kPowers,
         "the load repeats in step with the readings of this counter, which can't tell where "
         "between two of them its power changes");
  } else if (quiet) {
    note(track, Knot::Echo::kQuietMarks,
         "stages begin and end in step with the readings of this counter, whose power looks "
         "constant: what changes at the same places of its updates each time is not seen");
  }
}

}  // namespace pyprof
