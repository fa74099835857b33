#include "bind/stage.h"

#include <array>
#include <exception>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "bind/entry.h"
#include "bind/label.h"

namespace pyprof {
namespace {

// Counts forks, from 1: what another process had open is not open here.
constinit std::atomic<uint32_t> g_fork{1};

// These change with the GIL held.
PyObject* g_hook = nullptr;       // or null
PyObject* g_decorator = nullptr;  // or null: not set yet
PyObject* g_framework = nullptr;  // what `sync=True` calls, or null: not set yet
PyObject* g_sync = nullptr;       // of stages that say nothing themselves, or null

struct Stage {
  PyObject ob_base;
  PyObject* name;
  Entry* entry;      // the open one, or null (nothing is logged)
  Entry* innermost;  // while suspended: where the generator's own context stood
  uint32_t entered;  // the fork count at its entering; 0: not entered
  Phase phase;       // own, or unset
  Phase fallback;    // instead of the session's, or unset
  PyObject* sync;    // called at both ends to wait for the devices; False: none; null: the default
};

PyTypeObject g_stage_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

Stage* as_stage(PyObject* object) noexcept { return reinterpret_cast<Stage*>(object); }

// Steals the name and `sync`.
PyObject* new_stage(PyObject* name, Phase phase, Phase fallback, PyObject* sync) {
  Stage* stage = name == nullptr ? nullptr : PyObject_New(Stage, &g_stage_type);
  if (stage == nullptr) {
    Py_XDECREF(name);
    Py_XDECREF(sync);
    return nullptr;
  }
  stage->name = name;
  stage->entry = nullptr;
  stage->innermost = nullptr;
  stage->entered = 0;
  stage->phase = phase;
  stage->fallback = fallback;
  stage->sync = sync;
  return reinterpret_cast<PyObject*>(stage);
}

// A module of Python sets them when it is first needed.
PyObject* fetch(PyObject*& slot, const char* what) {
  if (slot == nullptr) {
    PyObject* home = PyImport_ImportModule("pyprof.stages");
    if (home == nullptr) return nullptr;
    Py_DECREF(home);
  }
  if (slot == nullptr) PyErr_Format(PyExc_RuntimeError, "no %s was set", what);
  Py_XINCREF(slot);
  return slot;
}

// What to call for `sync`, a new reference; null with no error: not said.
bool read_sync(PyObject* given, PyObject*& sync) {
  sync = nullptr;
  if (given == nullptr || given == Py_None) return true;
  if (given == Py_True) {
    sync = fetch(g_framework, "synchroniser");
    return sync != nullptr;
  }
  if (given != Py_False && !PyCallable_Check(given)) {
    PyErr_Format(PyExc_TypeError, "sync must be True, False or something to call, not %R", given);
    return false;
  }
  Py_INCREF(given);
  sync = given;
  return true;
}

PyObject* stage_of(PyObject* name, PyObject* phase, PyObject* given_sync) {
  Phase own = Phase::kUnset;
  PyObject* sync = nullptr;
  if (!read_phase(phase, own) || !read_sync(given_sync, sync)) return nullptr;
  return new_stage(clean_name(name), own, Phase::kUnset, sync);
}

bool is_word(PyObject* keyword, const char* word) noexcept {
  return PyUnicode_CompareWithASCIIString(keyword, word) == 0;
}

PyObject* stage_vectorcall(PyObject*, PyObject* const* args, size_t nargsf, PyObject* keywords) {
  const Py_ssize_t given = PyVectorcall_NARGS(nargsf);
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  std::array<PyObject*, 3> values = {};
  if (given > 2) {
    return PyErr_Format(PyExc_TypeError, "stage() takes a name and a phase, but got %zd arguments",
                        given);
  }
  for (Py_ssize_t i = 0; i < given; ++i) values[static_cast<size_t>(i)] = args[i];
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* keyword = PyTuple_GET_ITEM(keywords, i);
    const size_t at = is_word(keyword, "name")    ? 0
                      : is_word(keyword, "phase") ? 1
                      : is_word(keyword, "sync")  ? 2
                                                  : 3;
    if (at == 3 || values[at] != nullptr) {
      return PyErr_Format(PyExc_TypeError, "stage() got %s argument %R",
                          at == 3 ? "an unexpected keyword" : "twice the", keyword);
    }
    values[at] = args[given + i];
  }
  if (values[0] == nullptr) {
    PyErr_SetString(PyExc_TypeError, "stage() needs a name");
    return nullptr;
  }
  return stage_of(values[0], values[1], values[2]);
}

PyObject* stage_new(PyTypeObject*, PyObject* args, PyObject* keywords) {
  static const char* words[] = {"name", "phase", "sync", nullptr};
  PyObject* name = nullptr;
  PyObject* phase = nullptr;
  PyObject* sync = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O$O:stage", const_cast<char**>(words), &name,
                                   &phase, &sync)) {
    return nullptr;
  }
  return stage_of(name, phase, sync);
}

void stage_dealloc(PyObject* self) {
  Stage* stage = as_stage(self);
  Py_DECREF(stage->name);
  Py_XDECREF(stage->sync);
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
  PyErr_Clear();
  return true;
}

// Waits for the devices, if that is wanted; the flag of the mark that follows. False: an error that
// is not ours to hold back (Ctrl-C). Other errors are the framework's, whose next call raises them.
bool wait_for_devices(const Stage* stage, uint8_t& flags) {
  PyObject* sync = stage->sync != nullptr ? stage->sync : g_sync;
  flags = 0;
  if (sync == nullptr || sync == Py_False) return true;
  Py_INCREF(sync);
  PyObject* answer = PyObject_CallNoArgs(sync);
  Py_DECREF(sync);
  if (answer != nullptr) {
    if (answer != Py_NotImplemented) flags = Mark::kSynced;
    Py_DECREF(answer);
    return true;
  }
  if (!PyErr_ExceptionMatches(PyExc_Exception)) return false;
  PyErr_Clear();
  return true;
}

void begin(Stage* stage, uint8_t flags) noexcept {
  Entry* entry = open_entry({stage->name, stage->phase, stage->fallback}, flags);
  if (entry == nullptr) return;
  release(std::exchange(stage->entry, entry));
  release(std::exchange(stage->innermost, nullptr));
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
  uint8_t flags = 0;
  if (active() && !wait_for_devices(stage, flags)) return nullptr;
  stage->entered = fork;
  if (active()) begin(stage, flags);
  Py_INCREF(self);
  return self;
}

PyObject* stage_exit(PyObject* self, PyObject* const*, Py_ssize_t) {
  Stage* stage = as_stage(self);
  uint8_t flags = 0;
  const bool waited = stage->entry == nullptr || !active() || wait_for_devices(stage, flags);
  stage->entered = 0;
  if (Entry* entry = std::exchange(stage->entry, nullptr); entry != nullptr) {
    close_entry(entry, flags);
    release(entry);
    release(std::exchange(stage->innermost, nullptr));
  }
  if (!waited) return nullptr;
  Py_RETURN_NONE;
}

// -- generators -----------------------------------------------------------------------------------

PyObject* stage_suspend(PyObject* self, PyObject*) {
  Stage* stage = as_stage(self);
  try {
    if (stage->entry != nullptr) {
      release(std::exchange(stage->innermost, suspend(stage->entry)));
    }
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
      resume(stage->entry, std::exchange(stage->innermost, nullptr));
    } else if (stage->entered == g_fork.load(std::memory_order_relaxed)) {
      begin(stage, 0);  // the first that this session sees of it
    }
  } catch (const std::exception&) {
  }
  Py_RETURN_NONE;
}

// -- the rest of the type -------------------------------------------------------------------------

PyObject* stage_fresh(PyObject* self, PyObject*) {
  const Stage* stage = as_stage(self);
  Py_INCREF(stage->name);
  Py_XINCREF(stage->sync);
  return new_stage(stage->name, stage->phase, stage->fallback, stage->sync);
}

PyObject* stage_call(PyObject* self, PyObject* args, PyObject* keywords) {
  PyObject* function = nullptr;
  if (keywords != nullptr && PyDict_GET_SIZE(keywords) != 0) {
    PyErr_SetString(PyExc_TypeError, "a stage decorates one function and takes no keywords");
    return nullptr;
  }
  if (!PyArg_ParseTuple(args, "O:stage.__call__", &function)) return nullptr;
  PyObject* wrap = fetch(g_decorator, "decorator");
  if (wrap == nullptr) return nullptr;
  PyObject* wrapped = PyObject_CallFunctionObjArgs(wrap, self, function, nullptr);
  Py_DECREF(wrap);
  return wrapped;
}

PyObject* stage_repr(PyObject* self) {
  const Stage* stage = as_stage(self);
  if (stage->phase == Phase::kUnset) return PyUnicode_FromFormat("stage(%R)", stage->name);
  return PyUnicode_FromFormat("stage(%R, phase='%s')", stage->name, phase_text(stage->phase));
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
    PyObject* sync = stage->sync == nullptr       ? Py_None
                     : stage->sync == g_framework ? Py_True
                                                  : stage->sync;
    out = Py_BuildValue("(O(OOOO))", make, stage->name, phase, fallback, sync);
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
      "stage(name, phase=None, *, sync=None)\n--\n\n"
      "A named interval of work: ``with stage(\"forward\"):`` or ``@stage(\"forward\")``.\n\n"
      "Does nothing while no profiler is active. ``phase`` is development, training or "
      "deployment;\n"
      "without it that of the enclosing stage, at the outermost that of the profiler. ``sync`` "
      "waits\n"
      "for the devices at both ends: True by the framework in use, or something to call; None as "
      "the\n"
      "profiler says.";
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
  PyObject *name, *phase, *fallback, *given_sync = nullptr, *sync = nullptr;
  if (!PyArg_ParseTuple(args, "OOO|O:stage_with_default", &name, &phase, &fallback, &given_sync)) {
    return nullptr;
  }
  Phase own = Phase::kUnset, other = Phase::kUnset;
  if (!read_phase(phase, own) || !read_phase(fallback, other)) return nullptr;
  if (!read_sync(given_sync, sync)) return nullptr;
  return new_stage(clean_name(name), own, other, sync);
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

PyObject* set_framework(PyObject*, PyObject* wait) {
  if (!set_callable(g_framework, wait)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* set_sync(PyObject*, PyObject* given) {
  PyObject* sync = nullptr;
  if (!read_sync(given, sync)) return nullptr;
  PyObject* old = g_sync;
  g_sync = sync;
  Py_XDECREF(old);
  Py_RETURN_NONE;
}

PyObject* start_marks(PyObject*, PyObject* phase) {
  Phase root = Phase::kUnset;
  if (!read_phase(phase, root)) return nullptr;
  try {
    start_session(root == Phase::kUnset ? Phase::kTraining : root);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

PyObject* stop_marks(PyObject*, PyObject*) {
  g_state.store(State::kInactive);
  Py_RETURN_NONE;
}

PyObject* drain_marks(PyObject*, PyObject*) {
  const std::shared_ptr<MarkLog> log = current_log();
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
  g_fork.fetch_add(1);
  try {
    forget_all();
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

PyMethodDef g_functions[] = {
    {"stage_with_default", stage_with_default, METH_VARARGS,
     "stage_with_default(name, phase, default, sync=None, /)\n--\n\n"
     "A stage that takes ``default`` for its phase where nothing else gives one."},
    {"set_stage_hook", set_stage_hook, METH_O,
     "set_stage_hook(hook, /)\n--\n\nCalled once, at the first mark of the process."},
    {"set_decorator", set_decorator, METH_O,
     "set_decorator(wrap, /)\n--\n\nWhat ``stage.__call__`` delegates to."},
    {"set_framework", set_framework, METH_O,
     "set_framework(wait, /)\n--\n\nWhat ``sync=True`` calls; NotImplemented: nothing was waited "
     "for."},
    {"set_sync", set_sync, METH_O,
     "set_sync(sync, /)\n--\n\n``sync`` of the stages that say nothing themselves."},
    {"start_marks", start_marks, METH_O,
     "start_marks(phase, /)\n--\n\nMarks are logged from now on."},
    {"stop_marks", stop_marks, METH_NOARGS, "stop_marks()\n--\n\nMarks do nothing from now on."},
    {"drain_marks", drain_marks, METH_NOARGS,
     "drain_marks()\n--\n\nMarks since the last drain as checksummed frames."},
    {"reset_marks", reset_marks, METH_NOARGS,
     "reset_marks()\n--\n\nFor the child of a fork: nothing open, nothing logged."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

MarkLog& process_marks() { return *current_log(); }

}  // namespace pyprof

int pyprof_add_stage(PyObject* module) {
  using namespace pyprof;
  if (!prepare_entries() || !prepare_stage_type()) return -1;
  if (PyModule_AddFunctions(module, g_functions) != 0) return -1;
  return PyModule_AddObjectRef(module, "stage", reinterpret_cast<PyObject*>(&g_stage_type));
}
