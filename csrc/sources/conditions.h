// What explains a GPU's power: how busy and how warm it is, its clock, and what holds it back.
// Gauges that count nothing, read at a slow pace.
#pragma once

#include <memory>
#include <string>

#include "core/unit.h"

namespace pyprof {

// Domain of their channels: these are no energies.
inline constexpr const char* kConditionDomain = "condition";

// Channels ID/busy (a share of the time), ID/sm-clock (MHz), ID/temperature (degrees Celsius),
// ID/power-capped and ID/too-hot (0 or 1), as far as the driver tells them. Null, with a reason, if
// it tells none.
std::unique_ptr<Unit> nvml_conditions(const Places& places, const std::string& gpu,
                                      const std::string& uuid, std::string& why_not);

}  // namespace pyprof
