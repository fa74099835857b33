// Recordings of the same counter made into one: nothing counts twice, and a gap stays a gap.
#include "check.h"
#include "core/account.h"
#include "core/coarse.h"
#include "core/splice.h"

using namespace pyprof;

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr double kWatts = 100;

uint64_t microjoules(int64_t t_ns) { return static_cast<uint64_t>(t_ns / 1000 * 100); }  // 100 W

Channel counter(uint64_t range = 0) {
  Channel channel;
  channel.id = "package-0";
  channel.domain = "package";
  channel.unit = 1e-6;
  channel.range = range;
  channel.limit_w = 1000;
  return channel;
}

// What a sampler reads every `step_ms` from `from_ms` to `to_ms`, in frames of ten changes.
std::vector<uint8_t> trace(int64_t from_ms, int64_t to_ms, int64_t step_ms, uint64_t range = 0,
                           uint32_t channel = 0) {
  std::vector<uint8_t> out;
  uint64_t seq = 0;
  Frame frame;
  frame.channel = channel;
  for (int64_t ms = from_ms; ms <= to_ms; ms += step_ms) {
    Change change;
    change.first_new_ns = change.at_ns = ms * kMs;
    change.last_old_ns = seq == 0 && frame.changes.empty() ? ms * kMs : (ms - step_ms) * kMs;
    change.flags = change.last_old_ns == change.first_new_ns ? uint8_t{kFirst} : uint8_t{0};
    change.raw = microjoules(ms * kMs);
    if (range != 0) change.raw %= range;
    frame.changes.push_back(change);
    if (frame.changes.size() == 10 || ms + step_ms > to_ms) {
      frame.first_seq = seq;
      frame.pulse = {ms * kMs, step_ms * kMs, 0, step_ms * kMs};
      seq += frame.changes.size();
      encode_frame(frame, out);
      frame.changes.clear();
    }
  }
  return out;
}

AccountResult account(const std::vector<uint8_t>& frames, int64_t from_ms, int64_t to_ms,
                      const Channel& channel = counter()) {
  Account made({channel}, from_ms * kMs, to_ms * kMs, Phase::kTraining);
  made.add_frames(frames);
  return made.solve();
}

size_t gaps(const AccountResult& result) {
  size_t found = 0;
  for (const auto& [index, event] : result.events) found += event.kind == "gap";
  return found;
}

void test_overlap_counts_once() {
  std::vector<uint8_t> out;
  Splice splice(1);
  splice.begin("a", {0}, 0);
  splice.add(trace(1000, 3000, 10), out);
  splice.begin("b", {0}, 0);
  splice.add(trace(2003, 5003, 10), out);
  splice.begin("c", {0}, 0);  // wholly covered
  splice.add(trace(2500, 2900, 10), out);
  const AccountResult result = account(out, 1000, 5000);
  CHECK_NEAR(result.energy_j, kWatts * 4, 0.05);
  CHECK_EQUAL(gaps(result), size_t{0});
  CHECK_NEAR(result.channels[0].coverage, 1.0, 0.01);
}

void test_a_gap_is_bridged_and_named() {
  std::vector<uint8_t> out;
  Splice splice(1);
  splice.begin("a", {0}, 0);
  splice.add(trace(1000, 2000, 10), out);
  splice.begin("b", {0}, 0);
  splice.add(trace(3500, 5000, 10), out);
  const AccountResult result = account(out, 1000, 5000);
  CHECK_NEAR(result.energy_j, kWatts * 4, 0.05);
  CHECK_EQUAL(gaps(result), size_t{1});
  CHECK_NEAR(result.channels[0].coverage, 2.5 / 4, 0.01);
}

void test_parts_of_one_stream_follow_on_and_a_lost_one_is_a_gap() {
  std::vector<std::vector<uint8_t>> parts(3);
  for (const Frame& frame : decode_frames(trace(0, 3000, 10)).frames) {
    encode_frame(frame, parts[static_cast<size_t>(std::min<int64_t>(
                            frame.changes.front().first_new_ns / (1000 * kMs), 2))]);
  }
  for (const bool whole : {true, false}) {
    std::vector<uint8_t> out;
    Splice splice(1);
    for (size_t i = 0; i < 3; ++i) {
      if (i == 1 && !whole) continue;
      splice.begin("agent", {0}, 0);
      splice.add(parts[i], out);
    }
    const AccountResult result = account(out, 0, 3000);
    CHECK_NEAR(result.energy_j, kWatts * 3, 0.05);
    CHECK_EQUAL(gaps(result), whole ? size_t{0} : size_t{1});
  }
}

void test_channels_are_mapped_and_times_shifted() {
  std::vector<uint8_t> out;
  Splice splice(1);
  splice.begin("a", {-1, 0}, 1000 * kMs);
  splice.add(trace(0, 2000, 10, 0, 1), out);
  splice.add(trace(0, 2000, 10, 0, 0), out);
  const Decoded decoded = decode_frames(out);
  CHECK(!decoded.frames.empty());
  CHECK_EQUAL(decoded.frames.front().changes.front().first_new_ns, 1000 * kMs);
  for (const Frame& frame : decoded.frames) CHECK_EQUAL(frame.channel, 0u);
}

void test_coarse_keeps_the_energy_and_hides_the_rest() {
  const Grain grain{1000 * kMs, 1.0};
  const uint64_t range = 262'144'000;  // wraps every 2.6 s
  Coarse coarse({counter(range)}, {grain});
  std::vector<uint8_t> out;
  coarse.add(trace(1000, 21000, 10, range), out);
  const Decoded decoded = decode_frames(out);
  std::vector<Change> changes;
  for (const Frame& frame : decoded.frames) {
    changes.insert(changes.end(), frame.changes.begin(), frame.changes.end());
    CHECK_EQUAL(frame.pulse.last_read_ns % kMs, 0);
  }
  CHECK(changes.size() >= 19 && changes.size() <= 22);
  for (size_t i = 2; i < changes.size(); ++i) {
    CHECK(changes[i].at_ns / grain.step_ns > changes[i - 1].at_ns / grain.step_ns);
  }
  const AccountResult result = account(out, 3000, 19000, coarse_channel(counter(range), grain));
  CHECK_NEAR(result.energy_j, kWatts * 16, 1.5);
  CHECK_EQUAL(gaps(result), size_t{0});
}

void test_coarse_gauges_keep_the_energy() {
  Channel gauge = counter();
  gauge.kind = Kind::kGauge;
  gauge.unit = 1e-3;
  const Grain grain{1000 * kMs, 1.0};
  Frame frame;
  for (int64_t ms = 0; ms <= 10000; ms += 50) {
    const uint64_t mw = ms / 50 % 2 == 0 ? 80'200 : 120'300;
    const int64_t before = ms == 0 ? 0 : ms - 10;
    frame.changes.push_back(
        {before * kMs, ms * kMs, ms * kMs, mw, ms == 0 ? uint8_t{kFirst} : uint8_t{0}});
  }
  frame.pulse = {10000 * kMs, 50 * kMs, 0, 10 * kMs};
  std::vector<uint8_t> bytes, out;
  encode_frame(frame, bytes);
  Coarse coarse({gauge}, {grain});
  coarse.add(bytes, out);
  size_t shown = 0;
  for (const Frame& each : decode_frames(out).frames) shown += each.changes.size();
  CHECK(shown <= 12);
  const AccountResult result = account(out, 0, 10000, coarse_channel(gauge, grain));
  CHECK_NEAR(result.energy_j, 1002.5, 3.0);
}

}  // namespace

int main() {
  test_overlap_counts_once();
  test_a_gap_is_bridged_and_named();
  test_parts_of_one_stream_follow_on_and_a_lost_one_is_a_gap();
  test_channels_are_mapped_and_times_shifted();
  test_coarse_keeps_the_energy_and_hides_the_rest();
  test_coarse_gauges_keep_the_energy();
  return check::result();
}
