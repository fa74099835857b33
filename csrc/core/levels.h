// Where the power changed between the readings of a counter, told by what this run is like: which
// powers it takes, how soon it leaves each, and how often it changes at a mark.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace pyprof {

struct Track;

// The energy since the beginning of an interval, at the borders of cells, with a 95 % range.
struct Course {
  struct Border {
    double into_s, energy_j, down_j, up_j;
  };
  std::vector<Border> borders;  // between the interval's two ends
};

// A load is taken for one that jumps between a few powers. Each interval's energy is known, so all
// ways to use it can be weighed, on a grid of cells of time and of energy: exact but for the grid.
class Levels {
 public:
  // `marks` are sorted. Both must outlive this.
  Levels(const Track& track, std::span<const int64_t> marks);
  Levels(Levels&&) noexcept;
  Levels& operator=(Levels&&) noexcept;
  ~Levels();
  // Learns from a sample of the run when first asked. False: nothing could be learnt, or too little
  // is known of this interval and its neighbours.
  bool draw(size_t interval, Course& course);
  // To be expected in an interval with one mark; 0 if nothing could be learnt.
  double changes();

 private:
  class Model;
  std::unique_ptr<Model> model_;
};

}  // namespace pyprof
