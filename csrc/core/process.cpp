#include "core/process.h"

#include <pthread.h>
#include <unistd.h>

namespace pyprof {
namespace {

pid_t look_at_forks() {
  pthread_atfork(nullptr, nullptr, [] { process_number = getpid(); });
  return getpid();
}

}  // namespace

std::atomic<pid_t> process_number{look_at_forks()};

}  // namespace pyprof
