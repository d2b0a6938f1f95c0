# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Writes the fields of a document as BSON, from the columns of its row and from the fields that Python has computed."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from migrator.documents.native._bson cimport Bytes, any_value_end, int32, write_little
from migrator.translation.native._buffer cimport write_uuid_text

cdef enum FieldForm:  # as in `field_parts.FieldPart`
    COMPUTED = 0
    CONSTANT = 1
    TEXT = 2
    UUID_TEXT = 3
    BOOLEAN = 4
    TIMESTAMP = 5

# For a test that compares these numbers with those of Python.
FORMS = {
    "COMPUTED": COMPUTED, "CONSTANT": CONSTANT, "TEXT": TEXT, "UUID_TEXT": UUID_TEXT, "BOOLEAN": BOOLEAN,
    "TIMESTAMP": TIMESTAMP,
}

cdef enum:
    MAX_PARTS = 200

cdef struct Part:
    int form
    int place
    const char* name
    Py_ssize_t name_size  # with the zero at its end
    const char* literal  # NULL: a column without a value is an error
    Py_ssize_t literal_size


cdef class FieldWriter:
    """See `field_parts.FieldPart`. `shift`: microseconds from 1970 to 2000, the epoch of PostgreSQL."""

    cdef list _kept  # names and literals
    cdef Part _parts[MAX_PARTS]
    cdef int _count
    cdef int64_t _shift

    def __cinit__(self, parts, *, shift):
        cdef Part* part
        if len(parts) > MAX_PARTS:
            raise ValueError("too many fields")
        self._count, self._shift, self._kept = len(parts), shift, []
        for index, (form, name, place, literal) in enumerate(parts):
            part = &self._parts[index]
            ended = name.encode() + b"\0"
            self._kept += [ended, literal]
            part.form, part.place = form, place
            part.name, part.name_size = PyBytes_AS_STRING(ended), len(ended)
            part.literal, part.literal_size = NULL, 0
            if literal is not None:
                part.literal, part.literal_size = PyBytes_AS_STRING(literal), len(literal)

    def __call__(self, list fields not None, bytes computed not None, bytes moved not None = b""):
        """Return a document with all fields. `computed`: BSON with those of Python; what no part names comes last.

        The fields of `moved`, another document, follow.
        """
        cdef Bytes element = <Bytes>PyBytes_AS_STRING(computed) + 4
        cdef Bytes last = <Bytes>PyBytes_AS_STRING(computed) + PyBytes_GET_SIZE(computed) - 1
        cdef Bytes end
        cdef Py_ssize_t size = PyBytes_GET_SIZE(computed), moved_size = max(PyBytes_GET_SIZE(moved) - 5, 0)
        cdef Part* part
        cdef object value
        cdef bytes made
        cdef char* start
        cdef char* out
        cdef int index
        for index in range(self._count):
            part = &self._parts[index]
            if part.form == CONSTANT:
                size += part.literal_size
            elif part.form != COMPUTED:
                value = fields[part.place]
                if value is None:
                    if part.literal == NULL:
                        raise ValueError("a column without a value")
                    size += part.literal_size
                else:
                    size += 1 + part.name_size + self._check(part, value)
        size += moved_size
        made = PyBytes_FromStringAndSize(NULL, size)
        start = PyBytes_AS_STRING(made)
        out = start + 4
        write_little(start, <uint32_t>size)
        for index in range(self._count):
            part = &self._parts[index]
            if part.form == COMPUTED:
                if element < last and last - element > part.name_size and memcmp(element + 1, part.name, part.name_size) == 0:
                    end = any_value_end(element[0], element + 1 + part.name_size, last)
                    if end == NULL:
                        raise ValueError("not BSON")
                    memcpy(out, element, end - element)
                    out += end - element
                    element = end
                continue
            value = None if part.form == CONSTANT else fields[part.place]
            if value is None:
                memcpy(out, part.literal, part.literal_size)
                out += part.literal_size
            else:
                out = self._write(part, <Bytes>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), out)
        memcpy(out, element, last - element)
        out += last - element
        if moved_size:
            memcpy(out, PyBytes_AS_STRING(moved) + 4, moved_size)
            out += moved_size
        out[0] = 0
        return made

    cdef Py_ssize_t _check(self, Part* part, object value) except -1:
        """Return the bytes of a value in BSON. Raises: ValueError if it does not have the form of its column."""
        cdef Py_ssize_t size
        if not PyBytes_Check(value):
            raise ValueError("not bytes")
        size = PyBytes_GET_SIZE(value)
        if part.form == TEXT:
            if memchr(PyBytes_AS_STRING(value), 0, size) != NULL or size > 0x7FFFFFF0:
                raise ValueError("not a text of PostgreSQL")
            return size + 5
        if part.form == UUID_TEXT:
            size = 41 if size == 16 else -1
        elif part.form == BOOLEAN:
            size = 1 if size == 1 else -1
        else:
            size = 8 if size == 8 and big64(<Bytes>PyBytes_AS_STRING(value)) <= INT64_MAX - self._shift else -1
        if size < 0:
            raise ValueError("a value has another form than its column")
        return size

    cdef char* _write(self, Part* part, Bytes value, Py_ssize_t size, char* out) noexcept nogil:
        """Write an element, and return its end."""
        cdef char* at = out + 1 + part.name_size
        memcpy(out + 1, part.name, part.name_size)
        if part.form == TEXT:
            out[0] = 0x02
            write_little(at, <uint32_t>(size + 1))
            memcpy(at + 4, value, size)
            at[4 + size] = 0
            return at + size + 5
        if part.form == UUID_TEXT:
            out[0] = 0x02
            write_little(at, 37)
            write_uuid_text(value, at + 4)
            at[40] = 0
            return at + 41
        if part.form == BOOLEAN:
            out[0] = 0x08
            at[0] = value[0] == 1
            return at + 1
        out[0] = 0x09
        write_milliseconds(big64(value) + self._shift, at)
        return at + 8


cdef inline int64_t big64(Bytes p) noexcept nogil:
    cdef uint64_t value = 0
    cdef int index
    for index in range(8):
        value = value << 8 | p[index]
    return <int64_t>value


cdef inline void write_milliseconds(int64_t microseconds, char* out) noexcept nogil:
    cdef int64_t value = microseconds / 1000
    if microseconds % 1000 < 0:  # C rounds towards zero, Python downwards
        value -= 1
    write_little(out, <uint32_t><uint64_t>value)
    write_little(out + 4, <uint32_t>(<uint64_t>value >> 32))
