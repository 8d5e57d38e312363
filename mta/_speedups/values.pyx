"""Values that are made for every message."""

from cpython.object cimport PyObject, PyTypeObject

cdef extern from "Python.h":
    """
    static PyObject *named_tuple(PyTypeObject *kind, PyObject *fields) {
        PyObject *args = PyTuple_Pack(1, fields), *made;
        if (args == NULL) return NULL;
        made = PyTuple_Type.tp_new(kind, args, NULL);
        Py_DECREF(args);
        return made;
    }
    """
    object named_tuple(PyTypeObject *kind, tuple fields)


cpdef named(type kind, tuple fields):
    if not issubclass(kind, tuple):
        raise TypeError(f"{kind!r} is no tuple")
    return named_tuple(<PyTypeObject *><PyObject *>kind, fields)
