# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of `cutting.Cutter`: the same answers, sooner.

Raw BSON is read where it lies; of a document only those fields become Python objects that a compiled function asks
for. A document is cut only if it is certain that Python's driver would decode it and encode it to the very same bytes;
about any other nothing is said (None), and it goes the long way. So whatever is not known here may be left unknown.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memset

from migrator.translation.native._bson cimport (
    ARRAY, BINARY, BOOLEAN, DATE, DOCUMENT, DOUBLE, INT32, MOST_FIELDS, NULL_VALUE, OBJECTID, STRING, Bytes, Seen, byte,
    hash_of, int32, int64, is_new, is_utf8, read_uuid, skip, value_end, write_big, write_little,
)

cdef enum Form:  # of a slot, as in `cutting.Form`
    VALUE = 0
    MOMENT = 1
    UUID = 2
    WHOLE = 3
    THERE = 4


cdef struct Field:
    Bytes name
    Py_ssize_t length
    uint32_t hash
    bint given
    byte kind  # this and what follows: in the document at hand
    Bytes value  # NULL where it is absent
    Bytes end


cdef struct Slot:
    int field
    int form


cdef class Cutter:
    """See `cutting.Cutter`. For one thread: what was found of the document at hand is kept here while it is read."""

    cdef Field* _fields  # `_id` is the first
    cdef Slot* _slots
    cdef int* _familiar
    cdef int* _table  # fields by hash, -1 where there is none
    cdef int _field_count, _slot_count, _familiar_count, _mask
    cdef dict _places  # of fields by name; keeps the names alive
    cdef list _names
    cdef int64_t _earliest, _latest
    cdef object _absent, _decode

    def __cinit__(self, given, familiar, slots, *, absent, decode, earliest, latest):
        names = dict.fromkeys(["_id", *sorted(given), *familiar, *(name for name, form in slots if form != WHOLE)])
        self._places = {name: place for place, name in enumerate(names)}
        self._names = [name.encode() for name in names]
        self._absent, self._decode = absent, decode
        self._earliest, self._latest = earliest, latest
        self._field_count, self._slot_count, self._familiar_count = len(names), len(slots), len(familiar)
        size = 4
        while size < 4 * len(names):
            size *= 2
        self._mask = size - 1
        self._fields = <Field*>allocate(len(names) * sizeof(Field))
        self._slots = <Slot*>allocate(len(slots) * sizeof(Slot))
        self._familiar = <int*>allocate(len(familiar) * sizeof(int))
        self._table = <int*>allocate(size * sizeof(int))
        memset(self._table, 0xFF, size * sizeof(int))
        for place, name in enumerate(names):
            self._add(place, name in given or name == "_id")
        for place, (name, form) in enumerate(slots):
            self._slots[place].field, self._slots[place].form = self._places.get(name, 0), form
        for place, name in enumerate(familiar):
            self._familiar[place] = self._places[name]

    cdef _add(self, int place, bint given):
        cdef bytes name = self._names[place]
        cdef Field* field = &self._fields[place]
        cdef uint32_t slot
        field.name, field.length, field.given = <Bytes>PyBytes_AS_STRING(name), len(name), given
        field.hash = hash_of(field.name, field.length)
        slot = field.hash & self._mask
        while self._table[slot] >= 0:
            slot = (slot + 1) & self._mask
        self._table[slot] = place

    def __dealloc__(self):
        PyMem_Free(self._fields)
        PyMem_Free(self._slots)
        PyMem_Free(self._familiar)
        PyMem_Free(self._table)

    def cut(self, bytes data, Py_ssize_t position, Py_ssize_t most):
        """At most so many documents of a batch, from a position on."""
        cdef Bytes start = <Bytes>PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), length
        cdef list starts = [], tuples = []
        cdef int others
        while position < size and len(tuples) < most:
            length = int32(start + position) if size - position >= 5 else 0
            if length < 5 or length > size - position:
                raise ValueError("a document's length is not that of the batch")
            starts.append(position)
            others = self._read(start + position, length)
            tuples.append(None if others < 0 else self._tuple(start + position, length, others))
            position += length
        return Cuts(self, data, starts, tuples, position)

    cdef int _read(self, Bytes p, Py_ssize_t length) noexcept nogil:
        """Finds a document's fields: how many there are beside those that are given; -1 for a document not to be cut."""
        cdef Bytes last = p + length - 1
        cdef Bytes element = p + 4
        cdef Bytes name, value
        cdef Field* field
        cdef uint32_t hash
        cdef int others = 0, elements = 0, place
        cdef Seen seen
        if last[0]:
            return -1
        memset(&seen, 0, sizeof(Seen))
        for place in range(self._field_count):
            self._fields[place].value = NULL
        while element < last:
            name = element + 1
            value = <Bytes>memchr(name, 0, last - name)
            elements += 1
            if value == NULL or elements > MOST_FIELDS:
                return -1
            length = value - name
            value += 1
            hash = hash_of(name, length)
            field = self._find(name, length, hash)
            if field == NULL:
                others += 1
                if not (is_utf8(name, length) and is_new(&seen, p + 4, element, length, hash)):
                    return -1
            elif field.value != NULL:  # twice
                return -1
            else:
                others += not field.given
                field.kind, field.value = element[0], value
            element = value_end(element[0], value, last, 0)
            if element == NULL:
                return -1
            if field != NULL:
                field.end = element
        if element != last or self._fields[0].value == NULL or self._fields[0].kind != OBJECTID:
            return -1
        return others

    cdef inline Field* _find(self, Bytes name, Py_ssize_t length, uint32_t hash) noexcept nogil:
        cdef uint32_t slot = hash & self._mask
        cdef int place = self._table[slot]
        cdef Field* field
        while place >= 0:
            field = &self._fields[place]
            if field.hash == hash and field.length == length and memcmp(field.name, name, length) == 0:
                return field
            slot = (slot + 1) & self._mask
            place = self._table[slot]
        return NULL

    cdef tuple _tuple(self, Bytes document, Py_ssize_t length, int others):
        """What is asked of the document at hand; None where one of its fields is not what its slot takes."""
        cdef tuple made = PyTuple_New(3 + self._slot_count)
        cdef object value
        cdef int place, rest
        put(made, 0, PyBytes_FromStringAndSize(<const char*>self._fields[0].value, 12))
        put(made, 1, others)
        put(made, 2, self._familiar_key())
        for place in range(self._slot_count):
            if self._slots[place].form == WHOLE:
                value = self._decode(DOCUMENT, PyBytes_FromStringAndSize(<const char*>document, length))
            else:
                value = self._slot(self._slots[place].form, &self._fields[self._slots[place].field])
            if value is _UNFIT:
                for rest in range(place, self._slot_count):
                    put(made, 3 + rest, None)
                return None
            put(made, 3 + place, value)
        return made

    cdef bytes _familiar_key(self):
        """The types and values of the familiar fields, 0 for the absent ones."""
        cdef Py_ssize_t size = self._familiar_count
        cdef int place
        cdef Field* field
        cdef bytes key
        cdef char* out
        for place in range(self._familiar_count):
            field = &self._fields[self._familiar[place]]
            if field.value != NULL:
                size += field.end - field.value
        key = PyBytes_FromStringAndSize(NULL, size)
        out = PyBytes_AS_STRING(key)
        for place in range(self._familiar_count):
            field = &self._fields[self._familiar[place]]
            out[0] = 0 if field.value == NULL else <char>field.kind
            out += 1
            if field.value != NULL:
                memcpy(out, field.value, field.end - field.value)
                out += field.end - field.value
        return key

    cdef object _slot(self, int form, Field* field):
        cdef byte uuid[16]
        cdef int64_t milliseconds
        if field.value == NULL:
            return self._absent
        if form == THERE:
            return True
        if form == MOMENT:
            if field.kind == NULL_VALUE:
                return None
            milliseconds = int64(field.value) if field.kind == DATE else self._latest + 1
            return milliseconds * 1000 if self._earliest <= milliseconds <= self._latest else _UNFIT
        if form == UUID:
            if field.kind == STRING and int32(field.value) == 37 and read_uuid(field.value + 4, uuid):
                return PyBytes_FromStringAndSize(<const char*>uuid, 16)
            if field.kind == BINARY:  # bytes to Python, as the answer for a UUID is
                return _UNFIT
        return self._value(field.kind, field.value, field.end)

    cdef object _value(self, byte kind, Bytes p, Bytes end):
        """A value as the driver decodes it."""
        cdef bytes raw
        cdef double number
        if kind == STRING:
            return PyUnicode_DecodeUTF8(<const char*>p + 4, int32(p) - 1, NULL)
        if kind == BOOLEAN:
            return p[0] == 1
        if kind == INT32:
            return int32(p)
        if kind == NULL_VALUE:
            return None
        if kind == DOUBLE:
            memcpy(&number, p, 8)
            return number
        if kind == DOCUMENT:
            return self._document(p)
        if kind == ARRAY:
            return self._array(p)
        raw = PyBytes_FromStringAndSize(<const char*>p, end - p)
        return self._decode(kind, raw)

    cdef dict _document(self, Bytes p):
        cdef Bytes last = p + int32(p) - 1
        cdef Bytes name, value, end
        cdef Py_ssize_t length
        cdef byte kind
        cdef dict made = {}
        p += 4
        while p < last:
            kind, name = p[0], p + 1
            length = <Bytes>memchr(name, 0, last - name) - name
            value = name + length + 1
            end = skip(kind, value)
            made[PyUnicode_DecodeUTF8(<const char*>name, length, NULL)] = self._value(kind, value, end)
            p = end
        return made

    cdef list _array(self, Bytes p):
        cdef Bytes last = p + int32(p) - 1
        cdef Bytes value, end
        cdef byte kind
        cdef list made = []
        p += 4
        while p < last:
            kind = p[0]
            value = <Bytes>memchr(p + 1, 0, last - p) + 1
            end = skip(kind, value)
            made.append(self._value(kind, value, end))
            p = end
        return made

    cdef bytes _residue(self, Bytes p, tuple other, bytes told):
        """See `Cuts.residue`."""
        cdef Bytes last = p + int32(p) - 1
        cdef Bytes element = p + 4
        cdef Bytes name, end
        cdef Bytes begins[MOST_FIELDS]
        cdef Bytes ends[MOST_FIELDS]
        cdef Py_ssize_t size = 0, length
        cdef int runs = 0, place
        cdef Field* field
        cdef bytes made
        cdef char* out
        for text in other:
            self._fields[<int>self._places[text]].given = False
        while element < last:
            name = element + 1
            length = <Bytes>memchr(name, 0, last - name) - name
            end = skip(element[0], name + length + 1)
            field = self._find(name, length, hash_of(name, length))
            if field == NULL or not field.given:
                if runs and ends[runs - 1] == element:
                    ends[runs - 1] = end
                else:
                    begins[runs], ends[runs] = element, end
                    runs += 1
                size += end - element
            element = end
        for text in other:
            self._fields[<int>self._places[text]].given = True
        if size:
            size += 10
        size += PyBytes_GET_SIZE(told) + 5
        if size == 5:
            return b"\xff\xff\xff\xff"
        made = PyBytes_FromStringAndSize(NULL, size + 4)
        out = PyBytes_AS_STRING(made)
        write_big(out, <uint32_t>size)
        write_little(out + 4, <uint32_t>size)
        out += 8
        if runs:
            memcpy(out, b"\x03set\0", 5)
            write_little(out + 5, <uint32_t>(size - PyBytes_GET_SIZE(told) - 10))
            out += 9
            for place in range(runs):
                memcpy(out, begins[place], ends[place] - begins[place])
                out += ends[place] - begins[place]
            out[0] = 0
            out += 1
        memcpy(out, PyBytes_AS_STRING(told), PyBytes_GET_SIZE(told))
        out[PyBytes_GET_SIZE(told)] = 0
        return made


cdef class Cuts:
    """See `cutting.Cuts`."""

    cdef Cutter _cutter
    cdef readonly bytes data
    cdef readonly list starts, tuples
    cdef readonly Py_ssize_t end

    def __cinit__(self, Cutter cutter, bytes data, list starts, list tuples, Py_ssize_t end):
        self._cutter, self.data, self.starts, self.tuples, self.end = cutter, data, starts, tuples, end

    def raw(self, Py_ssize_t place):
        """A document's own bytes."""
        cdef Bytes p = <Bytes>PyBytes_AS_STRING(self.data) + <Py_ssize_t>self.starts[place]
        return PyBytes_FromStringAndSize(<const char*>p, int32(p))

    def residue(self, Py_ssize_t place, tuple other, bytes told):
        """The ledger's field with the residue of a document that has been cut."""
        cdef Bytes p = <Bytes>PyBytes_AS_STRING(self.data) + <Py_ssize_t>self.starts[place]
        return self._cutter._residue(p, other, told)


cdef object _UNFIT = object()


cdef void* allocate(size_t size) except NULL:
    cdef void* memory = PyMem_Malloc(size or 1)
    if memory == NULL:
        raise MemoryError
    return memory


cdef inline void put(tuple made, Py_ssize_t place, object value):
    Py_INCREF(value)
    PyTuple_SET_ITEM(made, place, value)
