// Marks of all processes made into rows, the times in which they were open, and who was innermost.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/mark.h"

namespace pyprof {

// The marks that one process logged.
struct ProcessMarks {
  uint32_t process = 0;
  int64_t shift_ns = 0;
  MarkFrame frame;
};

// All entries of one path and phase.
struct Row {
  std::string path;
  Phase phase = Phase::kTraining;
  uint64_t count = 0;
  uint64_t processes = 0;
  double duration_s = 0;
  bool cut = false;
  uint64_t synced = 0;  // entries at whose both ends the devices were waited for
};

// A time in which at least one entry of the row was open; `from` and `to` index `times_ns`.
struct Open {
  uint32_t row, from, to;
};

// A moment between marks, with the total energy up to it.
struct Stop {
  int64_t t_ns;
  double energy_j;
};

struct Sweep {
  std::vector<Row> rows;          // the root first, then in order of first beginning
  std::vector<int64_t> times_ns;  // start, end and all marks between, sorted, distinct
  std::vector<Open> opens;        // each row's in order of time, neighbours do not touch

  // Energy of each row while its entries were innermost, in equal shares among all that were.
  // `energy_j` is the total energy up to each of `times_ns`.
  std::vector<double> share(std::span<const double> energy_j) const;
  // The same up to each of `stops`, which are sorted and within the run: one list per stop.
  std::vector<std::vector<double>> share(std::span<const double> energy_j,
                                         std::span<const Stop> stops) const;

  struct Entry {
    int64_t begin_ns, end_ns;
    uint32_t row;
    uint32_t parent;  // the nearest entry around it that was open when it began; 0: the root
    uint32_t depth;
  };
  struct Step {
    uint32_t time, entry;
    bool end;
  };
  std::vector<Entry> entries;  // the root first
  std::vector<Step> steps;     // beginnings and ends in order of time
};

// `marks` in any order; frames of a process may overlap or be missing.
Sweep sweep(std::vector<ProcessMarks> marks, int64_t start_ns, int64_t end_ns, Phase root_phase);

}  // namespace pyprof
