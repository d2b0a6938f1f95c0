# cython: language_level=3
"""See _tuple_packer.pyx."""

cimport cython
from libc.stdint cimport int64_t

cdef enum:
    MAX_PARTS = 200


@cython.final
cdef class TuplePacker:
    cdef int _count, _values
    cdef list _literals
    cdef int _types[MAX_PARTS]
    cdef const char* _texts[MAX_PARTS]
    cdef Py_ssize_t _sizes[MAX_PARTS]
    cdef int64_t _shift
    cdef bytes pack(self, tuple values)
