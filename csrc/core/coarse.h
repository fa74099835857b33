// Readings made coarser before others may see them: at most one value a step, in whole quanta.
//
// What a processor draws from moment to moment tells what it computes (PLATYPUS, CVE-2020-8694), so
// ordinary users get steps of time and of energy that are too large for that. No energy is lost.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/channel.h"
#include "core/frame.h"

namespace pyprof {

struct Grain {
  int64_t step_ns = 0;   // at most one value in each, on one grid for all channels; 0: as it is
  double quantum_j = 0;  // energies are whole multiples
};

// What the coarse readings of `channel` are: a 64-bit counter of quanta, or the mean power since
// the reading before in quanta a step.
Channel coarse_channel(Channel channel, const Grain& grain);

class Coarse {
 public:
  // One grain for each channel.
  Coarse(std::vector<Channel> channels, std::vector<Grain> grains);
  // Frames in order of time; appends what may be seen of them by now.
  void add(std::span<const uint8_t> bytes, std::vector<uint8_t>& out);

 private:
  struct State {
    bool started = false;
    uint64_t raw = 0;     // last value of the sensor
    int64_t at_ns = 0;    // when it was made
    double energy_j = 0;  // since the first reading, or since the last value that was shown
    Change held;          // the last change of the present step, not shown yet
    bool holds = false;
    uint8_t flags = 0;     // of changes that were taken together
    int64_t shown_ns = 0;  // of the last value that was shown
    uint64_t next_seq = 0;
  };
  void add_count(size_t index, const Change& change, Frame& shown);
  void add_power(size_t index, const Change& change, Frame& shown);
  void close_power(size_t index, int64_t until_ns, uint8_t flags, Frame& shown);
  int64_t cell(size_t index, int64_t t_ns) const;
  void show(State& state, Frame& shown) const;

  std::vector<Channel> channels_;
  std::vector<Grain> grains_;
  std::vector<State> states_;
};

}  // namespace pyprof
