// sim-tree DIR SPEC: keeps the energy_uj files of a powercap tree under DIR moving, as the signals
// in SPEC say, until it is told to stop or the process that started it ends.
//
// The tree itself, with every file that stands still, was laid out before.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <exception>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "spec.h"

namespace {

using sim::Span;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

struct ZoneSpec {
  std::string path;  // of energy_uj, below DIR
  uint64_t picojoules_per_count = 0;
  sim::SignalDraft signal;
  pyprof::SensorSpec sensor;
  std::vector<int64_t> resets_ns;
  std::vector<Span> gone;    // the file does not exist
  std::vector<Span> empty;   // the file is there, but a read gives nothing
  std::vector<Span> frozen;  // the value stays as it was
};

// The kernel keeps counts and turns them into whole microjoules at each read; so do we.
uint64_t microjoules(uint64_t counts, uint64_t picojoules_per_count) {
  constexpr uint64_t kPicojoules = 1'000'000;
  const uint64_t whole = counts / kPicojoules * picojoules_per_count;
  return whole + counts % kPicojoules * picojoules_per_count / kPicojoules;
}

bool inside(const std::vector<Span>& spans, int64_t t_ns) {
  return std::any_of(spans.begin(), spans.end(),
                     [t_ns](const Span& span) { return span.holds(t_ns); });
}

// The first edge of a span after t_ns.
int64_t next_edge(const std::vector<Span>& spans, int64_t t_ns) {
  int64_t next_ns = kNever;
  for (const Span& span : spans) {
    if (span.from_ns > t_ns) next_ns = std::min(next_ns, span.from_ns);
    if (span.until_ns > t_ns) next_ns = std::min(next_ns, span.until_ns);
  }
  return next_ns;
}

class ZoneFile {
 public:
  explicit ZoneFile(std::string path) : path_(std::move(path)) {}
  ZoneFile(ZoneFile&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), length_(other.length_) {}
  ZoneFile(const ZoneFile&) = delete;
  ZoneFile& operator=(const ZoneFile&) = delete;
  ZoneFile& operator=(ZoneFile&&) = delete;
  ~ZoneFile() { forget(); }

  // In place, and shortened only when the number is: a reader with the file open sees a whole line.
  void show(uint64_t value) {
    open_if_needed();
    char text[24];
    char* end = std::to_chars(text, text + sizeof(text) - 1, value).ptr;
    *end++ = '\n';
    const auto length = static_cast<size_t>(end - text);
    if (pwrite(fd_, text, length, 0) != static_cast<ssize_t>(length)) fail("write");
    if (length < length_ && ftruncate(fd_, static_cast<off_t>(length)) != 0) fail("shorten");
    length_ = length;
  }

  void clear() {
    open_if_needed();
    if (length_ != 0 && ftruncate(fd_, 0) != 0) fail("empty");
    length_ = 0;
  }

  // Who still has it open reads nothing, as from a device that went away.
  void remove() {
    if (fd_ < 0 && access(path_.c_str(), F_OK) != 0) return;
    clear();
    unlink(path_.c_str());
    forget();
  }

 private:
  void open_if_needed() {
    if (fd_ >= 0) return;
    fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0400);
    if (fd_ < 0) fail("open");
    length_ = 0;
  }
  void forget() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
    length_ = 0;
  }
  [[noreturn]] void fail(const char* what) const {
    throw std::runtime_error(std::string("can't ") + what + " " + path_ + ": " + strerror(errno));
  }

  std::string path_;
  int fd_ = -1;
  size_t length_ = 0;
};

class Zone {
 public:
  Zone(const std::string& root, const ZoneSpec& spec)
      : spec_(spec), model_(spec.signal.finish(), spec.sensor), file_(root + "/" + spec.path) {}

  int64_t due_ns() const { return due_ns_; }

  void update(int64_t t_ns) {
    if (inside(spec_.gone, t_ns)) {
      file_.remove();
    } else if (inside(spec_.empty, t_ns)) {
      file_.clear();
    } else if (!inside(spec_.frozen, t_ns)) {
      const uint64_t counts = sim::counter_after_resets(model_, spec_.resets_ns, t_ns);
      file_.show(microjoules(counts, spec_.picojoules_per_count));
    }
    due_ns_ = std::min(
        {model_.next_update_ns(t_ns), next_edge(spec_.gone, t_ns), next_edge(spec_.empty, t_ns)});
  }

 private:
  ZoneSpec spec_;
  pyprof::SensorModel model_;
  ZoneFile file_;
  int64_t due_ns_ = std::numeric_limits<int64_t>::min();
};

struct TreeSpec {
  int64_t epoch_ns = 0;
  std::vector<ZoneSpec> zones;
};

void read_zone_line(const sim::Line& line, ZoneSpec& zone) {
  if (line.key == "unit_pj") {
    zone.picojoules_per_count = static_cast<uint64_t>(line.integer(0));
  } else if (line.key == "signal") {
    zone.signal.begin(line);
  } else if (line.key == "segment") {
    zone.signal.add(line);
  } else if (line.key == "sensor") {
    zone.sensor = sim::sensor_of(line);
  } else if (line.key == "reset") {
    zone.resets_ns.push_back(line.integer(0));
  } else if (line.key == "gone") {
    zone.gone.push_back(sim::span_of(line));
  } else if (line.key == "empty") {
    zone.empty.push_back(sim::span_of(line));
  } else if (line.key == "frozen") {
    zone.frozen.push_back(sim::span_of(line));
  } else {
    throw std::runtime_error("line " + std::to_string(line.number) + ": unknown key " + line.key);
  }
}

TreeSpec read_tree(const std::string& path) {
  TreeSpec tree;
  for (const sim::Line& line : sim::read_spec(path)) {
    if (line.key == "epoch_ns") {
      tree.epoch_ns = line.integer(0);
    } else if (line.key == "zone") {
      tree.zones.push_back({});
      tree.zones.back().path = line.text();
    } else if (tree.zones.empty()) {
      throw std::runtime_error("line " + std::to_string(line.number) + ": no zone yet");
    } else {
      read_zone_line(line, tree.zones.back());
    }
  }
  return tree;
}

std::atomic<bool> g_stop{false};

void stop(int) { g_stop = true; }

void end_with_parent() {
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) g_stop = true;
}

void listen_for_stop() {
  struct sigaction action{};
  action.sa_handler = stop;  // without SA_RESTART, so that it ends a sleep
  sigaction(SIGTERM, &action, nullptr);
  // The terminal's Ctrl-C is for the programs that read us; we end when they have.
  signal(SIGINT, SIG_IGN);
}

// A counter that lags is a wrong sensor, so we go first where the system lets us.
void be_prompt() {
  prctl(PR_SET_TIMERSLACK, 1UL);
  sched_param first{};
  first.sched_priority = 1;
  sched_setscheduler(0, SCHED_FIFO, &first);
}

void sleep_until(int64_t monotonic_ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  const timespec until{monotonic_ns / kSecond, static_cast<long>(monotonic_ns % kSecond)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
}

void run(const std::string& root, const TreeSpec& spec) {
  std::vector<Zone> zones;
  zones.reserve(spec.zones.size());
  for (const ZoneSpec& each : spec.zones) zones.emplace_back(root, each);
  bool told = false;
  while (!g_stop) {
    const int64_t now_ns = sim::monotonic_ns() - spec.epoch_ns;
    int64_t next_ns = now_ns + 1'000'000'000;
    for (Zone& zone : zones) {
      if (zone.due_ns() <= now_ns) zone.update(now_ns);
      next_ns = std::min(next_ns, zone.due_ns());
    }
    if (!std::exchange(told, true)) {
      puts("ready");
      fflush(stdout);
    }
    sleep_until(spec.epoch_ns + next_ns);
  }
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    fprintf(stderr, "usage: sim-tree DIR SPEC\n");
    return 2;
  }
  listen_for_stop();
  end_with_parent();
  be_prompt();
  try {
    run(words[1], read_tree(words[2]));
  } catch (const std::exception& error) {
    fprintf(stderr, "sim-tree: %s\n", error.what());
    return 1;
  }
  return 0;
}
