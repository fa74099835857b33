#include "check.h"
#include "core/trace.h"

using namespace pyprof;

namespace {

Change at(int64_t t, uint64_t raw, uint8_t flags = 0) { return {t - 1, t, t, raw, flags}; }

void check_thinning_keeps_ends_and_flags() {
  TraceBuffer buffer(8);
  buffer.push(at(1, 100, kFirst));
  for (int64_t t = 2; t <= 60; ++t)
    buffer.push(at(t, static_cast<uint64_t>(100 + t), t == 20 ? kGap : 0));
  buffer.turn();
  const auto changes = buffer.taken();
  CHECK(changes.size() <= 8);
  CHECK(changes.front().flags == kFirst && changes.front().raw == 100);
  CHECK(changes.back().raw == 160);  // a cumulative counter: no energy is lost
  bool gap = false;
  for (size_t i = 0; i < changes.size(); ++i) {
    gap = gap || changes[i].flags == kGap;
    if (i > 0) CHECK(changes[i].first_new_ns > changes[i - 1].first_new_ns);
  }
  CHECK(gap);
  CHECK(buffer.thinned() == 60 - changes.size());
}

// Whatever is merged away, the sum of what is left is the whole, as integers.
void check_thinning_is_exact() {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    check::Random random(seed);
    TraceBuffer buffer(16);
    uint64_t raw = random.below(1'000'000), first = 0, last = 0, sum = 0, kept = 0, pushed = 0;
    for (int64_t t = 1; t <= 1000; ++t) {
      raw += random.below(1'000'000'000);
      const bool flagged = random.below(40) == 0;
      buffer.push(at(2 * t, raw, t == 1 ? kFirst : flagged ? kGap : 0));
      if (t == 1) first = last = raw;
      ++pushed;
      if (random.below(100) != 0 && t != 1000) continue;
      buffer.turn();
      for (const Change& change : buffer.taken()) {
        sum += change.raw - last;
        last = change.raw;
        ++kept;
      }
      CHECK(buffer.taken().empty() || buffer.taken().back().raw == raw);
    }
    CHECK_EQUAL(sum, raw - first);
    CHECK_EQUAL(kept + buffer.thinned(), pushed);
  }
}

void check_turn_empties() {
  TraceBuffer buffer(4);
  buffer.push(at(1, 1));
  buffer.turn();
  CHECK(buffer.taken().size() == 1);
  buffer.turn();
  CHECK(buffer.taken().empty());
}

void check_flagged_only() {
  TraceBuffer buffer(4);
  for (int64_t t = 1; t <= 40; ++t) buffer.push(at(t, static_cast<uint64_t>(t), kGap));
  buffer.turn();
  CHECK(buffer.taken().size() <= 4 && buffer.taken().back().raw == 40);
}

}  // namespace

int main() {
  check_thinning_keeps_ends_and_flags();
  check_thinning_is_exact();
  check_turn_empties();
  check_flagged_only();
  return check::result();
}
