// An external meter that writes one line a reading: a wall meter, a smart plug, a bench instrument.
//
//   [SECONDS] VALUE UNIT      "12.5 W", "1723.250 12500 mW", "81.25 kJ"
//
// W, mW, kW: the mean power since the line before; J, mJ, uJ, kJ, Wh, kWh: energy since whenever.
// SECONDS is the meter's own clock; without it, lines count from when they are read. Blanks, commas
// and semicolons separate; lines with # in front are comments. docs/sources.md tells users.
#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "core/clock.h"
#include "sources/file.h"
#include "sources/table.h"

namespace pyprof {
namespace {

constexpr const char* kName = "meter";
constexpr double kJoulesPerCount = 1e-6;
constexpr int64_t kPatienceNs = 5 * kNsPerS;  // the longest time between two lines that is foreseen
constexpr double kLeastSilenceS = 2;
constexpr double kSilentPeriods = 10;
constexpr off_t kLongFile = 65536;

struct Scale {
  std::string_view unit;
  double factor;
  bool power;
};
constexpr Scale kScales[] = {{"W", 1, true},     {"mW", 1e-3, true},  {"kW", 1e3, true},
                             {"J", 1, false},    {"mJ", 1e-3, false}, {"uJ", 1e-6, false},
                             {"kJ", 1e3, false}, {"Wh", 3600, false}, {"kWh", 3.6e6, false}};

struct Reading {
  double value = 0;  // watts or joules
  bool power = false;
  double at_s = kUnknown;  // on the meter's clock
};

bool separates(char c) { return c == ' ' || c == '\t' || c == ',' || c == ';' || c == '\r'; }

std::optional<Reading> parse(std::string_view line) noexcept {
  std::array<double, 2> numbers{};
  size_t count = 0;
  const char* at = line.data();
  const char* const end = at + line.size();
  for (; count < numbers.size(); ++count) {
    while (at < end && separates(*at)) ++at;
    const auto found = std::from_chars(at, end, numbers[count]);
    if (found.ec != std::errc()) break;
    at = found.ptr;
  }
  while (at < end && separates(*at)) ++at;
  const char* last = end;
  while (last > at && separates(last[-1])) --last;
  const std::string_view unit(at, static_cast<size_t>(last - at));
  const double value = numbers[count == 2 ? 1 : 0];
  if (count == 0 || !std::isfinite(value) || value < 0) return std::nullopt;
  for (const Scale& scale : kScales) {
    if (scale.unit != unit) continue;
    return Reading{value * scale.factor, scale.power, count == 2 ? numbers[0] : kUnknown};
  }
  return std::nullopt;
}

// The lines of a pipe, a serial line or a growing file, as far as they are there.
class Lines {
 public:
  explicit Lines(std::string path) : path_(std::move(path)) { open(); }
  ~Lines() {
    if (fd_ >= 0) ::close(fd_);
  }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;
  int error() const { return error_; }

  // Calls `each` for every whole line that has come; 0, or why no more can come.
  template <typename Each>
  int take(Each each) noexcept {
    if (error_ != 0) open();
    if (error_ == 0 && grows_) notice_truncation();
    while (error_ == 0) {
      if (used_ == text_.size()) used_ = 0;  // longer than any reading
      const ssize_t got = ::read(fd_, text_.data() + used_, text_.size() - used_);
      if (got == 0) return grows_ ? 0 : EPIPE;
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
      if (got < 0) {
        error_ = errno;
        break;
      }
      used_ += static_cast<size_t>(got);
      split(each);
    }
    return error_;
  }

 private:
  void open() noexcept {
    if (fd_ >= 0) ::close(fd_);
    used_ = 0;
    fd_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat state{};
    error_ = fd_ < 0 || ::fstat(fd_, &state) != 0 ? errno : 0;
    if (error_ != 0) return;
    if (S_ISDIR(state.st_mode)) error_ = EISDIR;
    grows_ = S_ISREG(state.st_mode);
    // Of a long history the end is enough; the line that is met in its middle is thrown away.
    cut_ = grows_ && state.st_size > kLongFile;
    if (cut_) ::lseek(fd_, -static_cast<off_t>(text_.size()), SEEK_END);
    termios line;
    if (::tcgetattr(fd_, &line) == 0) {
      cfmakeraw(&line);  // no echo: the meter would hear itself. The speed stays as it was set.
      ::tcsetattr(fd_, TCSANOW, &line);
    }
  }

  void notice_truncation() noexcept {
    const off_t position = ::lseek(fd_, 0, SEEK_CUR);
    struct stat state;
    if (::fstat(fd_, &state) == 0 && state.st_size < position) {
      ::lseek(fd_, 0, SEEK_SET);
      used_ = 0;
    }
  }

  template <typename Each>
  void split(Each each) noexcept {
    size_t from = 0;
    for (size_t i = 0; i < used_; ++i) {
      if (text_[i] != '\n') continue;
      if (!std::exchange(cut_, false)) each(std::string_view(text_.data() + from, i - from));
      from = i + 1;
    }
    std::copy(text_.begin() + static_cast<std::ptrdiff_t>(from),
              text_.begin() + static_cast<std::ptrdiff_t>(used_), text_.begin());
    used_ -= from;
  }

  std::string path_;
  int fd_ = -1;
  int error_ = 0;
  bool grows_ = false;
  bool cut_ = false;
  std::array<char, 4096> text_;
  size_t used_ = 0;
};

// Readings made into a counter, so that no line is lost between two reads of the sampler.
class Meter final : public Unit {
 public:
  explicit Meter(const std::string& path) : lines_(path) {}
  const std::vector<Channel>& channels() const override { return channels_; }

  // Waits for the first line, which says what this meter tells.
  std::optional<Channel> introduce(const std::string& path) {
    const int64_t until = monotonic_ns() + kPatienceNs;
    while (!seen_ && lines_.error() == 0 && monotonic_ns() < until) {
      take(monotonic_ns());
      if (!seen_) sleep_until(monotonic_ns() + 10 * kNsPerMs);
    }
    Channel channel;
    channel.id = "meter";
    channel.domain = "host";
    channel.device = "meter " + path;
    channel.source = kName;
    channel.unit = kJoulesPerCount;
    channel.quality = power_ ? "derived" : "measured";
    channel.method = power_ ? "power-average" : "counter";
    channels_ = {channel};
    return seen_ ? std::optional(channel) : std::nullopt;
  }
  int error() const { return lines_.error(); }
  const std::string& nonsense() const { return nonsense_; }

  void read(std::span<Sample> out) noexcept override {
    const int64_t now_ns = monotonic_ns();
    const int error = take(now_ns);
    silent_ = silent_ || too_long(seconds(now_ns - heard_ns_), period_s_);
    const bool gone = error != 0 && error != EPIPE;  // a pipe may get another writer
    out[0] = {static_cast<uint64_t>(std::llround(energy_j_ / kJoulesPerCount)),
              gone || silent_ ? Sample::Status::kLost : Sample::Status::kOk, gone ? error : ESTALE};
  }

 private:
  static double seconds(int64_t ns) { return static_cast<double>(ns) / kNsPerS; }
  static bool too_long(double passed_s, double period_s) {
    const double patience_s = 2 * seconds(kPatienceNs);
    return passed_s >
           (period_s > 0 ? std::max(kLeastSilenceS, kSilentPeriods * period_s) : patience_s);
  }
  static void learn(double passed_s, double& period_s) {
    period_s += (passed_s - period_s) / (period_s > 0 ? 8 : 1);
  }

  int take(int64_t now_ns) noexcept {
    double sum_w = 0;
    int untimed = 0, heard = 0;
    const int error = lines_.take([&](std::string_view line) {
      if (line.empty() || line[0] == '#') return;
      const auto reading = parse(line);
      if (!reading || (seen_ && reading->power != power_)) return complain(line);
      power_ = reading->power;
      seen_ = true;
      ++heard;
      if (!power_) {
        energy_j_ = reading->value;
      } else if (!std::isnan(reading->at_s)) {
        integrate(reading->value, reading->at_s - at_s_, stamp_period_s_);
        at_s_ = reading->at_s;
      } else {
        sum_w += reading->value;
        ++untimed;
      }
    });
    if (heard == 0) return error;
    const double passed_s = heard_ns_ == 0 ? kUnknown : seconds(now_ns - heard_ns_);
    // Lines without a time share what passed since the last ones.
    if (untimed > 0) integrate(sum_w / untimed, passed_s, untimed_period_s_);
    if (!std::isnan(passed_s) && !too_long(passed_s, period_s_)) learn(passed_s, period_s_);
    silent_ = false;
    heard_ns_ = now_ns;
    return error;
  }

  // What was used in a silence is not known, nor when the meter's clock was set back: the counter
  // then begins anew, and its fall ends the segment.
  void integrate(double power_w, double passed_s, double& period_s) noexcept {
    if (std::isnan(passed_s)) return;  // the first line only starts the clock
    if (passed_s < 0 || too_long(passed_s, period_s)) {
      energy_j_ = 0;
      return;
    }
    energy_j_ += power_w * passed_s;
    learn(passed_s, period_s);
  }

  void complain(std::string_view line) noexcept {
    if (seen_ || !nonsense_.empty()) return;
    nonsense_.assign(line.substr(0, 40));
  }

  Lines lines_;
  std::vector<Channel> channels_;
  std::string nonsense_;
  bool seen_ = false;
  bool power_ = false;
  bool silent_ = false;
  double energy_j_ = 0;
  double at_s_ = kUnknown;     // of the last line, on the meter's clock
  int64_t heard_ns_ = 0;       // when the last line was read
  double period_s_ = 0;        // between reads that brought something
  double stamp_period_s_ = 0;  // between lines, on the meter's clock
  double untimed_period_s_ = 0;
};

}  // namespace

Found find_meter(const Places& places) {
  Found found;
  found.state.name = kName;
  if (places.meter.empty()) {
    found.state.reason = "no meter was named";
    return found;
  }
  auto meter = std::make_unique<Meter>(places.meter);
  if (meter->introduce(places.meter)) {
    found.state.available = true;
    found.units.push_back(std::move(meter));
    return found;
  }
  found.state.remedy = "let it write lines like \"12.5 W\" or \"812.25 J\"";
  if (meter->error() != 0) {
    found.state.reason = places.meter + ": " + describe_errno(meter->error());
    found.state.remedy = "";
  } else if (!meter->nonsense().empty()) {
    found.state.reason = places.meter + " says '" + meter->nonsense() + "', which is no reading";
  } else {
    found.state.reason = places.meter + " has given no reading in 5 s";
  }
  return found;
}

}  // namespace pyprof
