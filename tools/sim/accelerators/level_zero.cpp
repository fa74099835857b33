// A libze_loader.so.1 without hardware: the Sysman calls about power. A test holds its form to the
// vendor's own Python binding.
#include "sources/level_zero.h"

#include <cstdio>
#include <cstring>

#include "accelerators/accelerator.h"

namespace {

using namespace pyprof::level_zero;
using sim::Accelerator;

constexpr Result kInvalid = 0x78000004;

bool started = false;
int64_t asked = 0;

const sim::Machine& machine() { return sim::machine_beside(&started); }

// A device is its own power domain.
const Accelerator* device_of(Handle handle) {
  for (const Accelerator& device : machine().devices) {
    if (&device == handle) return &device;
  }
  return nullptr;
}

Handle handle_of(const Accelerator& device) { return const_cast<Accelerator*>(&device); }

Result give(const std::vector<Handle>& found, uint32_t* count, Handle* out) {
  if (!started) return kUninitialised;
  if (count == nullptr) return kInvalid;
  const uint32_t room = *count;
  if (room == 0 || room > found.size()) *count = static_cast<uint32_t>(found.size());
  if (out == nullptr) return kSuccess;
  for (uint32_t i = 0; i < room && i < found.size(); ++i) out[i] = found[i];
  return kSuccess;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

Result zesInit(uint32_t) {
  started = true;
  return kSuccess;
}

Result zesDriverGet(uint32_t* count, Handle* drivers) { return give({&started}, count, drivers); }

Result zesDeviceGet(Handle, uint32_t* count, Handle* devices) {
  std::vector<Handle> found;
  for (const Accelerator& device : machine().devices) found.push_back(handle_of(device));
  return give(found, count, devices);
}

Result zesDeviceGetProperties(Handle handle, DeviceProperties* properties) {
  const Accelerator* const device = device_of(handle);
  if (device == nullptr || properties->structure != 1) return kInvalid;
  std::snprintf(properties->core.name, sizeof properties->core.name, "%s", device->name.c_str());
  std::memset(properties->core.uuid, 0, sizeof properties->core.uuid);
  std::memcpy(properties->core.uuid, device->uuid.data(),
              std::min<size_t>(16, device->uuid.size()));
  properties->subdevices = 0;
  return kSuccess;
}

Result zesDevicePciGetProperties(Handle handle, PciProperties* properties) {
  const Accelerator* const device = device_of(handle);
  if (device == nullptr || properties->structure != 2) return kInvalid;
  const auto& place = device->place;
  properties->address = {place[0], place[1], place[2], place[3]};
  return kSuccess;
}

Result zesDeviceEnumPowerDomains(Handle handle, uint32_t* count, Handle* powers) {
  const Accelerator* const device = device_of(handle);
  return device == nullptr ? kInvalid : give({handle}, count, powers);
}

Result zesPowerGetProperties(Handle power, PowerProperties* properties) {
  const Accelerator* const device = device_of(power);
  if (device == nullptr || properties->structure != 0xd) return kInvalid;
  properties->on_subdevice = 0;
  properties->most_mw = static_cast<int32_t>(device->limit_mw);
  properties->default_mw = properties->least_mw = -1;
  return kSuccess;
}

Result zesPowerGetEnergyCounter(Handle power, EnergyCounter* counter) {
  const Accelerator* const device = device_of(power);
  if (!started) return kUninitialised;
  if (device == nullptr) return kInvalid;
  const int64_t t_ns = machine().now_ns();
  if (const Result refused = device->refusal_at(t_ns); refused != 0) return refused;
  const bool glitch = device->glitch_every > 0 && ++asked % device->glitch_every == 0;
  const double uj_per_count = device->counter.front().spec().quantum_j * 1e6;
  counter->energy_uj =
      glitch ? 5
             : static_cast<uint64_t>(static_cast<double>(device->count(t_ns)) * uj_per_count + 0.5);
  counter->stamp_us = static_cast<uint64_t>(sim::monotonic_ns() / 1000);
  return kSuccess;
}

}  // extern "C"
#pragma GCC visibility pop
