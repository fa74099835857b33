// This process' number without a system call: drivers' libraries must not be called in the child of
// a fork, which is asked before each call.
#pragma once

#include <sys/types.h>

#include <atomic>

namespace pyprof {

extern std::atomic<pid_t> process_number;

inline pid_t own_pid() noexcept { return process_number.load(std::memory_order_relaxed); }

}  // namespace pyprof
