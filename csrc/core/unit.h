// A Unit is the least that can be read at once: one RAPL zone, one GPU, one model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/channel.h"

namespace pyprof {

// "permission denied (errno 13)" and the like, in lower case.
std::string describe_errno(int error);

// One channel's share of one read. A failed read has no value: `raw` is then meaningless.
struct Sample {
  enum class Status : int32_t { kOk, kFailed, kDenied, kLost };
  uint64_t raw = 0;
  Status status = Status::kFailed;
  int32_t code = 0;  // errno or the vendor's return code
};

// Which thread reads a unit. Vendor calls may block for a long time and must delay nobody else;
// what takes long and is wanted seldom has a thread of its own.
enum class Lane : uint8_t { kFiles = 0, kVendor = 1, kSlow = 2 };

class Unit {
 public:
  virtual ~Unit() = default;
  virtual const std::vector<Channel>& channels() const = 0;
  // One sample for each channel, in the order of channels(). Called by one thread only; never
  // allocates, never throws, never takes a lock that a Python thread may hold.
  virtual void read(std::span<Sample> out) noexcept = 0;
  virtual Lane lane() const { return Lane::kFiles; }
  // Whoever really reads, for a unit that only passes calls on.
  virtual Unit& reader() { return *this; }
  // What a failed sample's code means, in words. Any thread may ask while another reads.
  virtual std::string describe(int32_t code) const;
  // > 0: not a sensor with updates of its own; read it at this interval, not more often.
  virtual int64_t interval_ns() const { return 0; }
};

// What a source found, whether or not it can be read.
struct SourceState {
  std::string name;
  bool available = false;
  std::string reason;  // why not, or what is limited: path and errno in words; "" when all is well
  std::string remedy;  // the command that mends it, "" if there is none
};

// Where to look. Every reader of files takes a root, every library a path.
struct Places {
  std::string sysfs = "/sys";
  std::string proc = "/proc";
  std::string nvml;             // path of libnvidia-ml; "": the system's
  std::string amd_smi = "";     // of libamd_smi
  std::string level_zero = "";  // of libze_loader
  std::string meter = "";       // pipe, serial line or file of an external meter; "": none
};

struct Found {
  SourceState state;
  std::vector<std::unique_ptr<Unit>> units;  // readable
  std::vector<Channel> unreadable;           // present without a reading; quality "unmeasured"
  std::vector<std::string> notes;            // to be said aloud: mirrored zones, unknown fields
};

}  // namespace pyprof
