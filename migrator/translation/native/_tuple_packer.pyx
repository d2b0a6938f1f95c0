# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled version of `tuple_layout.TuplePacker`: joins values to one tuple of binary COPY in one allocation."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from migrator.documents.native._bson cimport Bytes, write_big
from migrator.translation.native._buffer cimport write_uuid_text

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum PartType:  # as in `tuple_layout.PartType`
    LITERAL = 0
    FRAGMENT = 1
    BYTES = 2
    TEXT = 3
    UUID_TEXT = 4
    INTEGER = 5
    BOOLEAN = 6
    TIMESTAMP = 7
    SMALLINT = 8
    BIGINT = 9
    DOUBLE = 10

# For a test that compares these numbers with those of Python.
PART_TYPES = {
    "LITERAL": LITERAL, "FRAGMENT": FRAGMENT, "BYTES": BYTES, "TEXT": TEXT, "UUID_TEXT": UUID_TEXT,
    "INTEGER": INTEGER, "BOOLEAN": BOOLEAN, "TIMESTAMP": TIMESTAMP,
    "SMALLINT": SMALLINT, "BIGINT": BIGINT, "DOUBLE": DOUBLE,
}

cdef class TuplePacker:
    """See `tuple_layout.TuplePacker`. `shift`: microseconds from 1970 to 2000, the epoch of PostgreSQL."""

    def __cinit__(self, parts, *, shift):
        if len(parts) > MAX_PARTS:
            raise ValueError("too many columns")
        self._literals = [literal for _, literal in parts]
        self._count, self._values, self._shift = len(parts), 0, shift
        for index, (part, literal) in enumerate(parts):
            self._types[index] = part
            if part == LITERAL:
                self._texts[index], self._sizes[index] = PyBytes_AS_STRING(literal), len(literal)
            else:
                self._values += 1

    def __call__(self, *values):
        return self.pack(values)

    cdef bytes pack(self, tuple values):
        """Return the tuple with these values."""
        cdef const char* texts[MAX_PARTS]
        cdef Py_ssize_t sizes[MAX_PARTS]
        cdef int64_t numbers[MAX_PARTS]
        cdef Py_ssize_t size = 0
        cdef int index, number = 0, part
        cdef object value
        cdef double double
        cdef bytes made
        cdef char* out
        if PyTuple_GET_SIZE(values) != self._values:
            raise TypeError(f"expected {self._values} values, got {len(values)}")
        for index in range(self._count):
            part = self._types[index]
            if part == LITERAL:
                texts[index], sizes[index] = self._texts[index], self._sizes[index]
                size += sizes[index]
                continue
            value = <object>PyTuple_GET_ITEM(values, number)
            number += 1
            if value is None:
                sizes[index] = -1
                size += 4
                continue
            if part == TEXT:
                texts[index] = PyUnicode_AsUTF8AndSize(value, &sizes[index])
            elif part == INTEGER:
                sizes[index], numbers[index] = 4, <int32_t>value
            elif part == BOOLEAN:
                sizes[index], numbers[index] = 1, 1 if value else 0
            elif part == TIMESTAMP:
                sizes[index], numbers[index] = 8, <int64_t>value - self._shift
            elif part == SMALLINT:
                sizes[index], numbers[index] = 2, <int16_t>value
            elif part == BIGINT:
                sizes[index], numbers[index] = 8, <int64_t>value
            elif part == DOUBLE:
                double = <double>value
                sizes[index] = 8
                memcpy(&numbers[index], &double, 8)
            else:
                texts[index], sizes[index] = PyBytes_AS_STRING(<bytes?>value), PyBytes_GET_SIZE(value)
                if part == UUID_TEXT:
                    if sizes[index] != 16:
                        raise ValueError("not the 16 bytes of a UUID")
                    sizes[index] = 36
            size += sizes[index] + (0 if part == FRAGMENT else 4)
        made = PyBytes_FromStringAndSize(NULL, size)
        out = PyBytes_AS_STRING(made)
        for index in range(self._count):
            part = self._types[index]
            if part != LITERAL and part != FRAGMENT or sizes[index] < 0:
                write_big(out, <uint32_t>sizes[index])
                out += 4
            if sizes[index] < 0:
                continue
            if part == UUID_TEXT:
                write_uuid_text(<Bytes>texts[index], out)
            elif part == INTEGER:
                write_big(out, <uint32_t>numbers[index])
            elif part == BOOLEAN:
                out[0] = <char>numbers[index]
            elif part == SMALLINT:
                out[0], out[1] = <char>(numbers[index] >> 8), <char>numbers[index]
            elif part == TIMESTAMP or part == BIGINT or part == DOUBLE:
                write_big(out, <uint32_t>(<uint64_t>numbers[index] >> 32))
                write_big(out + 4, <uint32_t>numbers[index])
            else:
                memcpy(out, texts[index], sizes[index])
            out += sizes[index]
        return made
