// A file of the kernel that holds one decimal number, kept open.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/unit.h"

namespace pyprof {

class NumberFile {
 public:
  explicit NumberFile(std::string path) : path_(std::move(path)) {}
  ~NumberFile();
  NumberFile(const NumberFile&) = delete;
  NumberFile& operator=(const NumberFile&) = delete;

  // Opens it and reads it once; errno, or 0.
  int open() noexcept;
  // The same, for a first look: waits up to 0.1 s for a file that is empty while it is rewritten.
  int open_patiently() noexcept;
  void read(Sample& sample) noexcept;
  const std::string& path() const { return path_; }

 private:
  int read_number(uint64_t& value) noexcept;
  int read_patiently(uint64_t& value) noexcept;
  void read_doubtful(Sample& sample, int error, uint64_t value) noexcept;
  bool replaced() const noexcept;
  int fd_ = -1;
  int same_ = 0;  // reads in a row of the same value
  uint64_t last_ = 0;
  std::string path_;
};

// First line of a small file without its newline; nothing if it can't be read (errno is kept).
std::optional<std::string> read_line(const std::string& path);
std::optional<uint64_t> read_uint(const std::string& path);

}  // namespace pyprof
