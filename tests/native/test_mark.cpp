// Marks: what is logged comes back, in order, with its names, however it was cut into frames.
#include <map>
#include <thread>

#include "check.h"
#include "core/mark.h"

using namespace pyprof;

namespace {

bool same(const Mark& left, const Mark& right) {
  const bool begin = left.kind == Mark::Kind::kBegin;
  return left.kind == right.kind && left.flags == right.flags && left.phase == right.phase &&
         left.t_ns == right.t_ns && left.token == right.token &&
         (!begin || (left.parent == right.parent && left.name == right.name));
}

Mark random_mark(check::Random& random, uint64_t token) {
  Mark mark;
  mark.kind = random.below(2) == 0 ? Mark::Kind::kBegin : Mark::Kind::kEnd;
  mark.flags = static_cast<uint8_t>(random.below(16));
  mark.phase = static_cast<Phase>(random.below(4));
  mark.t_ns = static_cast<int64_t>(random.below(1'000'000'000'000));
  mark.token = token;
  mark.parent = random.below(3) == 0 ? 0 : random.bits();
  if (mark.parent == token) mark.parent = 0;
  mark.name = static_cast<uint32_t>(random.below(5));
  return mark;
}

void test_round_trip() {
  check::Random random(1);
  MarkLog log;
  std::vector<Mark> logged;
  std::vector<uint8_t> bytes;
  for (int drain = 0; drain < 5; ++drain) {
    const size_t count = drain == 2 ? 10'000 : random.below(100);
    for (size_t i = 0; i < count; ++i) {
      logged.push_back(random_mark(random, 1 + random.below(1'000'000)));
      log.append(logged.back());
    }
    const auto part = log.drain();
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  CHECK_EQUAL(log.pending(), 0u);
  CHECK(log.drain().empty());
  const DecodedMarks decoded = decode_marks(bytes);
  CHECK_EQUAL(decoded.damaged_bytes, 0u);
  size_t seen = 0;
  for (const MarkFrame& frame : decoded.frames) {
    if (!frame.marks.empty()) CHECK_EQUAL(frame.seq, seen);
    for (const Mark& mark : frame.marks) CHECK(same(mark, logged.at(seen++)));
  }
  CHECK_EQUAL(seen, logged.size());
}

std::map<uint32_t, std::string> names_in(const DecodedMarks& decoded) {
  std::map<uint32_t, std::string> names;
  for (const MarkFrame& frame : decoded.frames)
    names.insert(frame.names.begin(), frame.names.end());
  return names;
}

void test_names() {
  MarkLog log;
  CHECK_EQUAL(log.intern("a"), 0u);
  CHECK_EQUAL(log.intern("b/\\ \xC3\xA9"), 1u);
  CHECK_EQUAL(log.intern("a"), 0u);
  log.append({});
  std::vector<uint8_t> bytes = log.drain();
  CHECK_EQUAL(log.intern(""), 2u);
  log.append({});
  const auto more = log.drain();
  bytes.insert(bytes.end(), more.begin(), more.end());
  const auto names = names_in(decode_marks(bytes));
  CHECK_EQUAL(names.size(), 3u);
  CHECK_EQUAL(names.at(1), "b/\\ \xC3\xA9");
  CHECK_EQUAL(names.at(2), "");
}

void test_too_many_names_share_one() {
  MarkLog log;
  for (uint32_t i = 0; i < MarkLog::kMaxNames; ++i)
    CHECK_EQUAL(log.intern("name " + std::to_string(i)), i);
  CHECK_EQUAL(log.intern("one more"), MarkLog::kMaxNames);
  CHECK_EQUAL(log.intern("and another"), MarkLog::kMaxNames);
  CHECK_EQUAL(log.intern("name 9999"), 9999u);
  log.append({});
  const auto names = names_in(decode_marks(log.drain()));
  CHECK_EQUAL(names.size(), size_t{MarkLog::kMaxNames} + 1);
  CHECK_EQUAL(names.at(MarkLog::kMaxNames), "(other)");
  CHECK_EQUAL(names.at(9999), "name 9999");
}

void test_clear() {
  MarkLog log;
  log.intern("a");
  log.append({});
  log.clear();
  CHECK_EQUAL(log.pending(), 0u);
  CHECK(log.drain().empty());
  CHECK_EQUAL(log.intern("b"), 0u);
}

void test_threads() {
  MarkLog log;
  constexpr int kThreads = 4;
  constexpr uint64_t kEach = 5000;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&log, i] {
      for (uint64_t n = 0; n < kEach; ++n) {
        Mark mark;
        mark.name = log.intern("thread " + std::to_string(i));
        mark.token = n + 1;
        log.append(mark);
      }
    });
  }
  size_t seen = 0;
  const auto count = [&] {
    for (const MarkFrame& frame : decode_marks(log.drain()).frames) seen += frame.marks.size();
  };
  while (seen < kThreads * kEach / 2) count();
  for (std::thread& thread : threads) thread.join();
  count();
  CHECK_EQUAL(seen, kThreads * kEach);
}

void test_damage() {
  check::Random random(2);
  std::vector<uint8_t> whole;
  for (int i = 0; i < 5; ++i) {
    MarkFrame frame;
    frame.seq = static_cast<uint64_t>(i) * 20;
    frame.names.emplace_back(i, "name");
    for (uint64_t k = 0; k < 20; ++k) frame.marks.push_back(random_mark(random, k + 1));
    encode_marks(frame, whole);
  }
  CHECK_EQUAL(decode_marks(whole).frames.size(), 5u);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint8_t> bytes = whole;
    const size_t at = random.below(bytes.size());
    bytes[at] = static_cast<uint8_t>(bytes[at] ^ (1u << random.below(8)));
    CHECK_EQUAL(decode_marks(bytes).frames.size(), 4u);
  }
  for (size_t cut = 0; cut < whole.size(); ++cut)
    CHECK(decode_marks(std::span(whole).first(cut)).frames.size() < 5);
}

}  // namespace

int main() {
  test_round_trip();
  test_names();
  test_too_many_names_share_one();
  test_clear();
  test_threads();
  test_damage();
  return check::result();
}
