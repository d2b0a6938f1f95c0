# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of `packing.Packer`: values into one tuple of binary COPY, in one piece of memory."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from migrator.translation.native._bson cimport Bytes, write_big

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum Piece:  # of a tuple, as in `packing.Piece`
    LITERAL = 0
    FRAGMENT = 1
    BYTES = 2
    TEXT = 3
    UUID_TEXT = 4
    INTEGER = 5
    BOOLEAN = 6
    TIMESTAMP = 7

cdef enum:
    MOST_PIECES = 200


cdef class Packer:
    """See `packing.Packer`, which has the same arguments."""

    cdef int _count, _values
    cdef list _literals
    cdef int _kinds[MOST_PIECES]
    cdef const char* _texts[MOST_PIECES]
    cdef Py_ssize_t _sizes[MOST_PIECES]
    cdef int64_t _shift

    def __cinit__(self, pieces, *, shift):
        if len(pieces) > MOST_PIECES:
            raise ValueError("too many columns")
        self._literals = [literal for _, literal in pieces]
        self._count, self._values, self._shift = len(pieces), 0, shift
        for place, (kind, literal) in enumerate(pieces):
            self._kinds[place] = kind
            if kind == LITERAL:
                self._texts[place], self._sizes[place] = PyBytes_AS_STRING(literal), len(literal)
            else:
                self._values += 1

    def __call__(self, *values):
        cdef const char* texts[MOST_PIECES]
        cdef Py_ssize_t sizes[MOST_PIECES]
        cdef int64_t numbers[MOST_PIECES]
        cdef Py_ssize_t size = 0
        cdef int place, number = 0, kind
        cdef object value
        cdef bytes made
        cdef char* out
        if PyTuple_GET_SIZE(values) != self._values:
            raise TypeError(f"{self._values} values are wanted, not {len(values)}")
        for place in range(self._count):
            kind = self._kinds[place]
            if kind == LITERAL:
                texts[place], sizes[place] = self._texts[place], self._sizes[place]
                size += sizes[place]
                continue
            value = <object>PyTuple_GET_ITEM(values, number)
            number += 1
            if value is None:
                sizes[place] = -1
                size += 4
                continue
            if kind == TEXT:
                texts[place] = PyUnicode_AsUTF8AndSize(value, &sizes[place])
            elif kind == INTEGER:
                sizes[place], numbers[place] = 4, <int32_t>value
            elif kind == BOOLEAN:
                sizes[place], numbers[place] = 1, 1 if value else 0
            elif kind == TIMESTAMP:
                sizes[place], numbers[place] = 8, <int64_t>value - self._shift
            else:
                texts[place], sizes[place] = PyBytes_AS_STRING(<bytes?>value), PyBytes_GET_SIZE(value)
                if kind == UUID_TEXT:
                    if sizes[place] != 16:
                        raise ValueError("not the bytes of a UUID")
                    sizes[place] = 36
            size += sizes[place] + (0 if kind == FRAGMENT else 4)
        made = PyBytes_FromStringAndSize(NULL, size)
        out = PyBytes_AS_STRING(made)
        for place in range(self._count):
            kind = self._kinds[place]
            if kind != LITERAL and kind != FRAGMENT or sizes[place] < 0:
                write_big(out, <uint32_t>sizes[place])
                out += 4
            if sizes[place] < 0:
                continue
            if kind == UUID_TEXT:
                write_uuid(<Bytes>texts[place], out)
            elif kind == INTEGER:
                write_big(out, <uint32_t>numbers[place])
            elif kind == BOOLEAN:
                out[0] = <char>numbers[place]
            elif kind == TIMESTAMP:
                write_big(out, <uint32_t>(<uint64_t>numbers[place] >> 32))
                write_big(out + 4, <uint32_t>numbers[place])
            else:
                memcpy(out, texts[place], sizes[place])
            out += sizes[place]
        return made


cdef void write_uuid(Bytes value, char* out) noexcept nogil:
    cdef const char* digits = "0123456789abcdef"
    cdef int number
    for number in range(16):
        if number == 4 or number == 6 or number == 8 or number == 10:
            out[0] = 45
            out += 1
        out[0] = digits[value[number] >> 4]
        out[1] = digits[value[number] & 15]
        out += 2
