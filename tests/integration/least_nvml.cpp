// The least that a GPU's library can offer: no look-up by UUID, no energy, no power, only how busy
// the GPU is.
#include <nvml.h>

#include <cstdio>

#define EXPORT extern "C" __attribute__((visibility("default")))

struct nvmlDevice_st {
  int index;
};

namespace {
nvmlDevice_st gpus[2] = {{0}, {1}};
}

EXPORT nvmlReturn_t nvmlInit_v2() { return NVML_SUCCESS; }

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int* count) {
  *count = 2;
  return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t* device) {
  if (index > 1) return NVML_ERROR_INVALID_ARGUMENT;
  *device = &gpus[index];
  return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char* uuid, unsigned int length) {
  std::snprintf(uuid, length, "GPU-%d", device->index);
  return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t, char* name, unsigned int length) {
  std::snprintf(name, length, "NVIDIA A100-SXM4-80GB");
  return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t* rates) {
  *rates = {device->index == 0 ? 0U : 100U, 0U};
  return NVML_SUCCESS;
}
