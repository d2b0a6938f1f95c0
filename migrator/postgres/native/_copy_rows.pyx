# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reads and writes the rows of binary COPY."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8String
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcpy

from migrator.documents.native._bson cimport write_big

from migrator.postgres.copy_format import writer


def write_row(values, kinds):
    """Do the same as `copy_format.write_row`."""
    cdef list fields = []
    cdef bytes field, row
    cdef char* out
    cdef Py_ssize_t size = 2
    for value, kind in zip(values, kinds, strict=True):
        size += 4
        if value is None:
            fields.append(None)
            continue
        if type(value) is str and kind == "text":
            field = PyUnicode_AsUTF8String(value)
        else:
            field = value if type(value) is bytes and kind == "bytea" else writer(kind)(value)
        size += PyBytes_GET_SIZE(field)
        fields.append(field)
    row = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(row)
    out[0], out[1] = <char>(len(fields) >> 8), <char>len(fields)
    out += 2
    for item in fields:
        if item is None:
            write_big(out, <uint32_t>-1)
            out += 4
            continue
        field = item
        size = PyBytes_GET_SIZE(field)
        write_big(out, <uint32_t>size)
        memcpy(out + 4, PyBytes_AS_STRING(field), size)
        out += 4 + size
    return row


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
