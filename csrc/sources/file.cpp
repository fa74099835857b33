#include "sources/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstring>

#include "core/clock.h"

namespace pyprof {
namespace {

// So many reads of one value, and it is asked whether the file still has its name.
constexpr int kSameReads = 4;

Sample::Status status_of(int error) {
  if (error == EACCES || error == EPERM) return Sample::Status::kDenied;
  if (error == ENOENT || error == ENODEV || error == ENXIO) return Sample::Status::kLost;
  return Sample::Status::kFailed;
}

// Digits up to the first other character; false if there are none or they exceed 64 bits.
bool parse_digits(const char* text, const char* end, uint64_t& value) noexcept {
  uint64_t number = 0;
  const char* at = text;
  for (; at < end && *at >= '0' && *at <= '9'; ++at) {
    if (__builtin_mul_overflow(number, uint64_t{10}, &number) ||
        __builtin_add_overflow(number, static_cast<uint64_t>(*at - '0'), &number)) {
      return false;
    }
  }
  value = number;
  return at != text;
}

}  // namespace

NumberFile::~NumberFile() {
  if (fd_ >= 0) ::close(fd_);
}

int NumberFile::open() noexcept {
  if (fd_ >= 0) ::close(fd_);
  // A pipe in a file's place must not be waited for.
  fd_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd_ < 0) return errno;
  return read_patiently(last_);
}

int NumberFile::open_patiently() noexcept {
  int error = open();
  for (int attempt = 0; error == ENODATA && attempt < 100; ++attempt) {
    sleep_until(monotonic_ns() + kNsPerMs);
    error = open();
  }
  return error;
}

inline int NumberFile::read_number(uint64_t& value) noexcept {
  char text[32];
  // By the system call itself: the library's would first make the thread ready to be cancelled.
  const long got = ::syscall(SYS_pread64, fd_, text, sizeof text, 0);
  if (got > 0) return parse_digits(text, text + got, value) ? 0 : EBADMSG;
  return got < 0 ? errno : ENODATA;
}

// A file that is rewritten in place can be met while it is empty, for some microseconds. The
// kernel's own files never are.
int NumberFile::read_patiently(uint64_t& value) noexcept {
  int error = read_number(value);
  for (int attempt = 1; error == ENODATA && attempt < 64; ++attempt) error = read_number(value);
  return error;
}

// A descriptor outlives its file: one that was replaced by rename shows its last value for ever.
bool NumberFile::replaced() const noexcept {
  struct stat state;
  return ::fstat(fd_, &state) != 0 || state.st_nlink == 0;
}

[[gnu::hot]] void NumberFile::read(Sample& sample) noexcept {
  uint64_t value = 0;
  const int error = fd_ >= 0 ? read_number(value) : ENODEV;
  if (error != 0) return read_doubtful(sample, error, value);
  if (value != last_) {
    same_ = 0;
  } else if (++same_ >= kSameReads) {
    same_ = 0;
    return read_doubtful(sample, error, value);
  }
  last_ = value;
  sample = {value, Sample::Status::kOk, 0};
}

void NumberFile::read_doubtful(Sample& sample, int error, uint64_t value) noexcept {
  if (error == ENODATA) error = read_patiently(value);
  // Where it can't be read any more it may have gone, and another may stand in its place.
  const bool stale = (error != 0 || value == last_) && fd_ >= 0 && replaced();
  if (stale || error == ENODEV) {
    error = open();
    value = last_;
  }
  if (error != 0) {
    sample.status = status_of(error);
    sample.code = error;
    return;
  }
  last_ = value;
  sample = {value, Sample::Status::kOk, 0};
}

std::optional<std::string> read_line(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  char text[4096];
  const ssize_t got = ::read(fd, text, sizeof text);
  const int error = errno;
  ::close(fd);
  errno = error;
  if (got < 0) return std::nullopt;
  std::string line(text, static_cast<size_t>(got));
  line.resize(std::min(line.find('\n'), line.size()));
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
  return line;
}

std::optional<uint64_t> read_uint(const std::string& path) {
  const auto line = read_line(path);
  uint64_t value = 0;
  if (!line || !parse_digits(line->data(), line->data() + line->size(), value)) return std::nullopt;
  return value;
}

}  // namespace pyprof
