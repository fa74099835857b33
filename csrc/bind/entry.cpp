#include "bind/entry.h"

#include <exception>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"

namespace pyprof {
namespace {

constinit std::atomic<Phase> g_phase{Phase::kTraining};
constinit std::atomic<uint64_t> g_token{0};

// These change with the GIL held.
PyObject* g_current = nullptr;  // context variable: the innermost Entry, or None
PyObject* g_indices = nullptr;  // dict from name to its index in the log

// What goes wrong in here is no business of the program that is measured.
void forget_error() noexcept { PyErr_Clear(); }

bool intern_new(PyObject* name, uint32_t& index) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(name, &size);
  if (text == nullptr) return false;
  index = current_log()->intern(std::string_view(text, static_cast<size_t>(size)));
  if (index >= MarkLog::kMaxNames) return true;  // "(other)" is not remembered: bounded memory
  PyObject* number = PyLong_FromUnsignedLong(index);
  if (number == nullptr) return false;
  const int failed = PyDict_SetItem(g_indices, name, number);
  Py_DECREF(number);
  return failed == 0;
}

bool index_of(PyObject* name, uint32_t& index) {
  PyObject* known = PyDict_GetItemWithError(g_indices, name);
  if (known != nullptr) {
    index = static_cast<uint32_t>(PyLong_AsUnsignedLong(known));
    return true;
  }
  return PyErr_Occurred() == nullptr && intern_new(name, index);
}

// A line of parents may be long: released in a loop, since recursion would eat the C stack.
void entry_dealloc(PyObject* self) {
  Entry* parent = reinterpret_cast<Entry*>(self)->parent;
  PyObject_Free(self);
  while (parent != nullptr) {
    Entry* next = nullptr;
    if (Py_REFCNT(parent) == 1) std::swap(next, parent->parent);
    Py_DECREF(parent);
    parent = next;
  }
}

PyTypeObject g_entry_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

bool prepare_entry_type() {
  g_entry_type.tp_name = "pyprof._native._StageEntry";
  g_entry_type.tp_basicsize = sizeof(Entry);
  g_entry_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  g_entry_type.tp_dealloc = entry_dealloc;
  g_entry_type.tp_doc = "An entry of a stage.";
  return PyType_Ready(&g_entry_type) == 0;
}

// Lets an entry point past closed ancestors: a chain of tasks that each begin inside the one before
// would otherwise keep all of them.
void skip_closed_parents(Entry* entry) noexcept {
  while (entry->parent != nullptr && !is_open(entry->parent)) {
    Entry* closed = entry->parent;
    entry->parent = hold(closed->parent);
    release(closed);
  }
}

// Borrowed; null: the root.
Entry* first_open(Entry* entry) noexcept {
  while (entry != nullptr && !is_open(entry)) entry = entry->parent;
  return entry;
}

// The context's own entry, new reference; null (and no error) if there is none.
Entry* current_entry() noexcept {
  PyObject* value = nullptr;
  if (PyContextVar_Get(g_current, nullptr, &value) != 0) forget_error();
  if (value != nullptr && Py_TYPE(value) == &g_entry_type) return reinterpret_cast<Entry*>(value);
  Py_XDECREF(value);
  return nullptr;
}

void set_current(Entry* entry) noexcept {
  PyObject* value = entry == nullptr ? Py_None : reinterpret_cast<PyObject*>(entry);
  PyObject* token = PyContextVar_Set(g_current, value);
  if (token == nullptr) forget_error();
  Py_XDECREF(token);
}

// Clock last. Lost when there is no memory: the program goes on.
void log_begin(Entry* entry, uint8_t flags) noexcept {
  entry->token = g_token.fetch_add(1, std::memory_order_relaxed) + 1;
  entry->life = Entry::Life::kOpen;
  Mark mark;
  mark.flags = flags;
  mark.phase = entry->phase;
  mark.token = entry->token;
  mark.parent = entry->parent == nullptr ? 0 : entry->parent->token;
  mark.name = entry->name;
  MarkLog& log = *current_log();
  try {
    mark.t_ns = monotonic_ns();
    log.append(mark);
  } catch (const std::exception&) {
    entry->life = Entry::Life::kClosed;
  }
}

void log_end(Entry* entry, int64_t t_ns, Entry::Life life, uint8_t flags = 0) noexcept {
  const bool known = active() && is_open(entry);
  entry->life = life;
  if (!known) return;
  Mark mark;
  mark.kind = Mark::Kind::kEnd;
  mark.flags = flags;
  mark.phase = entry->phase;
  mark.token = entry->token;
  mark.t_ns = t_ns;
  try {
    current_log()->append(mark);
  } catch (const std::exception&) {
  }
}

Phase resolve(const Label& label, const Entry* parent) noexcept {
  if (label.phase != Phase::kUnset) return label.phase;
  if (parent != nullptr) return parent->phase;
  if (label.fallback != Phase::kUnset) return label.fallback;
  return g_phase.load(std::memory_order_relaxed);
}

Entry* new_entry(const Label& label, Entry* parent) noexcept {
  uint32_t name = 0;
  try {
    if (!index_of(label.name, name)) return nullptr;
  } catch (const std::exception&) {
    return nullptr;
  }
  Entry* entry = PyObject_New(Entry, &g_entry_type);
  if (entry == nullptr) return nullptr;
  entry->token = 0;
  entry->parent = hold(parent);
  entry->session = g_session.load(std::memory_order_relaxed);
  entry->name = name;
  entry->life = Entry::Life::kClosed;
  entry->phase = resolve(label, parent);
  return entry;
}

// The entries from the context's innermost one up to `last`; empty if `last` is not among them.
std::vector<Entry*> line_up_to(Entry* top, Entry* last) {
  std::vector<Entry*> line;
  for (Entry* at = top; at != nullptr; at = at->parent) {
    line.push_back(at);
    if (at == last) return line;
  }
  return {};
}

// Drops everything closed from the line of parents: the resumed entry, closed now, may be in it.
Entry* open_line(Entry* top) noexcept {
  Entry* first = first_open(top);
  for (Entry* at = first; at != nullptr; at = at->parent) skip_closed_parents(at);
  return first;
}

// Names are numbered by their log, so both are new together.
void new_log(bool leak_old) {
  auto fresh = std::make_shared<MarkLog>();
  PyDict_Clear(g_indices);
  current_log().swap(fresh);
  // In the child of a fork its lock may be held by a thread that is no more.
  if (leak_old) (void)new std::shared_ptr<MarkLog>(std::move(fresh));
}

}  // namespace

std::shared_ptr<MarkLog>& current_log() {
  static auto& holder = *new std::shared_ptr<MarkLog>(std::make_shared<MarkLog>());
  return holder;
}

bool prepare_entries() {
  if (g_indices == nullptr) g_indices = PyDict_New();
  if (g_current == nullptr) g_current = PyContextVar_New("pyprof.stage", nullptr);
  return g_indices != nullptr && g_current != nullptr && prepare_entry_type();
}

Entry* open_entry(const Label& label, uint8_t flags) noexcept {
  Entry* top = current_entry();
  Entry* parent = first_open(top);
  if (parent != nullptr) skip_closed_parents(parent);
  Entry* entry = new_entry(label, parent);
  release(top);
  if (entry == nullptr) {
    forget_error();
    return nullptr;
  }
  set_current(entry);
  log_begin(entry, flags);
  return entry;
}

void close_entry(Entry* entry, uint8_t flags) noexcept {
  log_end(entry, monotonic_ns(), Entry::Life::kClosed, flags);
}

Entry* suspend(Entry* own) {
  const int64_t t_ns = monotonic_ns();
  Entry* top = current_entry();
  const std::vector<Entry*> line = line_up_to(top, own);
  for (Entry* entry : line) {
    if (is_open(entry)) log_end(entry, t_ns, Entry::Life::kSuspended);
  }
  if (!line.empty()) {
    set_current(first_open(own->parent));
    return top;
  }
  release(top);  // the generator moved to another context: its stage alone is left
  log_end(own, t_ns, Entry::Life::kSuspended);
  return nullptr;
}

void resume(Entry* own, Entry* innermost) {
  if (innermost == nullptr) innermost = hold(own);
  const std::vector<Entry*> line = line_up_to(innermost, own);
  Entry* top = current_entry();
  Entry* parent = hold(open_line(top));
  release(top);
  release(std::exchange(own->parent, parent));
  set_current(innermost);
  for (auto entry = line.rbegin(); entry != line.rend(); ++entry) {
    if ((*entry)->life == Entry::Life::kSuspended) log_begin(*entry, Mark::kResumed);
  }
  release(innermost);
}

void start_session(Phase phase) {
  g_phase.store(phase);
  if (active()) return;
  new_log(false);
  g_session.fetch_add(1);
  g_state.store(State::kActive);
}

void forget_all() {
  g_state.store(State::kUnknown);
  g_session.fetch_add(1);
  set_current(nullptr);
  new_log(true);
}

}  // namespace pyprof
