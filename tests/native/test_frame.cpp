// Channel frames: what is written is read again, and damage costs no more than the damaged frame.
#include <string_view>

#include "check.h"
#include "core/frame.h"

using namespace pyprof;

namespace {

Frame make_frame(check::Random& random, uint32_t channel, size_t count) {
  Frame frame;
  frame.channel = channel;
  frame.first_seq = random.below(1000);
  frame.pulse = {0, 20'000'000, 300'000, 5'000'000};
  int64_t t = 1'000'000'000;
  uint64_t raw = random.bits();
  for (size_t i = 0; i < count; ++i) {
    Change change;
    change.last_old_ns = t;
    t += static_cast<int64_t>(random.below(30'000)) * 1000;
    change.first_new_ns = t;
    change.at_ns = change.last_old_ns +
                   (t - change.last_old_ns) / 255 * static_cast<int64_t>(random.below(256));
    raw = random.below(20) == 0 ? random.bits() : raw + random.below(100'000);
    change.raw = raw;
    change.flags = random.below(10) == 0 ? static_cast<uint8_t>(random.below(8)) : uint8_t{0};
    frame.changes.push_back(change);
  }
  frame.pulse.last_read_ns = t + 1'000'000;
  return frame;
}

void check_same(const Frame& left, const Frame& right) {
  CHECK_EQUAL(left.channel, right.channel);
  CHECK_EQUAL(left.first_seq, right.first_seq);
  CHECK_EQUAL(left.pulse.last_read_ns, right.pulse.last_read_ns);
  CHECK_EQUAL(left.pulse.period_ns, right.pulse.period_ns);
  CHECK_EQUAL(left.pulse.spread_ns, right.pulse.spread_ns);
  CHECK_EQUAL(left.pulse.interval_ns, right.pulse.interval_ns);
  CHECK_EQUAL(left.changes.size(), right.changes.size());
  for (size_t i = 0; i < left.changes.size() && i < right.changes.size(); ++i) {
    CHECK_EQUAL(left.changes[i].last_old_ns, right.changes[i].last_old_ns);
    CHECK_EQUAL(left.changes[i].first_new_ns, right.changes[i].first_new_ns);
    const double width =
        static_cast<double>(left.changes[i].first_new_ns - left.changes[i].last_old_ns);
    CHECK_NEAR(static_cast<double>(left.changes[i].at_ns),
               static_cast<double>(right.changes[i].at_ns), width / 255 + 2);
    CHECK_EQUAL(left.changes[i].raw, right.changes[i].raw);
    CHECK_EQUAL(int{left.changes[i].flags}, int{right.changes[i].flags});
  }
}

void test_checksum() {
  // The published check value of CRC-32C.
  constexpr std::string_view kDigits = "123456789";
  CHECK_EQUAL(crc32c({reinterpret_cast<const uint8_t*>(kDigits.data()), 9}), 0xE3069283u);
  CHECK_EQUAL(crc32c({}), 0u);
}

void test_round_trip() {
  check::Random random(1);
  for (const size_t count : {0u, 1u, 2u, 3u, 50u, 2048u}) {
    const Frame frame = make_frame(random, 7, count);
    std::vector<uint8_t> bytes;
    encode_frame(frame, bytes);
    const Decoded decoded = decode_frames(bytes);
    CHECK_EQUAL(decoded.damaged_bytes, 0u);
    CHECK_EQUAL(decoded.frames.size(), 1u);
    if (decoded.frames.size() == 1) check_same(frame, decoded.frames[0]);
    std::vector<uint8_t> again;
    for (const Frame& read : decoded.frames) encode_frame(read, again);
    CHECK(again == bytes);  // copies of copies do not drift
  }
}

void test_extremes() {
  Frame frame;
  frame.pulse.last_read_ns = 5000;
  uint64_t raw[] = {0, UINT64_MAX, 0, 1ull << 63, 12345, (1ull << 63) - 1, UINT64_MAX - 1};
  for (size_t i = 0; i < std::size(raw); ++i) {
    const auto t = static_cast<int64_t>(i) * 1000;
    frame.changes.push_back({t, t, t, raw[i], 0xFF});
  }
  std::vector<uint8_t> bytes;
  encode_frame(frame, bytes);
  const Decoded decoded = decode_frames(bytes);
  CHECK_EQUAL(decoded.frames.size(), 1u);
  check_same(frame, decoded.frames.at(0));
}

void test_long_frames_are_split() {
  check::Random random(2);
  const Frame frame = make_frame(random, 3, 10'000);
  std::vector<uint8_t> bytes;
  encode_frame(frame, bytes);
  const Decoded decoded = decode_frames(bytes);
  CHECK_EQUAL(decoded.damaged_bytes, 0u);
  size_t seen = 0;
  for (const Frame& part : decoded.frames) {
    CHECK_EQUAL(part.first_seq, frame.first_seq + seen);
    for (const Change& change : part.changes) CHECK_EQUAL(change.raw, frame.changes.at(seen++).raw);
  }
  CHECK_EQUAL(seen, frame.changes.size());
}

void test_size() {
  // A counter that ticks every 100 ms: 6 bytes a change or less, with everything.
  check::Random random(3);
  Frame frame;
  int64_t t = 0;
  uint64_t raw = 1'000'000'000;
  for (int i = 0; i < 2048; ++i) {
    const int64_t at = t + static_cast<int64_t>(random.normal() * 1e6);
    frame.changes.push_back({at - 3'000'000, at, at - 1'500'000, raw, 0});
    t += 100'000'000;
    raw += 20'000 + random.below(5000);
  }
  std::vector<uint8_t> bytes;
  encode_frame(frame, bytes);
  CHECK(bytes.size() < 2048 * 9);
  std::printf("bytes per change: %.2f\n", static_cast<double>(bytes.size()) / 2048);
}

std::vector<uint8_t> make_stream(check::Random& random, size_t frames) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < frames; ++i)
    encode_frame(make_frame(random, static_cast<uint32_t>(i), 40), bytes);
  return bytes;
}

void test_damage_costs_the_damaged_frame() {
  check::Random random(4);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint8_t> bytes = make_stream(random, 10);
    const size_t at = random.below(bytes.size());
    bytes[at] = static_cast<uint8_t>(bytes[at] ^ (1u << random.below(8)));
    const Decoded decoded = decode_frames(bytes);
    CHECK_EQUAL(decoded.frames.size(), 9u);
    CHECK(decoded.damaged_bytes > 0);
  }
}

void test_cut_and_garbage() {
  check::Random random(5);
  const std::vector<uint8_t> whole = make_stream(random, 4);
  for (size_t cut = 0; cut < whole.size(); cut += 1 + random.below(7)) {
    const Decoded decoded = decode_frames(std::span(whole).first(cut));
    CHECK(decoded.frames.size() < 4);
  }
  std::vector<uint8_t> around;
  for (int i = 0; i < 1000; ++i) around.push_back(static_cast<uint8_t>(random.bits()));
  around.insert(around.end(), whole.begin(), whole.end());
  const Decoded decoded = decode_frames(around);
  CHECK_EQUAL(decoded.frames.size(), 4u);
  CHECK_EQUAL(decoded.damaged_bytes, 1000u);
}

// A right checksum over nonsense must be no way in.
void test_hostile_bodies() {
  check::Random random(6);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<uint8_t> bytes;
    encode_frame(make_frame(random, 1, random.below(4)), bytes);
    for (uint64_t flips = 1 + random.below(4); flips > 0; --flips) {
      bytes[12 + random.below(bytes.size() - 12)] = static_cast<uint8_t>(random.bits());
    }
    const uint32_t crc = crc32c(std::span(bytes).subspan(12));
    for (size_t i = 0; i < 4; ++i) bytes[8 + i] = static_cast<uint8_t>(crc >> (8 * i));
    const Decoded decoded = decode_frames(bytes);
    for (const Frame& frame : decoded.frames) {
      for (const Change& change : frame.changes) {
        CHECK(change.last_old_ns <= change.at_ns && change.at_ns <= change.first_new_ns);
      }
    }
  }
}

// Many false beginnings with great lengths: the search stays linear.
void test_false_beginnings() {
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 100'000; ++i) {
    for (const char c : {'P', 'Y', 'F', '1'}) bytes.push_back(static_cast<uint8_t>(c));
    for (const uint8_t b : {0xFF, 0xFF, 0x03, 0x00}) bytes.push_back(b);
  }
  const Decoded decoded = decode_frames(bytes);
  CHECK_EQUAL(decoded.frames.size(), 0u);
  CHECK_EQUAL(decoded.damaged_bytes, bytes.size());
}

}  // namespace

int main() {
  test_checksum();
  test_round_trip();
  test_extremes();
  test_long_frames_are_split();
  test_size();
  test_damage_costs_the_damaged_frame();
  test_cut_and_garbage();
  test_hostile_bodies();
  test_false_beginnings();
  return check::result();
}
