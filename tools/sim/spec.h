// The flat text that describes a simulated machine to its native parts: one fact a line, a key and
// its words. It is written by the Python side, so a mistake in it ends the reading at once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/sensor.h"
#include "core/signal.h"

namespace sim {

struct Line {
  int number = 0;
  std::string key;
  std::vector<std::string> words;

  int64_t integer(size_t place) const;  // these throw std::runtime_error, naming the line
  double real(size_t place) const;
  const std::string& word(size_t place) const;
  std::string text() const;  // all words, joined by single spaces
};

// Throws std::runtime_error if the file can't be read. Empty lines and those with # are left out.
std::vector<Line> read_spec(const std::string& path);

// `signal repeat|once`, then `segment DURATION_NS START_W END_W` lines.
class SignalDraft {
 public:
  void begin(const Line& line);
  void add(const Line& line);
  pyprof::Signal finish() const;

 private:
  std::vector<pyprof::Segment> segments_;
  bool repeat_ = false;
};

// PERIOD_NS PHASE_NS JITTER QUANTUM_J RANGE START WINDOW_NS LAG_NS
pyprof::SensorSpec sensor_of(const Line& line);

// Half open: from_ns <= t < until_ns, in signal time.
struct Span {
  int64_t from_ns = 0;
  int64_t until_ns = 0;
  bool holds(int64_t t_ns) const { return t_ns >= from_ns && t_ns < until_ns; }
};

Span span_of(const Line& line);

// A counter that starts again from nothing at each of the given moments (in rising order).
uint64_t counter_after_resets(const pyprof::SensorModel& model,
                              const std::vector<int64_t>& resets_ns, int64_t t_ns);

int64_t monotonic_ns();

}  // namespace sim
