// Little-endian integers and varints, and the outer form that all frames of a recording share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace pyprof {

using Bytes = std::vector<uint8_t>;

// Signed numbers near zero become small unsigned ones.
constexpr uint64_t zigzag(uint64_t value) { return (value << 1) ^ (0 - (value >> 63)); }
constexpr uint64_t unzigzag(uint64_t value) { return (value >> 1) ^ (0 - (value & 1)); }

template <typename T>
void put_fixed(Bytes& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

inline void put_varint(Bytes& out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<uint8_t>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<uint8_t>(value));
}

// Reads from hostile bytes: after the first read beyond the end every value is 0 and `ok` is false.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  size_t left() const { return bytes_.size() - at_; }

  template <typename T>
  T fixed() {
    if (!need(sizeof(T))) return 0;
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value |= uint64_t{bytes_[at_ + i]} << (8 * i);
    at_ += sizeof(T);
    return static_cast<T>(value);
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (!need(1)) return 0;
      const uint8_t byte = bytes_[at_++];
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }

  std::span<const uint8_t> take(size_t count) {
    if (!need(count)) return {};
    at_ += count;
    return bytes_.subspan(at_ - count, count);
  }

 private:
  bool need(size_t count) {
    if (left() < count) {
      ok_ = false;
      at_ = bytes_.size();
    }
    return ok_;
  }
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

// The outer form: magic (4), length of all (4), CRC-32C of what follows (4), body.
inline constexpr size_t kOuterBytes = 12;
// No frame is longer, so that a false length in damaged bytes costs little.
inline constexpr size_t kMaxFrameBytes = 1 << 18;

// Begins a frame and returns where it begins; `end_outer` fills in length and checksum.
size_t begin_outer(Bytes& out, const char (&magic)[5]);
void end_outer(Bytes& out, size_t start);

// Calls `read(body)` for each frame with this magic and a right checksum; a body that `read`
// refuses counts as damaged. Returns how many bytes belonged to no frame.
template <typename Read>
size_t scan_outer(std::span<const uint8_t> bytes, const char (&magic)[5], Read&& read);

uint32_t crc32c(std::span<const uint8_t> bytes);

template <typename Read>
size_t scan_outer(std::span<const uint8_t> bytes, const char (&magic)[5], Read&& read) {
  // Bytes made up to look like beginnings of frames could make the search quadratic: beyond this
  // much checksumming in vain the rest is given up as damaged. Honest damage never gets there.
  size_t budget = 64 * bytes.size() + kMaxFrameBytes;
  size_t damaged = 0;
  size_t at = 0;
  while (at < bytes.size()) {
    const auto rest = bytes.subspan(at);
    if (rest.size() < kOuterBytes || budget == 0) return damaged + rest.size();
    size_t length = 0;
    if (std::memcmp(rest.data(), magic, 4) == 0) {
      ByteReader head(rest.subspan(4, 8));
      length = head.fixed<uint32_t>();
      const auto crc = head.fixed<uint32_t>();
      const bool sound = length >= kOuterBytes && length <= kMaxFrameBytes && length <= rest.size();
      if (sound) {
        const auto body = rest.subspan(kOuterBytes, length - kOuterBytes);
        if (crc32c(body) == crc && read(body)) {
          at += length;
          continue;
        }
        budget -= std::min(budget, length);
      }
    }
    const auto* from = rest.data() + 1;
    const auto* next = static_cast<const uint8_t*>(std::memchr(from, magic[0], rest.size() - 1));
    const size_t skip = next == nullptr ? rest.size() : static_cast<size_t>(next - rest.data());
    damaged += skip;
    at += skip;
  }
  return damaged;
}

}  // namespace pyprof
