#include "accelerators/accelerator.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>

namespace sim {
namespace {

std::string folder_of(const void* symbol) {
  Dl_info info{};
  if (dladdr(symbol, &info) == 0) return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

struct Draft {
  Accelerator device;
  SignalDraft signal;
  pyprof::SensorSpec sensor;
};

void read_place(const Line& line, Accelerator& device) {
  for (size_t i = 0; i < device.place.size(); ++i) {
    device.place[i] = static_cast<uint32_t>(line.integer(i));
  }
}

void read_line_of(const Line& line, Draft& draft) {
  Accelerator& device = draft.device;
  if (line.key == "name")
    device.name = line.text();
  else if (line.key == "uuid")
    device.uuid = line.word(0);
  else if (line.key == "place")
    read_place(line, device);
  else if (line.key == "processors")
    device.processors = static_cast<uint32_t>(line.integer(0));
  else if (line.key == "limit_mw")
    device.limit_mw = line.integer(0);
  else if (line.key == "glitch_every")
    device.glitch_every = line.integer(0);
  else if (line.key == "reset")
    device.resets_ns.push_back(line.integer(0));
  else if (line.key == "fault")
    device.refusals.push_back({span_of(line), static_cast<uint32_t>(line.integer(2))});
  else if (line.key == "counter")
    draft.sensor = sensor_of(line);
  else if (line.key == "signal")
    draft.signal.begin(line);
  else if (line.key == "segment")
    draft.signal.add(line);
  else
    throw std::runtime_error("line " + std::to_string(line.number) + ": unknown key");
}

Machine read_machine(const std::string& path) {
  Machine machine;
  std::vector<Draft> drafts;
  for (const Line& line : read_spec(path)) {
    if (line.key == "epoch_ns")
      machine.epoch_ns = line.integer(0);
    else if (line.key == "device")
      drafts.emplace_back();
    else if (drafts.empty())
      throw std::runtime_error("no device yet");
    else
      read_line_of(line, drafts.back());
  }
  for (Draft& draft : drafts) {
    draft.device.counter.emplace_back(draft.signal.finish(), draft.sensor);
    machine.devices.push_back(std::move(draft.device));
  }
  return machine;
}

}  // namespace

uint64_t Accelerator::count(int64_t t_ns) const {
  return counter_after_resets(counter.front(), resets_ns, t_ns);
}

uint32_t Accelerator::refusal_at(int64_t t_ns) const {
  for (const Refusal& refusal : refusals) {
    if (refusal.span.holds(t_ns)) return refusal.code;
  }
  return 0;
}

const Machine& machine_beside(const void* symbol) {
  static const Machine only = [symbol] {
    const std::string path = folder_of(symbol) + "/machine.spec";
    try {
      return read_machine(path);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "simulated library: %s: %s\n", path.c_str(), error.what());
      std::abort();
    }
  }();
  return only;
}

}  // namespace sim
