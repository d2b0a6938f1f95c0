# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reads the rows of binary COPY."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint32_t


def split_row(data):
    """Do the same as `copy_format.split_row`. Raises: ValueError if the data ends within a field."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return split(<const unsigned char*>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


cdef list split(const unsigned char* p, Py_ssize_t left):
    cdef list fields = []
    cdef int32_t size
    p, left = p + 2, left - 2
    while left > 0:
        size = 0
        if left >= 4:
            size = <int32_t>(<uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | p[3])
        p, left = p + 4, left - 4
        if left < 0 or size > left:
            raise ValueError("a row ends within a field")
        if size < 0:
            fields.append(None)
            continue
        fields.append(PyBytes_FromStringAndSize(<const char*>p, size))
        p, left = p + size, left - size
    return fields
