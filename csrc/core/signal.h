// A power signal in closed form: straight pieces with jumps between them, once or for ever.
#pragma once

#include <cstdint>
#include <vector>

namespace pyprof {

// Power runs straight from start_w to end_w while duration_ns pass.
struct Segment {
  int64_t duration_ns = 0;
  double start_w = 0.0;
  double end_w = 0.0;
};

// Defined at every time. A repeated signal reaches back before 0 as well; one that is played once
// holds its first value before 0 and its last value after the end.
class Signal {
 public:
  // Throws std::invalid_argument if there is no segment, a duration is not positive, a power is
  // not finite, or all durations together leave int64.
  Signal(std::vector<Segment> segments, bool repeat);

  double power_w(int64_t t_ns) const;   // at a jump, the value after it
  double energy_j(int64_t t_ns) const;  // integral from 0 to t_ns, negative before 0
  double mean_w(int64_t from_ns, int64_t to_ns) const;  // the power itself if the span is empty
  int64_t length_ns() const { return length_ns_; }      // of one pass
  bool repeats() const { return repeat_; }

 private:
  struct Piece {
    Segment shape;
    int64_t start_ns;
    double energy_before_j;
  };
  const Piece& piece_at(int64_t t_ns) const;    // t_ns in [0, length)
  double energy_in_pass_j(int64_t t_ns) const;  // t_ns in [0, length]

  std::vector<Piece> pieces_;
  int64_t length_ns_ = 0;
  double pass_j_ = 0.0;
  bool repeat_ = false;
};

}  // namespace pyprof
