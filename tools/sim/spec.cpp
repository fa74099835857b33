#include "spec.h"

#include <time.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace sim {
namespace {

[[noreturn]] void refuse(const Line& line, const std::string& what) {
  throw std::runtime_error("line " + std::to_string(line.number) + " (" + line.key + "): " + what);
}

template <typename Number, typename Parse>
Number parsed(const Line& line, size_t place, Parse parse) {
  const std::string& word = line.word(place);
  try {
    size_t used = 0;
    const Number value = parse(word, &used);
    if (used == word.size()) return value;
  } catch (const std::logic_error&) {
    // Told below, with the line.
  }
  refuse(line, "'" + word + "' is not a number");
}

}  // namespace

int64_t Line::integer(size_t place) const {
  return parsed<int64_t>(
      *this, place, [](const std::string& word, size_t* used) { return std::stoll(word, used); });
}

double Line::real(size_t place) const {
  return parsed<double>(
      *this, place, [](const std::string& word, size_t* used) { return std::stod(word, used); });
}

const std::string& Line::word(size_t place) const {
  if (place >= words.size()) refuse(*this, "a word is missing");
  return words[place];
}

std::string Line::text() const {
  std::string joined;
  for (const std::string& each : words) joined += (joined.empty() ? "" : " ") + each;
  return joined;
}

std::vector<Line> read_spec(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("can't read " + path);
  std::vector<Line> lines;
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    std::istringstream stream(text);
    Line line;
    line.number = number;
    if (!(stream >> line.key) || line.key[0] == '#') continue;
    for (std::string word; stream >> word;) line.words.push_back(word);
    lines.push_back(std::move(line));
  }
  return lines;
}

void SignalDraft::begin(const Line& line) {
  segments_.clear();
  repeat_ = line.word(0) == "repeat";
}

void SignalDraft::add(const Line& line) {
  segments_.push_back({line.integer(0), line.real(1), line.real(2)});
}

pyprof::Signal SignalDraft::finish() const { return pyprof::Signal(segments_, repeat_); }

pyprof::SensorSpec sensor_of(const Line& line) {
  pyprof::SensorSpec spec;
  spec.period_ns = line.integer(0);
  spec.phase_ns = line.integer(1);
  spec.jitter = line.real(2);
  spec.quantum_j = line.real(3);
  spec.range_counts = static_cast<uint64_t>(line.integer(4));
  spec.start_count = static_cast<uint64_t>(line.integer(5));
  spec.window_ns = line.integer(6);
  spec.lag_ns = line.integer(7);
  return spec;
}

Span span_of(const Line& line) { return {line.integer(0), line.integer(1)}; }

uint64_t counter_after_resets(const pyprof::SensorModel& model,
                              const std::vector<int64_t>& resets_ns, int64_t t_ns) {
  const uint64_t now = model.counter_at(t_ns);
  const int64_t* last = nullptr;
  for (const int64_t& reset_ns : resets_ns) {
    if (reset_ns <= t_ns) last = &reset_ns;
  }
  if (last == nullptr) return now;
  const uint64_t then = model.counter_at(*last);
  return now >= then ? now - then : now + (model.spec().range_counts - then);
}

int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace sim
