// Entries of stages: what is open where, and the log that their marks go to.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/mark.h"

namespace pyprof {

enum class State : uint8_t { kUnknown, kInactive, kActive };  // unknown: nobody was asked yet

inline constinit std::atomic<State> g_state{State::kUnknown};
// A session lies between a start and the next one: entries of an earlier one count as closed.
inline constinit std::atomic<uint32_t> g_session{1};

inline bool active() noexcept { return g_state.load(std::memory_order_relaxed) == State::kActive; }

// One entry of a stage: what the context variable holds and nested entries point to. It outlives
// its `with` block in tasks that inherited it, so the stage itself may be entered afresh meanwhile.
// Parents are older entries (a resumed one first drops what is closed from its line), so there are
// no cycles and the type needs no garbage collector.
struct Entry {
  enum class Life : uint8_t { kClosed, kOpen, kSuspended };
  PyObject ob_base;
  uint64_t token;
  Entry* parent;  // or null: the root
  uint32_t session;
  uint32_t name;
  Life life;
  Phase phase;  // resolved
};

// Makes the type and the context variable; false with an exception set.
bool prepare_entries();

inline bool is_open(const Entry* entry) noexcept {
  return entry->life == Entry::Life::kOpen &&
         entry->session == g_session.load(std::memory_order_relaxed);
}

inline Entry* hold(Entry* entry) noexcept {
  Py_XINCREF(reinterpret_cast<PyObject*>(entry));
  return entry;
}

inline void release(Entry* entry) noexcept { Py_XDECREF(reinterpret_cast<PyObject*>(entry)); }

// What an entry is of. Unset phases leave it to what is around: the parent, then `fallback`, then
// the session.
struct Label {
  PyObject* name;
  Phase phase;
  Phase fallback;
};

// A new entry under what the context has open, now its innermost; null if there is no memory.
// `flags` are those of its mark.
Entry* open_entry(const Label& label, uint8_t flags) noexcept;

// The context variable stays: the next beginning walks past what is closed. So an end costs half,
// and may happen in any task or thread.
void close_entry(Entry* entry, uint8_t flags) noexcept;

// A generator gives control to its caller: what it has open from its own entry inwards is not open
// meanwhile. Returns where its context stood, a new reference for `resume`, or null: its own entry.
Entry* suspend(Entry* own);
void resume(Entry* own, Entry* innermost);  // releases `innermost`

// The log that marks go to. Shared, because a drain goes on without the GIL while the next session
// gets a log of its own.
std::shared_ptr<MarkLog>& current_log();

// Another log and session; with `phase` for outermost stages that have none.
void start_session(Phase phase);
// For the child of a fork: nothing is open, and the log begins anew.
void forget_all();

}  // namespace pyprof
