#include "core/signal.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

namespace pyprof {
namespace {

constexpr double kSecondsPerNs = 1e-9;

double area_j(const Segment& shape) {
  return 0.5 * (shape.start_w + shape.end_w) * static_cast<double>(shape.duration_ns) *
         kSecondsPerNs;
}

double power_inside(const Segment& shape, int64_t into_ns) {
  const double part = static_cast<double>(into_ns) / static_cast<double>(shape.duration_ns);
  return shape.start_w + (shape.end_w - shape.start_w) * part;
}

// Rounds towards minus infinity, so that passes before 0 are numbered -1, -2, ...
int64_t pass_number(int64_t t_ns, int64_t length_ns) {
  return t_ns / length_ns - (t_ns % length_ns < 0 ? 1 : 0);
}

void check(const Segment& shape, int64_t before_ns) {
  if (shape.duration_ns <= 0) throw std::invalid_argument("a segment must last longer than 0 ns");
  if (!std::isfinite(shape.start_w) || !std::isfinite(shape.end_w)) {
    throw std::invalid_argument("a segment's power must be a finite number");
  }
  if (before_ns > std::numeric_limits<int64_t>::max() - shape.duration_ns) {
    throw std::invalid_argument("a signal must be shorter than 292 years");
  }
}

}  // namespace

Signal::Signal(std::vector<Segment> segments, bool repeat) : repeat_(repeat) {
  if (segments.empty()) throw std::invalid_argument("a signal needs at least one segment");
  pieces_.reserve(segments.size());
  for (const Segment& shape : segments) {
    check(shape, length_ns_);
    pieces_.push_back({shape, length_ns_, pass_j_});
    length_ns_ += shape.duration_ns;
    pass_j_ += area_j(shape);
  }
}

const Signal::Piece& Signal::piece_at(int64_t t_ns) const {
  const auto after =
      std::upper_bound(pieces_.begin(), pieces_.end(), t_ns,
                       [](int64_t t, const Piece& piece) { return t < piece.start_ns; });
  return *std::prev(after);
}

double Signal::energy_in_pass_j(int64_t t_ns) const {
  const Piece& piece = piece_at(t_ns);
  const int64_t into_ns = t_ns - piece.start_ns;
  const double mean_w = 0.5 * (piece.shape.start_w + power_inside(piece.shape, into_ns));
  return piece.energy_before_j + mean_w * static_cast<double>(into_ns) * kSecondsPerNs;
}

double Signal::power_w(int64_t t_ns) const {
  if (repeat_) {
    t_ns -= pass_number(t_ns, length_ns_) * length_ns_;
  } else if (t_ns < 0) {
    return pieces_.front().shape.start_w;
  } else if (t_ns >= length_ns_) {
    return pieces_.back().shape.end_w;
  }
  const Piece& piece = piece_at(t_ns);
  return power_inside(piece.shape, t_ns - piece.start_ns);
}

double Signal::energy_j(int64_t t_ns) const {
  if (repeat_) {
    const int64_t pass = pass_number(t_ns, length_ns_);
    return static_cast<double>(pass) * pass_j_ + energy_in_pass_j(t_ns - pass * length_ns_);
  }
  if (t_ns < 0) return pieces_.front().shape.start_w * static_cast<double>(t_ns) * kSecondsPerNs;
  if (t_ns <= length_ns_) return energy_in_pass_j(t_ns);
  const double held_s = static_cast<double>(t_ns - length_ns_) * kSecondsPerNs;
  return pass_j_ + pieces_.back().shape.end_w * held_s;
}

double Signal::mean_w(int64_t from_ns, int64_t to_ns) const {
  if (to_ns <= from_ns) return power_w(from_ns);
  if (repeat_) {
    // Near 0 the two energies are small, so their difference keeps its digits after weeks.
    const int64_t shift_ns = pass_number(from_ns, length_ns_) * length_ns_;
    from_ns -= shift_ns;
    to_ns -= shift_ns;
  }
  const double span_s = static_cast<double>(to_ns - from_ns) * kSecondsPerNs;
  return (energy_j(to_ns) - energy_j(from_ns)) / span_s;
}

}  // namespace pyprof
