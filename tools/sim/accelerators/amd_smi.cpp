// A libamd_smi.so without hardware. No registry carries the vendor's C header, so its form is held
// to the vendor's own Python binding by a test.
#include "sources/amd_smi.h"

#include <cstdio>
#include <cstring>

#include "accelerators/accelerator.h"

namespace {

using namespace pyprof::amd_smi;
using sim::Accelerator;

bool started = false;

const sim::Machine& machine() { return sim::machine_beside(&started); }

// A socket is a device, a processor one of its parts; both are addresses in these.
struct Part {
  const Accelerator* device;
  uint32_t number;
};

std::vector<Part>& parts() {
  static std::vector<Part> all = [] {
    std::vector<Part> made;
    for (const Accelerator& device : machine().devices) {
      for (uint32_t number = 0; number < device.processors; ++number) {
        made.push_back({&device, number});
      }
    }
    return made;
  }();
  return all;
}

const Part* part_of(Handle handle) {
  for (const Part& part : parts()) {
    if (&part == handle) return &part;
  }
  return nullptr;
}

Status give(const std::vector<Handle>& found, uint32_t* count, Handle* out) {
  if (!started) return kNotInitialised;
  if (count == nullptr) return 1;
  const uint32_t room = *count;
  *count = static_cast<uint32_t>(found.size());
  if (out == nullptr) return kSuccess;
  for (uint32_t i = 0; i < room && i < found.size(); ++i) out[i] = found[i];
  return kSuccess;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

Status amdsmi_init(uint64_t flags) {
  if (flags != kInitGpus) return 1;
  started = true;
  return kSuccess;
}

Status amdsmi_shut_down() {
  started = false;
  return kSuccess;
}

Status amdsmi_get_socket_handles(uint32_t* count, Handle* sockets) {
  std::vector<Handle> found;
  for (const Accelerator& device : machine().devices) {
    found.push_back(const_cast<Accelerator*>(&device));
  }
  return give(found, count, sockets);
}

Status amdsmi_get_processor_handles(Handle socket, uint32_t* count, Handle* processors) {
  std::vector<Handle> found;
  for (Part& part : parts()) {
    if (part.device == socket) found.push_back(&part);
  }
  return give(found, count, processors);
}

Status amdsmi_get_processor_type(Handle processor, uint32_t* type) {
  if (part_of(processor) == nullptr) return 1;
  *type = kTypeGpu;
  return kSuccess;
}

Status amdsmi_get_energy_count(Handle processor, uint64_t* count, float* resolution,
                               uint64_t* stamp) {
  const Part* const part = part_of(processor);
  if (!started) return kNotInitialised;
  if (part == nullptr || count == nullptr || resolution == nullptr || stamp == nullptr) return 1;
  const int64_t t_ns = machine().now_ns();
  if (const Status refused = part->device->refusal_at(t_ns); refused != 0) return refused;
  *count = part->device->count(t_ns);
  *resolution = static_cast<float>(part->device->counter.front().spec().quantum_j * 1e6);
  *stamp = static_cast<uint64_t>(sim::monotonic_ns());
  return kSuccess;
}

Status amdsmi_get_gpu_device_bdf(Handle processor, uint64_t* address) {
  const Part* const part = part_of(processor);
  if (part == nullptr) return 1;
  const auto& place = part->device->place;
  *address = static_cast<uint64_t>(place[0]) << 16 | place[1] << 8 | place[2] << 3 |
             (place[3] + part->number);
  return kSuccess;
}

Status amdsmi_get_gpu_device_uuid(Handle processor, uint32_t* length, char* uuid) {
  const Part* const part = part_of(processor);
  if (part == nullptr || *length < 38) return 41;
  std::snprintf(uuid, *length, "%s", part->device->uuid.c_str());
  return kSuccess;
}

Status amdsmi_get_gpu_asic_info(Handle processor, void* info) {
  const Part* const part = part_of(processor);
  if (part == nullptr) return 1;
  std::snprintf(static_cast<char*>(info), 256, "%s", part->device->name.c_str());
  return kSuccess;
}

Status amdsmi_status_code_to_string(Status status, const char** words) {
  *words = status == kSuccess          ? "Success"
           : status == kNotSupported   ? "Feature not supported"
           : status == kNoPermission   ? "Permission denied"
           : status == kNotInitialised ? "Device not initialized"
                                       : "Unknown error";
  return kSuccess;
}

}  // extern "C"
#pragma GCC visibility pop
