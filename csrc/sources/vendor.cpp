#include "sources/vendor.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <future>
#include <thread>

namespace pyprof::vendor {
namespace {

// A sleeping GPU takes seconds to wake, and there may be many.
constexpr std::chrono::seconds kPatience{30};

}  // namespace

void* load(std::initializer_list<const char*> names, std::string& why) {
  for (const char* const name : names) {
    if (void* const handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return handle;
    const char* const says = dlerror();
    if (why.empty()) why = says != nullptr ? says : "the loader gave no reason";
  }
  return nullptr;
}

void* look_up(void* handle, const char* symbol) { return dlsym(handle, symbol); }

void refuse(SourceState& state, std::string reason, std::string remedy) {
  state.available = false;
  state.reason = std::move(reason);
  state.remedy = std::move(remedy);
}

std::optional<Found> look_patiently(std::function<Found()> look) {
  auto promise = std::make_shared<std::promise<Found>>();
  std::future<Found> answer = promise->get_future();
  std::thread([promise, look = std::move(look)] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    promise->set_value(look());
  }).detach();
  if (answer.wait_for(kPatience) != std::future_status::ready) return std::nullopt;
  return answer.get();
}

Found look_or_say(const char* source, const std::string& driver, const std::string& tool,
                  std::function<Found()> look) {
  if (auto found = look_patiently(std::move(look))) return std::move(*found);
  Found silent;
  silent.state.name = source;
  refuse(silent.state, driver + " has not answered for 30 s",
         tool + "; if that hangs too, restart the machine");
  return silent;
}

}  // namespace pyprof::vendor
