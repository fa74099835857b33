#include "bind/stage.h"

#include <array>
#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"

namespace pyprof {
namespace {

// -- state of the process -------------------------------------------------------------------------

enum class State : uint8_t { kUnknown, kInactive, kActive };

constinit std::atomic<State> g_state{State::kUnknown};
constinit std::atomic<Phase> g_phase{Phase::kTraining};
constinit std::atomic<uint64_t> g_token{0};
// A session lies between a start and the next one: entries of an earlier one count as closed.
constinit std::atomic<uint32_t> g_session{1};
// Counts forks, from 1: what another process had open is not open here.
constinit std::atomic<uint32_t> g_fork{1};

// These change with the GIL held.
PyObject* g_current = nullptr;    // context variable: the innermost Entry, or None
PyObject* g_indices = nullptr;    // dict from name to its index in the log
PyObject* g_hook = nullptr;       // or null
PyObject* g_decorator = nullptr;  // or null: not set yet

// Shared, because a drain goes on without the GIL while the next session gets a log of its own.
std::shared_ptr<MarkLog>& log_holder() {
  static auto& holder = *new std::shared_ptr<MarkLog>(std::make_shared<MarkLog>());
  return holder;
}

bool active() noexcept { return g_state.load(std::memory_order_relaxed) == State::kActive; }

// What goes wrong in here is no business of the program that is measured.
void forget_error() noexcept { PyErr_Clear(); }

// -- phases ---------------------------------------------------------------------------------------

constexpr std::array<const char*, 4> kPhaseNames = {nullptr, "development", "training",
                                                    "deployment"};

PyObject* phase_object(Phase phase) {
  if (phase == Phase::kUnset) Py_RETURN_NONE;
  return PyUnicode_FromString(kPhaseNames[static_cast<size_t>(phase)]);
}

bool read_phase(PyObject* value, Phase& phase) {
  phase = Phase::kUnset;
  if (value == nullptr || value == Py_None) return true;
  if (PyUnicode_Check(value)) {
    for (size_t i = 1; i < kPhaseNames.size(); ++i) {
      if (PyUnicode_CompareWithASCIIString(value, kPhaseNames[i]) != 0) continue;
      phase = static_cast<Phase>(i);
      return true;
    }
  }
  PyErr_Format(PyExc_ValueError, "phase must be development, training or deployment, not %R",
               value);
  return false;
}

// -- names ----------------------------------------------------------------------------------------

constexpr Py_ssize_t kMaxNameLength = 512;
constexpr Py_UCS4 kReplacement = 0xFFFD;

bool is_surrogate(Py_UCS4 c) noexcept { return c >= 0xD800 && c <= 0xDFFF; }

bool has_surrogate(PyObject* name) noexcept {
  const int kind = PyUnicode_KIND(name);
  if (kind == PyUnicode_1BYTE_KIND) return false;
  const void* data = PyUnicode_DATA(name);
  for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(name); ++i) {
    if (is_surrogate(PyUnicode_READ(kind, data, i))) return true;
  }
  return false;
}

PyObject* without_surrogates(PyObject* name) {
  const Py_ssize_t length = PyUnicode_GET_LENGTH(name);
  const int kind = PyUnicode_KIND(name);
  const void* data = PyUnicode_DATA(name);
  std::array<Py_UCS4, kMaxNameLength> points;
  for (Py_ssize_t i = 0; i < length; ++i) {
    const Py_UCS4 c = PyUnicode_READ(kind, data, i);
    points[static_cast<size_t>(i)] = is_surrogate(c) ? kReplacement : c;
  }
  return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, points.data(), length);
}

// The name as it is recorded: an exact str that UTF-8 can hold, of bounded length, and not empty,
// since the empty path is the root's.
PyObject* clean_name(PyObject* value) {
  if (!PyUnicode_Check(value)) {
    PyErr_Format(PyExc_TypeError, "the name of a stage must be a str, not %.100s",
                 Py_TYPE(value)->tp_name);
    return nullptr;
  }
  if (PyUnicode_GET_LENGTH(value) == 0) return PyUnicode_FromString("(unnamed)");
  PyObject* name = PyUnicode_GET_LENGTH(value) > kMaxNameLength
                       ? PyUnicode_Substring(value, 0, kMaxNameLength)
                       : PyUnicode_FromObject(value);
  if (name == nullptr || !has_surrogate(name)) return name;
  PyObject* replaced = without_surrogates(name);
  Py_DECREF(name);
  return replaced;
}

bool intern_new(PyObject* name, uint32_t& index) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(name, &size);
  if (text == nullptr) return false;
  index = log_holder()->intern(std::string_view(text, static_cast<size_t>(size)));
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

// -- entries --------------------------------------------------------------------------------------

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

bool is_open(const Entry* entry) noexcept {
  return entry->life == Entry::Life::kOpen &&
         entry->session == g_session.load(std::memory_order_relaxed);
}

Entry* hold(Entry* entry) noexcept {
  Py_XINCREF(reinterpret_cast<PyObject*>(entry));
  return entry;
}

void release(Entry* entry) noexcept { Py_XDECREF(reinterpret_cast<PyObject*>(entry)); }

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
  MarkLog& log = *log_holder();
  try {
    mark.t_ns = monotonic_ns();
    log.append(mark);
  } catch (const std::exception&) {
    entry->life = Entry::Life::kClosed;
  }
}

void log_end(Entry* entry, int64_t t_ns, Entry::Life life) noexcept {
  const bool known = active() && is_open(entry);
  entry->life = life;
  if (!known) return;
  Mark mark;
  mark.kind = Mark::Kind::kEnd;
  mark.phase = entry->phase;
  mark.token = entry->token;
  mark.t_ns = t_ns;
  try {
    log_holder()->append(mark);
  } catch (const std::exception&) {
  }
}

// -- the type `stage` -----------------------------------------------------------------------------

struct Stage {
  PyObject ob_base;
  PyObject* name;
  Entry* entry;      // the open one, or null (nothing is logged)
  Entry* innermost;  // while suspended: where the generator's own context stood
  uint32_t entered;  // the fork count at its entering; 0: not entered
  Phase phase;       // own, or unset
  Phase fallback;    // instead of the session's, or unset
};

PyTypeObject g_stage_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

Stage* as_stage(PyObject* object) noexcept { return reinterpret_cast<Stage*>(object); }

PyObject* new_stage(PyObject* name, Phase phase, Phase fallback) {  // steals the name
  Stage* stage = name == nullptr ? nullptr : PyObject_New(Stage, &g_stage_type);
  if (stage == nullptr) {
    Py_XDECREF(name);
    return nullptr;
  }
  stage->name = name;
  stage->entry = nullptr;
  stage->innermost = nullptr;
  stage->entered = 0;
  stage->phase = phase;
  stage->fallback = fallback;
  return reinterpret_cast<PyObject*>(stage);
}

PyObject* stage_of(PyObject* name, PyObject* phase) {
  Phase own = Phase::kUnset;
  if (!read_phase(phase, own)) return nullptr;
  return new_stage(clean_name(name), own, Phase::kUnset);
}

bool is_word(PyObject* keyword, const char* word) noexcept {
  return PyUnicode_CompareWithASCIIString(keyword, word) == 0;
}

PyObject* stage_vectorcall(PyObject*, PyObject* const* args, size_t nargsf, PyObject* keywords) {
  const Py_ssize_t given = PyVectorcall_NARGS(nargsf);
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  std::array<PyObject*, 2> values = {};
  if (given > 2) {
    return PyErr_Format(PyExc_TypeError, "stage() takes a name and a phase, but got %zd arguments",
                        given);
  }
  for (Py_ssize_t i = 0; i < given; ++i) values[static_cast<size_t>(i)] = args[i];
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* keyword = PyTuple_GET_ITEM(keywords, i);
    const size_t at = is_word(keyword, "name") ? 0 : is_word(keyword, "phase") ? 1 : 2;
    if (at == 2 || values[at] != nullptr) {
      return PyErr_Format(PyExc_TypeError, "stage() got %s argument %R",
                          at == 2 ? "an unexpected keyword" : "twice the", keyword);
    }
    values[at] = args[given + i];
  }
  if (values[0] == nullptr) {
    PyErr_SetString(PyExc_TypeError, "stage() needs a name");
    return nullptr;
  }
  return stage_of(values[0], values[1]);
}

PyObject* stage_new(PyTypeObject*, PyObject* args, PyObject* keywords) {
  static const char* words[] = {"name", "phase", nullptr};
  PyObject* name = nullptr;
  PyObject* phase = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:stage", const_cast<char**>(words), &name,
                                   &phase)) {
    return nullptr;
  }
  return stage_of(name, phase);
}

void stage_dealloc(PyObject* self) {
  Stage* stage = as_stage(self);
  Py_DECREF(stage->name);
  release(stage->entry);
  release(stage->innermost);
  PyObject_Free(self);
}

// The first mark of the process: is there anything to write for? An error of the hook is ours, not
// the program's; but Ctrl-C is the user's.
bool ask_hook() {
  State unknown = State::kUnknown;
  if (!g_state.compare_exchange_strong(unknown, State::kInactive) || g_hook == nullptr) return true;
  PyObject* hook = g_hook;
  Py_INCREF(hook);
  PyObject* answer = PyObject_CallNoArgs(hook);
  Py_DECREF(hook);
  Py_XDECREF(answer);
  if (answer != nullptr) return true;
  if (!PyErr_ExceptionMatches(PyExc_Exception)) return false;
  forget_error();
  return true;
}

Phase resolve(const Stage* stage, const Entry* parent) noexcept {
  if (stage->phase != Phase::kUnset) return stage->phase;
  if (parent != nullptr) return parent->phase;
  if (stage->fallback != Phase::kUnset) return stage->fallback;
  return g_phase.load(std::memory_order_relaxed);
}

Entry* new_entry(const Stage* stage, Entry* parent) noexcept {
  uint32_t name = 0;
  try {
    if (!index_of(stage->name, name)) return nullptr;
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
  entry->phase = resolve(stage, parent);
  return entry;
}

void begin(Stage* stage) noexcept {
  Entry* top = current_entry();
  Entry* parent = first_open(top);
  if (parent != nullptr) skip_closed_parents(parent);
  Entry* entry = new_entry(stage, parent);
  release(top);
  if (entry == nullptr) return forget_error();
  release(std::exchange(stage->entry, entry));
  release(std::exchange(stage->innermost, nullptr));
  set_current(entry);
  log_begin(entry, 0);
}

PyObject* stage_enter(PyObject* self, PyObject*) {
  Stage* stage = as_stage(self);
  const uint32_t fork = g_fork.load(std::memory_order_relaxed);
  if (stage->entered == fork) {
    return PyErr_Format(PyExc_RuntimeError,
                        "stage %R is open already: make a new one with stage(name) for each entry",
                        stage->name);
  }
  if (g_state.load(std::memory_order_relaxed) == State::kUnknown && !ask_hook()) return nullptr;
  stage->entered = fork;
  if (active()) begin(stage);
  Py_INCREF(self);
  return self;
}

// The context variable stays: the next beginning walks past what is closed. So an exit costs half,
// and may happen in any task or thread.
PyObject* stage_exit(PyObject* self, PyObject* const*, Py_ssize_t) {
  Stage* stage = as_stage(self);
  stage->entered = 0;
  if (Entry* entry = stage->entry; entry != nullptr) {
    const int64_t t_ns = monotonic_ns();
    stage->entry = nullptr;
    log_end(entry, t_ns, Entry::Life::kClosed);
    release(entry);
    release(std::exchange(stage->innermost, nullptr));
  }
  Py_RETURN_NONE;
}

// -- generators -----------------------------------------------------------------------------------

// The entries from the context's innermost one up to `last`; empty if `last` is not among them.
std::vector<Entry*> line_up_to(Entry* top, Entry* last) {
  std::vector<Entry*> line;
  for (Entry* at = top; at != nullptr; at = at->parent) {
    line.push_back(at);
    if (at == last) return line;
  }
  return {};
}

// What the generator has open, itself included, is not open while its caller runs.
void suspend(Stage* stage) {
  const int64_t t_ns = monotonic_ns();
  Entry* own = stage->entry;
  Entry* top = current_entry();
  const std::vector<Entry*> line = line_up_to(top, own);
  for (Entry* entry : line) {
    if (is_open(entry)) log_end(entry, t_ns, Entry::Life::kSuspended);
  }
  if (line.empty()) {  // the generator moved to another context: its stage alone is left
    log_end(own, t_ns, Entry::Life::kSuspended);
    release(top);
    return;
  }
  set_current(first_open(own->parent));
  std::swap(stage->innermost, top);
  release(top);
}

// Drops everything closed from the line of parents: the resumed entry, closed now, may be in it.
Entry* open_line(Entry* top) noexcept {
  Entry* first = first_open(top);
  for (Entry* at = first; at != nullptr; at = at->parent) skip_closed_parents(at);
  return first;
}

void resume(Stage* stage) {
  Entry* own = stage->entry;
  Entry* innermost = std::exchange(stage->innermost, nullptr);
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

PyObject* stage_suspend(PyObject* self, PyObject*) {
  Stage* stage = as_stage(self);
  try {
    if (stage->entry != nullptr) suspend(stage);
  } catch (const std::exception&) {
  }
  Py_RETURN_NONE;
}

PyObject* stage_resume(PyObject* self, PyObject*) {
  Stage* stage = as_stage(self);
  const Entry* entry = stage->entry;
  const bool known =
      entry != nullptr && entry->session == g_session.load(std::memory_order_relaxed);
  try {
    if (!active()) {
    } else if (known) {
      resume(stage);
    } else if (stage->entered == g_fork.load(std::memory_order_relaxed)) {
      begin(stage);  // the first that this session sees of it
    }
  } catch (const std::exception&) {
  }
  Py_RETURN_NONE;
}

// -- the rest of the type -------------------------------------------------------------------------

PyObject* stage_fresh(PyObject* self, PyObject*) {
  const Stage* stage = as_stage(self);
  Py_INCREF(stage->name);
  return new_stage(stage->name, stage->phase, stage->fallback);
}

PyObject* decorator() {
  if (g_decorator == nullptr) {
    PyObject* home = PyImport_ImportModule("pyprof.stages");  // sets it
    if (home == nullptr) return nullptr;
    Py_DECREF(home);
  }
  if (g_decorator == nullptr) PyErr_SetString(PyExc_RuntimeError, "no decorator was set");
  Py_XINCREF(g_decorator);
  return g_decorator;
}

PyObject* stage_call(PyObject* self, PyObject* args, PyObject* keywords) {
  PyObject* function = nullptr;
  if (keywords != nullptr && PyDict_GET_SIZE(keywords) != 0) {
    PyErr_SetString(PyExc_TypeError, "a stage decorates one function and takes no keywords");
    return nullptr;
  }
  if (!PyArg_ParseTuple(args, "O:stage.__call__", &function)) return nullptr;
  PyObject* wrap = decorator();
  if (wrap == nullptr) return nullptr;
  PyObject* wrapped = PyObject_CallFunctionObjArgs(wrap, self, function, nullptr);
  Py_DECREF(wrap);
  return wrapped;
}

PyObject* stage_repr(PyObject* self) {
  const Stage* stage = as_stage(self);
  if (stage->phase == Phase::kUnset) return PyUnicode_FromFormat("stage(%R)", stage->name);
  return PyUnicode_FromFormat("stage(%R, phase='%s')", stage->name,
                              kPhaseNames[static_cast<size_t>(stage->phase)]);
}

PyObject* stage_name(PyObject* self, void*) {
  Py_INCREF(as_stage(self)->name);
  return as_stage(self)->name;
}

PyObject* stage_phase(PyObject* self, void*) { return phase_object(as_stage(self)->phase); }

// For functions that are sent to other processes with the stage that decorates them.
PyObject* stage_reduce(PyObject* self, PyObject*) {
  const Stage* stage = as_stage(self);
  PyObject* phase = phase_object(stage->phase);
  PyObject* fallback = phase_object(stage->fallback);
  PyObject* home = PyImport_ImportModule("pyprof._native");
  PyObject* make = home == nullptr ? nullptr : PyObject_GetAttrString(home, "stage_with_default");
  PyObject* out = nullptr;
  if (phase != nullptr && fallback != nullptr && make != nullptr) {
    out = Py_BuildValue("(O(OOO))", make, stage->name, phase, fallback);
  }
  Py_XDECREF(make);
  Py_XDECREF(home);
  Py_XDECREF(fallback);
  Py_XDECREF(phase);
  return out;
}

template <typename Function>
PyCFunction as_method(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef g_stage_methods[] = {
    {"__enter__", stage_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nBegins the stage."},
    {"__exit__", as_method(stage_exit), METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nEnds the stage; exceptions pass."},
    {"_fresh", stage_fresh, METH_NOARGS, "_fresh($self, /)\n--\n\nThe same stage, not entered."},
    {"_suspend", stage_suspend, METH_NOARGS,
     "_suspend($self, /)\n--\n\nA generator gives control to its caller."},
    {"_resume", stage_resume, METH_NOARGS, "_resume($self, /)\n--\n\nA generator goes on."},
    {"__reduce__", stage_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\nFor pickle."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef g_stage_properties[] = {
    {"name", stage_name, nullptr, "The name as it is recorded.", nullptr},
    {"phase", stage_phase, nullptr, "Its own phase, or None: that of what is around.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

bool prepare_stage_type() {
  g_stage_type.tp_name = "pyprof._native.stage";
  g_stage_type.tp_basicsize = sizeof(Stage);
  g_stage_type.tp_flags = Py_TPFLAGS_DEFAULT;
  g_stage_type.tp_doc =
      "stage(name, phase=None)\n--\n\n"
      "A named interval of work: ``with stage(\"forward\"):`` or ``@stage(\"forward\")``.\n\n"
      "Does nothing while no profiler is active. ``phase`` is development, training or "
      "deployment;\n"
      "without it that of the enclosing stage, at the outermost that of the profiler.";
  g_stage_type.tp_new = stage_new;
  g_stage_type.tp_vectorcall = stage_vectorcall;
  g_stage_type.tp_dealloc = stage_dealloc;
  g_stage_type.tp_call = stage_call;
  g_stage_type.tp_repr = stage_repr;
  g_stage_type.tp_methods = g_stage_methods;
  g_stage_type.tp_getset = g_stage_properties;
  return PyType_Ready(&g_stage_type) == 0;
}

// -- functions of the module ----------------------------------------------------------------------

PyObject* stage_with_default(PyObject*, PyObject* args) {
  PyObject *name, *phase, *fallback;
  if (!PyArg_ParseTuple(args, "OOO:stage_with_default", &name, &phase, &fallback)) return nullptr;
  Phase own = Phase::kUnset, other = Phase::kUnset;
  if (!read_phase(phase, own) || !read_phase(fallback, other)) return nullptr;
  return new_stage(clean_name(name), own, other);
}

bool set_callable(PyObject*& slot, PyObject* value) {
  if (value != Py_None && !PyCallable_Check(value)) {
    PyErr_Format(PyExc_TypeError, "%R can't be called", value);
    return false;
  }
  PyObject* old = slot;
  slot = value == Py_None ? nullptr : value;
  Py_XINCREF(slot);
  Py_XDECREF(old);
  return true;
}

PyObject* set_stage_hook(PyObject*, PyObject* hook) {
  if (!set_callable(g_hook, hook)) return nullptr;
  State inactive = State::kInactive;
  g_state.compare_exchange_strong(inactive, State::kUnknown);
  Py_RETURN_NONE;
}

PyObject* set_decorator(PyObject*, PyObject* wrap) {
  if (!set_callable(g_decorator, wrap)) return nullptr;
  Py_RETURN_NONE;
}

// Names are numbered by their log, so both are new together.
void new_log(bool leak_old) {
  auto fresh = std::make_shared<MarkLog>();
  PyDict_Clear(g_indices);
  log_holder().swap(fresh);
  // In the child of a fork its lock may be held by a thread that is no more.
  if (leak_old) (void)new std::shared_ptr<MarkLog>(std::move(fresh));
}

PyObject* start_marks(PyObject*, PyObject* phase) {
  Phase root = Phase::kUnset;
  if (!read_phase(phase, root)) return nullptr;
  g_phase.store(root == Phase::kUnset ? Phase::kTraining : root);
  if (active()) Py_RETURN_NONE;
  try {
    new_log(false);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  g_session.fetch_add(1);
  g_state.store(State::kActive);
  Py_RETURN_NONE;
}

PyObject* stop_marks(PyObject*, PyObject*) {
  g_state.store(State::kInactive);
  Py_RETURN_NONE;
}

PyObject* drain_marks(PyObject*, PyObject*) {
  const std::shared_ptr<MarkLog> log = log_holder();
  std::vector<uint8_t> bytes;
  bool drained = true;
  Py_BEGIN_ALLOW_THREADS;
  try {
    bytes = log->drain();
  } catch (const std::exception&) {
    drained = false;
  }
  Py_END_ALLOW_THREADS;
  if (!drained) return PyErr_NoMemory();
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()),
                                   static_cast<Py_ssize_t>(bytes.size()));
}

PyObject* reset_marks(PyObject*, PyObject*) {
  g_state.store(State::kUnknown);
  g_session.fetch_add(1);
  g_fork.fetch_add(1);
  set_current(nullptr);
  try {
    new_log(true);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

PyMethodDef g_functions[] = {
    {"stage_with_default", stage_with_default, METH_VARARGS,
     "stage_with_default(name, phase, default, /)\n--\n\n"
     "A stage that takes ``default`` for its phase where nothing else gives one."},
    {"set_stage_hook", set_stage_hook, METH_O,
     "set_stage_hook(hook, /)\n--\n\nCalled once, at the first mark of the process."},
    {"set_decorator", set_decorator, METH_O,
     "set_decorator(wrap, /)\n--\n\nWhat ``stage.__call__`` delegates to."},
    {"start_marks", start_marks, METH_O,
     "start_marks(phase, /)\n--\n\nMarks are logged from now on."},
    {"stop_marks", stop_marks, METH_NOARGS, "stop_marks()\n--\n\nMarks do nothing from now on."},
    {"drain_marks", drain_marks, METH_NOARGS,
     "drain_marks()\n--\n\nMarks since the last drain as checksummed frames."},
    {"reset_marks", reset_marks, METH_NOARGS,
     "reset_marks()\n--\n\nFor the child of a fork: nothing open, nothing logged."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

MarkLog& process_marks() { return *log_holder(); }

}  // namespace pyprof

int pyprof_add_stage(PyObject* module) {
  using namespace pyprof;
  if (g_indices == nullptr) g_indices = PyDict_New();
  if (g_current == nullptr) g_current = PyContextVar_New("pyprof.stage", nullptr);
  if (g_indices == nullptr || g_current == nullptr) return -1;
  if (!prepare_entry_type() || !prepare_stage_type()) return -1;
  if (PyModule_AddFunctions(module, g_functions) != 0) return -1;
  return PyModule_AddObjectRef(module, "stage", reinterpret_cast<PyObject*>(&g_stage_type));
}
