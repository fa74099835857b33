// What becomes of each read, in simulated time.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "core/clock.h"
#include "core/latencies.h"
#include "core/sampler.h"
#include "core/slot.h"

using namespace pyprof;

namespace {

// Answers what it is told to.
class Puppet : public Unit {
 public:
  explicit Puppet(Lane lane) : lane_(lane) {
    Channel channel;
    channel.id = "puppet";
    channel.domain = "gpu";
    channels_ = {channel};
  }
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return lane_; }
  void read(std::span<Sample> out) noexcept override { out[0] = next; }
  std::string describe(int32_t code) const override { return "code " + std::to_string(code); }
  Sample next{0, Sample::Status::kOk, 0};

 private:
  Lane lane_;
  std::vector<Channel> channels_;
};

// A counter that steps every `period`, read when the slot wants to be, each read lasting `call`.
struct Scene {
  int64_t period = 100 * kNsPerMs, call = 10 * kNsPerUs, now = kNsPerS;
  uint64_t base = 1000;
  Puppet* unit;
  std::unique_ptr<Slot> slot;
  IncidentLog log;
  Latencies latencies;
  Plan plan;
  int reads = 0;

  explicit Scene(Following following, Lane lane = Lane::kVendor) {
    SamplerOptions options;
    options.following = following;
    auto owned = std::make_unique<Puppet>(lane);
    unit = owned.get();
    slot = std::make_unique<Slot>(std::move(owned), pace_of(lane, options), 0, 65536);
    slot->restrain_calls(true);
    plan = slot->start(now);
    read();
  }
  uint64_t raw() const { return base + static_cast<uint64_t>(now / period); }
  void read() {
    if (unit->next.status == Sample::Status::kOk) unit->next.raw = raw();
    answer();
  }
  void answer() {
    slot->read();
    slot->read_until(now + call);
    slot->store(now, plan, log);
    latencies.add(call);
    now += call;
    ++reads;
  }
  void run(int64_t length) {
    const int64_t end = now + length;
    while (plan.deadline_ns < end) {
      now = std::max(now, plan.deadline_ns) + 50 * kNsPerUs;
      read();
    }
    now = std::max(now, end);
  }
  void stand_still(int64_t length) {
    for (const int64_t end = now + length; plan.deadline_ns < end;) {
      now = std::max(now, plan.deadline_ns) + 50 * kNsPerUs;
      answer();
    }
  }
  void fail(Sample::Status status, int32_t code, int64_t length) {
    unit->next = {0, status, code};
    stand_still(length);
    unit->next = {0, Sample::Status::kOk, 0};
  }
  std::vector<Change> changes() {
    slot->channels()[0].buffer.turn();
    const auto taken = slot->channels()[0].buffer.taken();
    return {taken.begin(), taken.end()};
  }
  std::vector<SamplerEvent> events() {
    std::vector<Incident> incidents;
    incidents.reserve(IncidentLog::most());
    log.take(incidents);
    std::vector<SamplerEvent> events;
    for (const Incident& incident : incidents) events.push_back(in_words(incident));
    return events;
  }
};

bool told(const std::vector<SamplerEvent>& events, const std::string& kind,
          const std::string& words = "") {
  for (const SamplerEvent& event : events) {
    if (event.kind == kind && event.text.find(words) != std::string::npos) return true;
  }
  return false;
}

bool gapped(const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    if ((change.flags & kGap) != 0) return true;
  }
  return false;
}

// A burst that told nothing is followed by slower reads that look for the period; they end.
void check_after_a_burst() {
  Scene scene(Following::kDefault, Lane::kFiles);
  scene.period = kNsPerMs;
  for (int i = 0; i < 20; ++i) {
    scene.now += 3 * kNsPerMs;  // each read finds a change: the pacer comes to rest
    scene.read();
  }
  CHECK(scene.slot->can_burst());
  scene.plan = scene.slot->end_burst(scene.now, 0, 0);
  scene.run(kNsPerS);
  scene.reads = 0;
  scene.run(5 * kNsPerS);
  CHECK(scene.reads <= 52);
}

void check_one_read_an_update() {
  for (const Following following : {Following::kDefault, Following::kFine}) {
    Scene scene(following);
    scene.run(5 * kNsPerS);
    scene.changes();
    scene.reads = 0;
    scene.run(60 * kNsPerS);
    CHECK(scene.slot->pacer().mode() == Pacer::Mode::kLocked);
    const auto changes = scene.changes();
    CHECK(changes.size() >= 599 && changes.size() <= 601);
    const double reads = scene.reads / static_cast<double>(changes.size());
    CHECK(following == Following::kDefault ? reads < 1.2 : reads < 2.2);
    for (const Change& change : changes) {
      CHECK(change.last_old_ns <= change.at_ns && change.at_ns <= change.first_new_ns);
    }
    CHECK(scene.events().empty());
    CHECK(scene.slot->pacer().unseen() == 0);
  }
}

// A mark asks for brackets, but not without end.
void check_marks() {
  Scene quiet(Following::kDefault), busy(Following::kDefault);
  for (Scene* scene : {&quiet, &busy}) scene->run(10 * kNsPerS);
  quiet.reads = busy.reads = 0;
  for (int i = 0; i < 60; ++i) {
    quiet.run(kNsPerS);
    busy.plan = busy.slot->attend(busy.now, busy.plan, false);
    busy.run(kNsPerS);
  }
  CHECK(busy.reads > quiet.reads + 25);
  busy.reads = 0;
  for (int i = 0; i < 6000; ++i) {
    busy.plan = busy.slot->attend(busy.now, busy.plan, false);
    busy.run(10 * kNsPerMs);
  }
  CHECK(busy.reads > quiet.reads && busy.reads < 600 * 3 / 2);
}

void check_a_short_failure_keeps_the_lock() {
  Scene scene(Following::kFine);
  scene.run(5 * kNsPerS);
  scene.changes();
  scene.fail(Sample::Status::kFailed, 10, 150 * kNsPerMs);
  scene.run(2 * kNsPerS);
  CHECK(scene.slot->pacer().mode() == Pacer::Mode::kLocked);
  const auto events = scene.events();
  CHECK(told(events, "failed", "code 10"));
  CHECK(scene.slot->failed() > 0);
}

void check_lost_and_back() {
  Scene scene(Following::kDefault);
  scene.run(5 * kNsPerS);
  scene.changes();
  scene.fail(Sample::Status::kLost, 15, 5 * kNsPerS);
  const uint64_t failed = scene.slot->failed();
  CHECK(failed > 10 && failed < 70);  // tried again, less and less often
  scene.run(250 * kNsPerMs);
  CHECK(scene.slot->pacer().mode() == Pacer::Mode::kAcquire);  // its phase may be another
  scene.run(2 * kNsPerS);
  CHECK(scene.slot->pacer().mode() == Pacer::Mode::kLocked);
  CHECK(gapped(scene.changes()));
  const auto events = scene.events();
  CHECK(told(events, "lost", "code 15") && told(events, "back"));
}

void check_a_reset_is_looked_at_anew() {
  Scene scene(Following::kDefault);
  scene.run(5 * kNsPerS);
  scene.base = 0;
  scene.period = 20 * kNsPerMs;  // a new driver, another period
  scene.now -= scene.now % scene.period;
  scene.base = 0;
  scene.unit->next.raw = 3;
  scene.now += scene.period;
  scene.answer();
  CHECK(scene.slot->pacer().mode() == Pacer::Mode::kAcquire);
  scene.base = static_cast<uint64_t>(0) - static_cast<uint64_t>(scene.now / scene.period) + 4;
  scene.run(5 * kNsPerS);
  CHECK_NEAR(static_cast<double>(scene.slot->pacer().period_ns()), 20e6, 0.5e6);
}

void check_another_period_is_found() {
  Scene scene(Following::kDefault);
  scene.run(5 * kNsPerS);
  scene.base += static_cast<uint64_t>(scene.now / scene.period);
  scene.period = 37 * kNsPerMs;
  scene.base -= static_cast<uint64_t>(scene.now / scene.period);
  scene.run(60 * kNsPerS);
  CHECK_NEAR(static_cast<double>(scene.slot->pacer().period_ns()), 37e6, 0.5e6);
}

void check_a_jump_of_phase_is_followed() {
  for (const int64_t jump : {15 * kNsPerMs, 40 * kNsPerMs, 70 * kNsPerMs}) {
    for (const Following following : {Following::kDefault, Following::kFine}) {
      Scene scene(following);
      scene.run(10 * kNsPerS);
      scene.now += jump;  // the sensor's clock runs on, the pacer's plans stay
      scene.plan.ready_ns += jump;
      scene.plan.deadline_ns += jump;
      scene.run(90 * kNsPerS);
      scene.changes();
      scene.run(10 * kNsPerS);
      for (const Change& change : scene.changes()) {
        const int64_t off = change.at_ns % scene.period;
        CHECK(std::min(off, scene.period - off) < 3 * kNsPerMs);
      }
    }
  }
}

void check_a_stuck_counter_is_told_once() {
  Scene scene(Following::kDefault);
  scene.run(5 * kNsPerS);
  scene.unit->next.raw = scene.raw();
  scene.stand_still(30 * kNsPerS);
  int times = 0;
  for (const SamplerEvent& event : scene.events())
    times += event.text.find("stood still") != event.text.npos;
  CHECK_EQUAL(times, 1);
  CHECK(scene.slot->pacer().unseen() > 0);
}

void check_slow_calls() {
  Scene scene(Following::kDefault);
  scene.call = 8 * kNsPerMs;
  scene.run(30 * kNsPerS);
  CHECK(scene.slot->stride() >= 2);
  CHECK(told(scene.events(), "note", "takes over"));
  CHECK_NEAR(static_cast<double>(scene.latencies.quantile_ns(0.99)), 8e6, 1e6);
  scene.call = 10 * kNsPerUs;
  scene.run(600 * kNsPerS);
  CHECK_EQUAL(scene.slot->stride(), 1);
  CHECK(told(scene.events(), "note", "full pace"));
}

// Starved of the processor for two seconds: one gap, no burst of reads, and on it goes.
void check_starvation() {
  Scene scene(Following::kFine);
  scene.run(5 * kNsPerS);
  scene.changes();
  scene.now += 2 * kNsPerS;
  scene.reads = 0;
  scene.run(kNsPerS);
  CHECK(scene.reads < 40);
  const auto changes = scene.changes();
  CHECK(gapped(changes));
  CHECK(scene.slot->pacer().mode() == Pacer::Mode::kLocked);
  CHECK(scene.slot->pacer().unseen() >= 15);
}

}  // namespace

int main() {
  check_one_read_an_update();
  check_after_a_burst();
  check_marks();
  check_a_short_failure_keeps_the_lock();
  check_lost_and_back();
  check_a_reset_is_looked_at_anew();
  check_another_period_is_found();
  check_a_jump_of_phase_is_followed();
  check_a_stuck_counter_is_told_once();
  check_slow_calls();
  check_starvation();
  return check::result();
}
