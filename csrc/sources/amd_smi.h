// The few parts of AMD SMI's interface that pyprof calls: those that have kept their form since the
// library's first release. Structures that grew between releases are not used.
#pragma once

#include <cstdint>

namespace pyprof::amd_smi {

using Handle = void*;
using Status = uint32_t;

inline constexpr Status kSuccess = 0;
inline constexpr Status kNotSupported = 2;
inline constexpr Status kNoPermission = 10;
inline constexpr Status kNotFound = 31;
inline constexpr Status kNotInitialised = 32;
inline constexpr Status kDriverNotLoaded = 34;
inline constexpr Status kNoData = 40;

inline constexpr uint64_t kInitGpus = 2;
inline constexpr uint32_t kTypeGpu = 1;

using Init = Status (*)(uint64_t flags);
using ShutDown = Status (*)();
using GetSockets = Status (*)(uint32_t* count, Handle* sockets);
using GetProcessors = Status (*)(Handle socket, uint32_t* count, Handle* processors);
using GetType = Status (*)(Handle processor, uint32_t* type);
// Counts, microjoules per count, and the device's own time in ns.
using GetEnergy = Status (*)(Handle processor, uint64_t* count, float* resolution, uint64_t* stamp);
// Function in bits 0-2, device in 3-7, bus in 8-15, domain above.
using GetBusAddress = Status (*)(Handle processor, uint64_t* address);
using GetUuid = Status (*)(Handle processor, uint32_t* length, char* uuid);
// The structure begins with the market name, a text of at most 256 bytes.
using GetAsic = Status (*)(Handle processor, void* info);
using GetWords = Status (*)(Status status, const char** words);

}  // namespace pyprof::amd_smi
