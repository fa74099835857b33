#include "core/hardware.h"

#include <algorithm>
#include <numeric>

namespace pyprof {

Selection::Selection(std::unique_ptr<Unit> unit)
    : unit_(std::move(unit)),
      channels_(unit_->channels()),
      taken_(channels_.size()),
      samples_(channels_.size()) {
  std::iota(taken_.begin(), taken_.end(), size_t{0});
}

void Selection::read(std::span<Sample> out) noexcept {
  if (taken_.size() == samples_.size()) return unit_->read(out);
  unit_->read(samples_);
  for (size_t i = 0; i < taken_.size(); ++i) out[i] = samples_[taken_[i]];
}

bool Selection::replace(const Channel& channel) {
  for (Channel& own : channels_) {
    if (own.id != channel.id) continue;
    own = channel;
    return true;
  }
  return false;
}

bool Selection::drop(const std::string& id) {
  for (size_t i = 0; i < channels_.size(); ++i) {
    if (channels_[i].id != id) continue;
    channels_.erase(channels_.begin() + static_cast<std::ptrdiff_t>(i));
    taken_.erase(taken_.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  return false;
}

void Hardware::add(std::unique_ptr<Unit> unit) {
  units_.push_back(std::make_unique<Selection>(std::move(unit)));
}

bool Hardware::replace(const Channel& channel) {
  return std::any_of(units_.begin(), units_.end(),
                     [&](const auto& unit) { return unit->replace(channel); });
}

bool Hardware::drop(const std::string& id) {
  const bool dropped =
      std::any_of(units_.begin(), units_.end(), [&](const auto& unit) { return unit->drop(id); });
  std::erase_if(units_, [](const auto& unit) { return unit->channels().empty(); });
  return dropped;
}

std::vector<Channel> Hardware::channels() const {
  std::vector<Channel> all;
  for (const auto& unit : units_) {
    all.insert(all.end(), unit->channels().begin(), unit->channels().end());
  }
  return all;
}

std::vector<std::unique_ptr<Unit>> Hardware::release() {
  std::vector<std::unique_ptr<Unit>> units;
  for (auto& unit : units_) units.push_back(std::move(unit));
  units_.clear();
  return units;
}

}  // namespace pyprof
