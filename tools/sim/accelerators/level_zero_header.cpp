// Compiled where the vendor's own header is at hand: our declarations have its layout and codes.
#include <level_zero/zes_api.h>

#include <cstddef>

#include "sources/level_zero.h"

using namespace pyprof::level_zero;

static_assert(sizeof(PciProperties) == sizeof(zes_pci_properties_t));
static_assert(offsetof(PciProperties, address) == offsetof(zes_pci_properties_t, address));
static_assert(sizeof(DeviceProperties) == sizeof(zes_device_properties_t));
static_assert(offsetof(DeviceProperties, core.name) ==
              offsetof(zes_device_properties_t, core.name));
static_assert(offsetof(DeviceProperties, core.uuid) ==
              offsetof(zes_device_properties_t, core.uuid));
static_assert(offsetof(DeviceProperties, subdevices) ==
              offsetof(zes_device_properties_t, numSubdevices));
static_assert(sizeof(PowerProperties) == sizeof(zes_power_properties_t));
static_assert(offsetof(PowerProperties, on_subdevice) ==
              offsetof(zes_power_properties_t, onSubdevice));
static_assert(offsetof(PowerProperties, most_mw) == offsetof(zes_power_properties_t, maxLimit));
static_assert(sizeof(EnergyCounter) == sizeof(zes_power_energy_counter_t));
static_assert(offsetof(EnergyCounter, stamp_us) == offsetof(zes_power_energy_counter_t, timestamp));
static_assert(PciProperties{}.structure == ZES_STRUCTURE_TYPE_PCI_PROPERTIES);
static_assert(DeviceProperties{}.structure == ZES_STRUCTURE_TYPE_DEVICE_PROPERTIES);
static_assert(PowerProperties{}.structure == ZES_STRUCTURE_TYPE_POWER_PROPERTIES);
static_assert(kDeviceLost == ZE_RESULT_ERROR_DEVICE_LOST);
static_assert(kRequiresReset == ZE_RESULT_ERROR_DEVICE_REQUIRES_RESET);
static_assert(kLowPower == ZE_RESULT_ERROR_DEVICE_IN_LOW_POWER_STATE);
static_assert(kNoPermission == ZE_RESULT_ERROR_INSUFFICIENT_PERMISSIONS);
static_assert(kDependencyMissing == ZE_RESULT_ERROR_DEPENDENCY_UNAVAILABLE);
static_assert(kUninitialised == ZE_RESULT_ERROR_UNINITIALIZED);
static_assert(kUnsupported == ZE_RESULT_ERROR_UNSUPPORTED_FEATURE);
