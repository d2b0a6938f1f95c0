# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Writes the fields of a document as BSON, from the columns of its row and from the fields that Python has computed."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from migrator.documents.native._bson cimport Bytes, write_little
from migrator.translation.native._buffer cimport write_uuid_text
from migrator.translation.native._computed cimport value_size, write_value

cdef enum FieldForm:  # as in `field_parts.FieldPart`
    COMPUTED = 0
    CONSTANT = 1
    TEXT = 2
    UUID_TEXT = 3
    BOOLEAN = 4
    TIMESTAMP = 5
    KEPT = 6

# For a test that compares these numbers with those of Python.
FORMS = {
    "COMPUTED": COMPUTED, "CONSTANT": CONSTANT, "TEXT": TEXT, "UUID_TEXT": UUID_TEXT, "BOOLEAN": BOOLEAN,
    "TIMESTAMP": TIMESTAMP, "KEPT": KEPT,
}

cdef enum:
    MAX_PARTS = 200
    MOST_INPUTS = 16
    MOST_KEPT = 1000  # results of the functions of one `KeptFields`

cdef struct Part:
    int form
    int place
    int number  # among the parts with the same `KeptFields`
    const char* name
    Py_ssize_t name_size  # with the zero at its end
    const char* literal  # NULL: a column without a value is an error
    Py_ssize_t literal_size


cdef class Kept:
    """A `KeptFields`, with its results by the bytes of the columns."""

    cdef int _places[MOST_INPUTS]
    cdef int _count
    cdef object _compute
    cdef dict _results

    def __cinit__(self, places, compute):
        if not 0 < len(places) <= MOST_INPUTS:
            raise ValueError("no columns, or too many")
        self._count, self._compute, self._results = len(places), compute, {}
        for index, place in enumerate(places):
            self._places[index] = place

    cdef tuple elements(self, list fields):
        """Return the elements for a row."""
        cdef tuple key = PyTuple_New(self._count)
        cdef tuple found
        cdef int index
        for index in range(self._count):
            value = fields[self._places[index]]
            Py_INCREF(value)
            PyTuple_SET_ITEM(key, index, value)
        known = PyDict_GetItem(self._results, key)
        if known != NULL:
            return <tuple>known
        found = self._compute(fields)
        for element in found:
            if type(element) is not bytes:
                raise ValueError("BSON cannot have a computed value")
        if len(self._results) >= MOST_KEPT:
            self._results.clear()
        self._results[key] = found
        return found


cdef class FieldWriter:
    """See `field_parts.FieldPart` and `KeptFields`. `shift`: microseconds from 1970 to 2000, the epoch of PostgreSQL.

    `encode` returns a document as BSON.
    """

    cdef list _names, _bytes  # `_bytes`: names and literals
    cdef list _kept
    cdef object _encode
    cdef Part _parts[MAX_PARTS]
    cdef int _count
    cdef int64_t _shift

    def __cinit__(self, parts, kept=(), *, shift, encode):
        cdef Part* part
        if len(parts) > MAX_PARTS:
            raise ValueError("too many fields")
        self._count, self._shift, self._bytes, self._encode = len(parts), shift, [], encode
        self._kept = [Kept(places, compute) for places, compute in kept]
        self._names = [name for _, name, _, _ in parts]
        numbers = [0] * len(self._kept)
        for index, (form, name, place, literal) in enumerate(parts):
            part = &self._parts[index]
            ended = name.encode() + b"\0"
            self._bytes += [ended, literal]
            part.form, part.place = form, place
            part.name, part.name_size = PyBytes_AS_STRING(ended), len(ended)
            part.literal, part.literal_size = NULL, 0
            if literal is not None:
                part.literal, part.literal_size = PyBytes_AS_STRING(literal), len(literal)
            if form == KEPT:
                part.number = numbers[place]
                numbers[place] += 1

    def __call__(self, list fields not None, dict computed not None, list last not None = []):
        """Return a document with all fields. `computed`: those of Python; those that `last` names come last."""
        cdef list encoded = []  # what the driver encodes, in the order of writing
        cdef list kept = [(<Kept>each).elements(fields) for each in self._kept]
        cdef bint is_known[MAX_PARTS]
        cdef Py_ssize_t size = 5, known
        cdef char kind
        cdef Part* part
        cdef object value
        cdef bytes made
        cdef char* start
        cdef char* out
        cdef int index, left = len(computed)
        for index in range(self._count):
            part = &self._parts[index]
            if part.form == CONSTANT:
                size += part.literal_size
            elif part.form == KEPT:
                size += PyBytes_GET_SIZE((<tuple>kept[part.place])[part.number])
            elif part.form == COMPUTED:
                name = self._names[index]
                if name in computed and name not in last:
                    left -= 1
                    known = value_size(computed[name], 0)
                    is_known[index] = known >= 0
                    size += 1 + part.name_size + known if known >= 0 else self._encoded_size(name, computed, encoded)
            else:
                value = fields[part.place]
                if value is None:
                    if part.literal == NULL:
                        raise ValueError("a column without a value")
                    size += part.literal_size
                else:
                    size += 1 + part.name_size + self._check(part, value)
        if left != len(last):
            raise ValueError("a computed field that no part names")
        if last:
            value = {name: computed[name] for name in last}
            known = value_size(value, 0)
            if known < 0:
                made = self._encode(value)
            else:
                made = PyBytes_FromStringAndSize(NULL, known)
                write_value(value, &kind, PyBytes_AS_STRING(made))
            encoded.append(made)
            size += PyBytes_GET_SIZE(made) - 5
        encoded.reverse()
        made = PyBytes_FromStringAndSize(NULL, size)
        start = PyBytes_AS_STRING(made)
        out = start + 4
        write_little(start, <uint32_t>size)
        for index in range(self._count):
            part = &self._parts[index]
            if part.form == COMPUTED:
                name = self._names[index]
                if name not in computed or name in last:
                    continue
                if is_known[index]:
                    memcpy(out + 1, part.name, part.name_size)
                    out = write_value(computed[name], out, out + 1 + part.name_size)
                else:
                    out = write_elements(encoded.pop(), 4, 5, out)
                continue
            if part.form == KEPT:
                out = write_elements((<tuple>kept[part.place])[part.number], 0, 0, out)
                continue
            value = None if part.form == CONSTANT else fields[part.place]
            if value is None:
                memcpy(out, part.literal, part.literal_size)
                out += part.literal_size
            else:
                out = self._write(part, <Bytes>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), out)
        if last:
            out = write_elements(encoded.pop(), 4, 5, out)
        out[0] = 0
        return made

    cdef Py_ssize_t _encoded_size(self, str name, dict computed, list encoded) except -1:
        """Let the driver encode an element. Return its bytes."""
        cdef bytes made = self._encode({name: computed[name]})
        encoded.append(made)
        return PyBytes_GET_SIZE(made) - 5

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


cdef inline char* write_elements(bytes document, Py_ssize_t start, Py_ssize_t frame, char* out):
    """Write the bytes of a document from `start`, without the `frame` around its elements, and return their end."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(document) - frame
    memcpy(out, PyBytes_AS_STRING(document) + start, size)
    return out + size


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
