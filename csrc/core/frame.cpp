#include "core/frame.h"

#include <array>

#include "core/bytes.h"
#include "core/clock.h"

namespace pyprof {
namespace {

constexpr char kMagic[5] = "PYF2";
constexpr char kFirstMagic[5] = "PYF1";
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

struct Stamps {
  int64_t first_new = 0, last_old = 0;
};

Stamps stamps_of(const Change& change) {
  const int64_t first_new = to_us(change.first_new_ns);
  return {first_new, std::min(to_us(change.last_old_ns), first_new)};
}

// Where each update is read once, the read before saw the change before: then the bracket begins
// where that one ended, or a little later. `before` is its end.
uint64_t code_bracket(const Stamps& stamps, int64_t before, bool has_flags) {
  const int64_t since = stamps.last_old - before;
  const int64_t bracket = stamps.first_new - stamps.last_old;
  const uint64_t flagged = has_flags ? 2 : 0;
  if (since >= 0 && since < bracket) return static_cast<uint64_t>(since) << 2 | flagged;
  return static_cast<uint64_t>(bracket) << 2 | flagged | 1;
}

void put_changes(std::span<const Change> changes, int64_t base, uint64_t first_raw, Bytes& out) {
  SecondDifference stamp(static_cast<uint64_t>(base));
  for (const Change& change : changes) {
    put_varint(out, stamp.encode(static_cast<uint64_t>(stamps_of(change).first_new)));
  }
  int64_t before = base;
  for (const Change& change : changes) {
    const Stamps stamps = stamps_of(change);
    put_varint(out, code_bracket(stamps, before, change.flags != 0));
    before = stamps.first_new;
  }
  for (const Change& change : changes) out.push_back(place_of(change));
  SecondDifference raw(first_raw);
  for (const Change& change : changes) put_varint(out, raw.encode(change.raw));
  for (const Change& change : changes) {
    if (change.flags != 0) out.push_back(change.flags);
  }
}

// Sets all stamps of a change from microseconds; false where no clock shows them.
bool set_stamps(Change& change, int64_t first_new, int64_t bracket, uint8_t place) {
  if (!sane_us(first_new) || !sane_us(bracket) || bracket < 0) return false;
  change.first_new_ns = first_new * kNsPerUs;
  change.last_old_ns = (first_new - bracket) * kNsPerUs;
  const double share = place / 255.0;
  change.at_ns =
      change.last_old_ns + static_cast<int64_t>(static_cast<double>(bracket * kNsPerUs) * share);
  return true;
}

bool get_changes(ByteReader& in, int64_t base, uint64_t first_raw, std::vector<Change>& changes) {
  SecondDifference stamp(static_cast<uint64_t>(base));
  for (Change& change : changes) {
    change.first_new_ns = static_cast<int64_t>(stamp.decode(in.varint()));
  }
  int64_t before = base;
  for (Change& change : changes) {
    const uint64_t coded = in.varint();
    const int64_t first_new = change.first_new_ns;
    const auto value = static_cast<int64_t>(coded >> 2);
    if (!sane_us(first_new) || !sane_us(before)) return false;
    change.last_old_ns = (coded & 1) != 0 ? value : first_new - before - value;  // the bracket
    change.flags = static_cast<uint8_t>(coded >> 1 & 1);
    before = first_new;
  }
  for (Change& change : changes) {
    if (!set_stamps(change, change.first_new_ns, change.last_old_ns, in.fixed<uint8_t>()))
      return false;
  }
  SecondDifference raw(first_raw);
  for (Change& change : changes) change.raw = raw.decode(in.varint());
  for (Change& change : changes) {
    if (change.flags != 0) change.flags = in.fixed<uint8_t>();
  }
  return in.ok();
}

// The same of schema 1, where the entries of a change stood together.
bool get_first_changes(ByteReader& in, int64_t base, uint64_t first_raw,
                       std::vector<Change>& changes) {
  SecondDifference stamp(static_cast<uint64_t>(base));
  SecondDifference raw(first_raw);
  for (Change& change : changes) {
    const auto first_new = static_cast<int64_t>(stamp.decode(in.varint()));
    const uint64_t coded = in.varint();
    const auto place = in.fixed<uint8_t>();
    change.raw = raw.decode(in.varint());
    change.flags = (coded & 1) != 0 ? in.fixed<uint8_t>() : uint8_t{0};
    if (!set_stamps(change, first_new, static_cast<int64_t>(coded >> 1), place)) return false;
  }
  return in.ok();
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
  put_changes(changes, base, first_raw, out);
  end_outer(out, start);
}

using GetChanges = bool(ByteReader&, int64_t, uint64_t, std::vector<Change>&);

bool get_frame(std::span<const uint8_t> body, Frame& frame, GetChanges* get) {
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
  frame.changes.resize(count);
  if (!get(in, static_cast<int64_t>(base), first_raw, frame.changes)) return false;
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
  const auto scan = [&](const char (&magic)[5], GetChanges* get) {
    decoded.damaged_bytes = scan_outer(bytes, magic, [&](std::span<const uint8_t> body) {
      Frame frame;
      if (!get_frame(body, frame, get)) return false;
      decoded.frames.push_back(std::move(frame));
      decoded.pieces.emplace_back(body.data() - kOuterBytes, body.size() + kOuterBytes);
      return true;
    });
  };
  scan(kMagic, &get_changes);
  // No recording holds both.
  if (decoded.frames.empty() && !bytes.empty()) scan(kFirstMagic, &get_first_changes);
  return decoded;
}

}  // namespace pyprof
