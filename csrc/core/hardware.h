// Everything that was found on a machine and is to be sampled: units, with the channels as finally
// described. Made once, handed over to a Sampler once.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/unit.h"

namespace pyprof {

// Puts another description over a unit's channels and hides those that are not wanted.
class Selection : public Unit {
 public:
  explicit Selection(std::unique_ptr<Unit> unit);
  const std::vector<Channel>& channels() const override { return channels_; }
  Lane lane() const override { return unit_->lane(); }
  std::string describe(int32_t code) const override { return unit_->describe(code); }
  int64_t interval_ns() const override { return unit_->interval_ns(); }
  void read(std::span<Sample> out) noexcept override;
  Unit& reader() override { return taken_.size() == samples_.size() ? unit_->reader() : *this; }

  bool replace(const Channel& channel);
  bool drop(const std::string& id);

 private:
  std::unique_ptr<Unit> unit_;
  std::vector<Channel> channels_;
  std::vector<size_t> taken_;  // of the unit's channels, in order
  std::vector<Sample> samples_;
};

class Hardware {
 public:
  void add(std::unique_ptr<Unit> unit);
  bool replace(const Channel& channel);  // false: no channel of that id
  bool drop(const std::string& id);
  std::vector<Channel> channels() const;
  std::vector<std::unique_ptr<Unit>> release();  // for a Sampler; empties this

 private:
  std::vector<std::unique_ptr<Selection>> units_;
};

}  // namespace pyprof
