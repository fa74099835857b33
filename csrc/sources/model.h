// Estimates for what is present and can't be read: gauges made of load and design power.
#pragma once

#include <memory>

#include "core/unit.h"

namespace pyprof {

// idle + (design - idle) x load of the whole machine, from proc/stat; unit of the channel: 1 mW.
std::unique_ptr<Unit> load_model(const Places& places, Channel channel, double idle_w,
                                 double design_w);

// The same power all the time, as memory has by its rule per gigabyte; unit of the channel: 1 mW.
std::unique_ptr<Unit> constant_model(Channel channel, double power_w);

}  // namespace pyprof
