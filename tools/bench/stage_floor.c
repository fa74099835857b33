/* The least that a `with` block can cost: a context manager in C that does nothing, and one that
 * reads the clock at both ends. What a stage costs is told as the difference to these. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <time.h>

static struct timespec last;

static PyObject *enter(PyObject *self, PyObject *unused) {
  Py_INCREF(self);
  return self;
}

static PyObject *leave(PyObject *self, PyObject *const *args, Py_ssize_t count) { Py_RETURN_NONE; }

static PyObject *clock_enter(PyObject *self, PyObject *unused) {
  clock_gettime(CLOCK_MONOTONIC, &last);
  Py_INCREF(self);
  return self;
}

static PyObject *clock_leave(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  clock_gettime(CLOCK_MONOTONIC, &last);
  Py_RETURN_NONE;
}

static PyMethodDef empty_methods[] = {
    {"__enter__", enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))leave, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL}};
static PyMethodDef clock_methods[] = {
    {"__enter__", clock_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))clock_leave, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL}};

static PyTypeObject Empty = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "stage_floor.Empty",
                             .tp_basicsize = sizeof(PyObject),
                             .tp_flags = Py_TPFLAGS_DEFAULT,
                             .tp_new = PyType_GenericNew,
                             .tp_methods = empty_methods};
static PyTypeObject Clock = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "stage_floor.Clock",
                             .tp_basicsize = sizeof(PyObject),
                             .tp_flags = Py_TPFLAGS_DEFAULT,
                             .tp_new = PyType_GenericNew,
                             .tp_methods = clock_methods};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "stage_floor", .m_size = -1};

PyMODINIT_FUNC PyInit_stage_floor(void) {
  PyObject *made = PyModule_Create(&module);
  if (made == NULL || PyType_Ready(&Empty) < 0 || PyType_Ready(&Clock) < 0) return NULL;
  PyModule_AddObjectRef(made, "Empty", (PyObject *)&Empty);
  PyModule_AddObjectRef(made, "Clock", (PyObject *)&Clock);
  return made;
}
