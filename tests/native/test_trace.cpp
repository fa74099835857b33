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
  std::vector<Change> changes;
  buffer.take(changes);
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

void check_take_empties() {
  TraceBuffer buffer(4);
  buffer.push(at(1, 1));
  buffer.beat({7, 3, 1, 2});
  std::vector<Change> changes;
  CHECK(buffer.take(changes).last_read_ns == 7);
  CHECK(changes.size() == 1);
  CHECK(buffer.take(changes).period_ns == 3);
  CHECK(changes.empty());
}

void check_flagged_only() {
  TraceBuffer buffer(4);
  for (int64_t t = 1; t <= 40; ++t) buffer.push(at(t, static_cast<uint64_t>(t), kGap));
  std::vector<Change> changes;
  buffer.take(changes);
  CHECK(changes.size() <= 4 && changes.back().raw == 40);
}

}  // namespace

int main() {
  check_thinning_keeps_ends_and_flags();
  check_take_empties();
  check_flagged_only();
  return check::result();
}
