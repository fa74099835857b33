// What all libraries of GPU vendors have in common: loaded by dlopen, once, and never asked in a
// forked child; the first questions are put with patience.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/process.h"
#include "core/unit.h"

namespace pyprof::vendor {

// Null, with the loader's word in `why`, if none of the names can be loaded. A library stays mapped
// for good: it may have left threads behind.
void* load(std::initializer_list<const char*> names, std::string& why);
void* look_up(void* handle, const char* symbol);

template <typename Function>
void look_up(void* handle, const char* symbol, Function& function) {
  static_assert(std::is_pointer_v<Function>);
  function = reinterpret_cast<Function>(look_up(handle, symbol));
}

void refuse(SourceState& state, std::string reason, std::string remedy);

// A wedged driver never answers, and whoever measures must not hang with it: `look` runs in a
// thread of its own, which is left behind after 30 s. Nothing, if it has not ended by then.
std::optional<Found> look_patiently(std::function<Found()> look);

// The same, for a source that then says so; `tool` is the vendor's own.
Found look_or_say(const char* source, const std::string& driver, const std::string& tool,
                  std::function<Found()> look);

// Handles by the usual two calls: how many there are, then which. `get` returns 0 for success.
template <typename Get, typename... Of>
std::vector<void*> list(Get get, Of... of) {
  uint32_t count = 0;
  if (get(of..., &count, nullptr) != 0) return {};
  std::vector<void*> handles(count);
  if (get(of..., &count, handles.data()) != 0) return {};
  handles.resize(std::min<size_t>(count, handles.size()));
  return handles;
}

// One started library per path, kept as long as anybody uses it. `start` gives a new one, or null.
template <typename Library>
class Shared {
 public:
  template <typename Start>
  std::shared_ptr<Library> get(const std::string& path, Start start) {
    const std::lock_guard lock(mutex_);
    auto library = opened_[path].lock();
    if (library != nullptr && library->owner == own_pid()) return library;
    library = start();
    opened_[path] = library;
    return library;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<Library>> opened_;
};

}  // namespace pyprof::vendor
