# cython: language_level=3
"""Writes computed values of plain types as BSON, as the driver encodes them."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memchr, memcpy

from migrator.documents.native._bson cimport (
    ARRAY, BOOLEAN, DOCUMENT, INT32, NULL_VALUE, STRING, decimal, write_little,
)
from migrator.documents.native._restored_parts cimport BsonArray

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    MOST_DEPTH = 20  # of values that are written here
    MOST_BYTES = 0x7FFFFFF0


cdef inline Py_ssize_t value_size(object value, int depth) except -2:
    """Return the bytes of a value in BSON; -1 if the driver must encode it."""
    cdef Py_ssize_t size, inner, total = 5
    cdef char digits[10]
    cdef const char* text
    if type(value) is str:
        PyUnicode_AsUTF8AndSize(value, &size)
        return size + 5 if size <= MOST_BYTES else -1
    if value is None:
        return 0
    if type(value) is bool:
        return 1
    if type(value) is int:
        return 4 if -0x80000000 <= value <= 0x7FFFFFFF else -1
    if type(value) is BsonArray:
        return PyBytes_GET_SIZE((<BsonArray>value).raw)
    if depth == MOST_DEPTH:
        return -1
    if type(value) is list:
        for index, item in enumerate(<list>value):
            inner = value_size(item, depth + 1)
            if inner < 0:
                return -1
            total += 2 + decimal(digits, <int>index) + inner
    elif type(value) is dict:
        for name, item in (<dict>value).items():
            inner = value_size(item, depth + 1) if type(name) is str else -1
            if inner < 0:
                return -1
            text = PyUnicode_AsUTF8AndSize(name, &size)
            if memchr(text, 0, size) != NULL:
                return -1
            total += 2 + size + inner
    else:
        return -1
    return total if total <= MOST_BYTES else -1


cdef inline char* write_value(object value, char* kind, char* out) except NULL:
    """Write a value whose size `value_size` has returned, and its BSON type to `kind`. Return the end of the value."""
    cdef Py_ssize_t size
    cdef const char* text
    cdef char* start = out
    if type(value) is str:
        kind[0] = STRING
        text = PyUnicode_AsUTF8AndSize(value, &size)
        write_little(out, <uint32_t>(size + 1))
        memcpy(out + 4, text, size + 1)  # Python keeps a zero behind it
        return out + size + 5
    if value is None:
        kind[0] = NULL_VALUE
        return out
    if type(value) is bool:
        kind[0], out[0] = BOOLEAN, value is True
        return out + 1
    if type(value) is int:
        kind[0] = INT32
        write_little(out, <uint32_t><int32_t>value)
        return out + 4
    if type(value) is BsonArray:
        kind[0] = ARRAY
        size = PyBytes_GET_SIZE((<BsonArray>value).raw)
        memcpy(out, PyBytes_AS_STRING((<BsonArray>value).raw), size)
        return out + size
    out += 4
    if type(value) is list:
        kind[0] = ARRAY
        for index, item in enumerate(<list>value):
            size = decimal(out + 1, <int>index)
            out[1 + size] = 0
            out = write_value(item, out, out + 2 + size)
    else:
        kind[0] = DOCUMENT
        for name, item in (<dict>value).items():
            text = PyUnicode_AsUTF8AndSize(name, &size)
            memcpy(out + 1, text, size + 1)
            out = write_value(item, out, out + 2 + size)
    out[0] = 0
    write_little(start, <uint32_t>(out + 1 - start))
    return out + 1
