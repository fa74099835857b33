#include "core/frame.h"

#include <array>

#include "core/bytes.h"
#include "core/clock.h"

namespace pyprof {
namespace {

constexpr char kMagic[5] = "PYF1";
constexpr size_t kHeaderBytes = 64;
constexpr size_t kMinEntryBytes = 4;
constexpr size_t kMaxChanges = 4096;  // of one frame; more make several frames
constexpr int64_t kMaxUs = int64_t{1}
                           << 50;  // 35 years: sums of a few such times fit in 64 bits of ns
constexpr uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, reflected

using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t lane = 1; lane < 8; ++lane) {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[lane - 1][byte];
      tables[lane][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

constexpr CrcTables kCrc = make_crc_tables();

int64_t to_us(int64_t ns) {
  const int64_t half = ns < 0 ? -kNsPerUs / 2 : kNsPerUs / 2;
  return std::clamp((ns + half) / kNsPerUs, -kMaxUs, kMaxUs);
}

uint32_t to_us32(int64_t ns) {
  return static_cast<uint32_t>(std::clamp<int64_t>(to_us(ns), 0, UINT32_MAX));
}

bool sane_us(int64_t us) { return us >= -kMaxUs && us <= kMaxUs; }

// A number kept as the difference of its differences; all arithmetic wraps, so none can overflow.
class SecondDifference {
 public:
  explicit SecondDifference(uint64_t first) : value_(first) {}
  uint64_t encode(uint64_t value) {
    const uint64_t step = value - value_;
    const uint64_t coded = zigzag(step - step_);
    value_ = value;
    step_ = step;
    return coded;
  }
  uint64_t decode(uint64_t coded) {
    step_ += unzigzag(coded);
    return value_ += step_;
  }

 private:
  uint64_t value_;
  uint64_t step_ = 0;
};

uint8_t place_of(const Change& change) {
  const int64_t width = change.first_new_ns - change.last_old_ns;
  if (width <= 0) return 0;
  const double share =
      static_cast<double>(change.at_ns - change.last_old_ns) / static_cast<double>(width);
  return static_cast<uint8_t>(std::clamp(share, 0.0, 1.0) * 255 + 0.5);
}

void put_change(const Change& change, SecondDifference& stamp, SecondDifference& raw, Bytes& out) {
  const int64_t first_new = to_us(change.first_new_ns);
  const int64_t last_old = std::min(to_us(change.last_old_ns), first_new);
  put_varint(out, stamp.encode(static_cast<uint64_t>(first_new)));
  const auto bracket = static_cast<uint64_t>(first_new - last_old);
  put_varint(out, bracket << 1 | (change.flags != 0 ? 1 : 0));
  out.push_back(place_of(change));
  put_varint(out, raw.encode(change.raw));
  if (change.flags != 0) out.push_back(change.flags);
}

bool get_change(ByteReader& in, SecondDifference& stamp, SecondDifference& raw, Change& change) {
  const auto first_new = static_cast<int64_t>(stamp.decode(in.varint()));
  const uint64_t coded = in.varint();
  const auto place = in.fixed<uint8_t>();
  change.raw = raw.decode(in.varint());
  change.flags = (coded & 1) != 0 ? in.fixed<uint8_t>() : uint8_t{0};
  const auto bracket = static_cast<int64_t>(coded >> 1);
  if (!in.ok() || !sane_us(first_new) || !sane_us(bracket)) return false;
  change.first_new_ns = first_new * kNsPerUs;
  change.last_old_ns = (first_new - bracket) * kNsPerUs;
  const double share = place / 255.0;
  change.at_ns =
      change.last_old_ns + static_cast<int64_t>(static_cast<double>(bracket * kNsPerUs) * share);
  return true;
}

void put_frame(const Frame& frame, size_t from, size_t count, Bytes& out) {
  const size_t start = begin_outer(out, kMagic);
  const auto changes = std::span(frame.changes).subspan(from, count);
  const int64_t base = to_us(changes.empty() ? frame.pulse.last_read_ns : changes[0].first_new_ns);
  const uint64_t first_raw = changes.empty() ? 0 : changes[0].raw;
  put_fixed(out, frame.channel);
  put_fixed(out, frame.first_seq + from);
  put_fixed(out, static_cast<uint32_t>(count));
  put_fixed(out, to_us32(frame.pulse.period_ns));
  put_fixed(out, static_cast<uint64_t>(base));
  put_fixed(out, static_cast<uint64_t>(to_us(frame.pulse.last_read_ns)));
  put_fixed(out, first_raw);
  put_fixed(out, to_us32(frame.pulse.interval_ns));
  put_fixed(out, to_us32(frame.pulse.spread_ns));
  SecondDifference stamp(static_cast<uint64_t>(base));
  SecondDifference raw(first_raw);
  for (const Change& change : changes) put_change(change, stamp, raw, out);
  end_outer(out, start);
}

bool get_frame(std::span<const uint8_t> body, Frame& frame) {
  ByteReader in(body);
  frame.channel = in.fixed<uint32_t>();
  frame.first_seq = in.fixed<uint64_t>();
  const auto count = in.fixed<uint32_t>();
  frame.pulse.period_ns = int64_t{in.fixed<uint32_t>()} * kNsPerUs;
  const auto base = in.fixed<uint64_t>();
  const auto last_read = static_cast<int64_t>(in.fixed<uint64_t>());
  const auto first_raw = in.fixed<uint64_t>();
  frame.pulse.interval_ns = int64_t{in.fixed<uint32_t>()} * kNsPerUs;
  frame.pulse.spread_ns = int64_t{in.fixed<uint32_t>()} * kNsPerUs;
  if (!in.ok() || !sane_us(last_read) || count > in.left() / kMinEntryBytes) return false;
  frame.pulse.last_read_ns = last_read * kNsPerUs;
  SecondDifference stamp(base);
  SecondDifference raw(first_raw);
  frame.changes.resize(count);
  for (Change& change : frame.changes) {
    if (!get_change(in, stamp, raw, change)) return false;
  }
  return in.left() == 0;
}

}  // namespace

uint32_t crc32c(std::span<const uint8_t> bytes) {
  uint32_t crc = ~uint32_t{0};
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    const uint8_t* b = bytes.data() + at;
    crc ^= b[0] | uint32_t{b[1]} << 8 | uint32_t{b[2]} << 16 | uint32_t{b[3]} << 24;
    crc = kCrc[7][crc & 0xFF] ^ kCrc[6][crc >> 8 & 0xFF] ^ kCrc[5][crc >> 16 & 0xFF] ^
          kCrc[4][crc >> 24] ^ kCrc[3][b[4]] ^ kCrc[2][b[5]] ^ kCrc[1][b[6]] ^ kCrc[0][b[7]];
  }
  for (; at < bytes.size(); ++at) crc = (crc >> 8) ^ kCrc[0][(crc ^ bytes[at]) & 0xFF];
  return ~crc;
}

size_t begin_outer(Bytes& out, const char (&magic)[5]) {
  const size_t start = out.size();
  out.insert(out.end(), magic, magic + 4);
  out.resize(start + kOuterBytes);
  return start;
}

void end_outer(Bytes& out, size_t start) {
  const uint32_t crc = crc32c(std::span(out).subspan(start + kOuterBytes));
  const auto length = static_cast<uint32_t>(out.size() - start);
  for (size_t i = 0; i < 4; ++i) {
    out[start + 4 + i] = static_cast<uint8_t>(length >> (8 * i));
    out[start + 8 + i] = static_cast<uint8_t>(crc >> (8 * i));
  }
}

void encode_frame(const Frame& frame, std::vector<uint8_t>& out) {
  size_t from = 0;
  do {
    const size_t count = std::min(kMaxChanges, frame.changes.size() - from);
    put_frame(frame, from, count, out);
    from += count;
  } while (from < frame.changes.size());
}

Decoded decode_frames(std::span<const uint8_t> bytes) {
  static_assert(kHeaderBytes + kMaxChanges * 32 < kMaxFrameBytes);
  Decoded decoded;
  decoded.damaged_bytes = scan_outer(bytes, kMagic, [&](std::span<const uint8_t> body) {
    Frame frame;
    if (!get_frame(body, frame)) return false;
    decoded.frames.push_back(std::move(frame));
    return true;
  });
  return decoded;
}

}  // namespace pyprof
