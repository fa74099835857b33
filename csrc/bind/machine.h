// Every source asked once, and what each found.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/channel.h"
#include "core/hardware.h"
#include "sources/table.h"

namespace pyprof {

struct FoundView {
  SourceState state;
  std::vector<Channel> channels;
  std::vector<Channel> unreadable;
  std::vector<std::string> notes;
};

struct Machine {
  Places places;
  Hardware hardware;
  std::vector<FoundView> found;

  Machine(Places at, const std::optional<std::vector<std::string>>& wanted);

 private:
  void adopt_found(Found result);
};

}  // namespace pyprof
