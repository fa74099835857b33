// The few parts of Level Zero's Sysman interface (specification 1.5 and later) that pyprof calls,
// in the form that its public header zes_api.h gives them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyprof::level_zero {

using Handle = void*;
using Result = uint32_t;

inline constexpr Result kSuccess = 0;
inline constexpr Result kDeviceLost = 0x70000001;
inline constexpr Result kRequiresReset = 0x70000006;
inline constexpr Result kLowPower = 0x70000007;
inline constexpr Result kNoPermission = 0x70010000;
inline constexpr Result kDependencyMissing = 0x70020000;
inline constexpr Result kUninitialised = 0x78000001;
inline constexpr Result kUnsupported = 0x78000003;

struct PciAddress {
  uint32_t domain, bus, device, function;
};

struct PciProperties {
  uint32_t structure = 2;
  void* next = nullptr;
  PciAddress address;
  struct {
    int32_t generation, width;
    int64_t bandwidth;
  } speed;
  uint8_t counters[3];
};
static_assert(sizeof(PciProperties) == 56 && offsetof(PciProperties, address) == 16);

struct DeviceProperties {
  uint32_t structure = 1;
  void* next = nullptr;
  struct {
    uint32_t structure;
    void* next;
    uint32_t type, vendor, device, flags, subdevice, clock_mhz;
    uint64_t largest_allocation;
    uint32_t hardware_contexts, queue_priority, units[5];
    uint64_t timer_resolution;
    uint32_t timestamp_bits, kernel_timestamp_bits;
    uint8_t uuid[16];
    char name[256];
  } core;
  uint32_t subdevices;
  char serial[64], board[64], brand[64], model[64], vendor[64], driver[64];
};
static_assert(sizeof(DeviceProperties) == 776 && offsetof(DeviceProperties, core) == 16);

struct PowerProperties {
  uint32_t structure = 0xd;
  void* next = nullptr;
  uint8_t on_subdevice;
  uint32_t subdevice;
  uint8_t can_control, has_threshold;
  int32_t default_mw, least_mw, most_mw;
};
static_assert(sizeof(PowerProperties) == 40 && offsetof(PowerProperties, most_mw) == 36);

struct EnergyCounter {
  uint64_t energy_uj, stamp_us;
};
static_assert(sizeof(EnergyCounter) == 16);

using Init = Result (*)(uint32_t flags);
using GetDrivers = Result (*)(uint32_t* count, Handle* drivers);
using GetDevices = Result (*)(Handle driver, uint32_t* count, Handle* devices);
using GetDeviceProperties = Result (*)(Handle device, DeviceProperties* properties);
using GetPciProperties = Result (*)(Handle device, PciProperties* properties);
using GetCardPower = Result (*)(Handle device, Handle* power);
using GetPowers = Result (*)(Handle device, uint32_t* count, Handle* powers);
using GetPowerProperties = Result (*)(Handle power, PowerProperties* properties);
using GetEnergy = Result (*)(Handle power, EnergyCounter* counter);

}  // namespace pyprof::level_zero
