#include "core/crew.h"

#include <algorithm>
#include <utility>

#include "core/lane.h"

namespace pyprof {

Crew::Crew(SamplerOptions options)
    : options_(std::move(options)), watch_([this](int64_t now_ns) { return look(now_ns); }) {}

void Crew::add(std::shared_ptr<LaneThread> lane) {
  const std::lock_guard lock(mutex_);
  lanes_.push_back(std::move(lane));
}

std::vector<std::shared_ptr<LaneThread>> Crew::lanes() const {
  const std::lock_guard lock(mutex_);
  return lanes_;
}

size_t Crew::size() const {
  const std::lock_guard lock(mutex_);
  return lanes_.size();
}

double Crew::load() const {
  const std::lock_guard lock(mutex_);
  double sum = 0;
  for (const auto& lane : lanes_) sum += lane->load();
  return sum;
}

void Crew::start() {
  const auto started = lanes();
  if (std::any_of(started.begin(), started.end(), [](const auto& lane) { return lane->guarded(); }))
    watch_.start();
  for (const auto& lane : started) lane->start(shared_from_this());
}

void Crew::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  watch_.stop();
}

// Frees the units that wait behind a call that hangs.
int64_t Crew::look(int64_t now_ns) {
  const std::lock_guard lock(mutex_);
  int64_t again_ns = Watch::kNotAgain;
  if (closed_) return again_ns;
  for (size_t i = 0, count = lanes_.size(); i < count; ++i) {
    if (auto heir = lanes_[i]->leave_hung(now_ns)) {
      heir->start(shared_from_this());
      lanes_.push_back(std::move(heir));
    } else if (const int64_t at_ns = lanes_[i]->look_again_ns(now_ns); at_ns >= 0) {
      again_ns = again_ns < 0 ? at_ns : std::min(again_ns, at_ns);
    }
  }
  return again_ns;
}

}  // namespace pyprof
