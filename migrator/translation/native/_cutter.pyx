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

cdef enum Form:  # of a slot, as in `cutting.FORMS`
    VALUE = 0
    MOMENT = 1
    UUID = 2
    WHOLE = 3


cdef struct Found:  # a field of the document at hand; `value` is NULL where it is absent
    byte kind
    Bytes value
    Bytes end


cdef class Cutter:
    """See `cutting.Cutter`. For one thread: what was found of the document at hand is kept here while it is read."""

    cdef list _names
    cdef int _count, _mask, _id, _known
    cdef Bytes* _name
    cdef Py_ssize_t* _length
    cdef uint32_t* _hash
    cdef int* _table
    cdef Found* _found
    cdef bint* _given
    cdef int _slots, _familiar
    cdef int* _slot_field
    cdef int* _slot_form
    cdef int* _familiar_field
    cdef int64_t _earliest, _latest
    cdef object _absent, _decode
    cdef dict _place

    def __cinit__(self, given, familiar, slots, *, absent, decode, earliest, latest):
        names = dict.fromkeys(["_id", *sorted(given), *familiar, *(name for name, form in slots if form != WHOLE)])
        self._names = [name.encode() for name in names]
        self._place = {name: place for place, name in enumerate(names)}
        self._count = len(self._names)
        self._id = 0
        size = 4
        while size < 4 * self._count:
            size *= 2
        self._mask = size - 1
        self._name = <Bytes*>allocate(self._count * sizeof(Bytes))
        self._length = <Py_ssize_t*>allocate(self._count * sizeof(Py_ssize_t))
        self._hash = <uint32_t*>allocate(self._count * sizeof(uint32_t))
        self._found = <Found*>allocate(self._count * sizeof(Found))
        self._given = <bint*>allocate(self._count * sizeof(bint))
        self._table = <int*>allocate(size * sizeof(int))
        self._slots, self._familiar = len(slots), len(familiar)
        self._slot_field = <int*>allocate(self._slots * sizeof(int))
        self._slot_form = <int*>allocate(self._slots * sizeof(int))
        self._familiar_field = <int*>allocate(self._familiar * sizeof(int))
        for place in range(size):
            self._table[place] = -1
        for place, name in enumerate(names):
            self._add(place, name in given or name == "_id")
        for place, (name, form) in enumerate(slots):
            self._slot_field[place], self._slot_form[place] = self._place.get(name, 0), form
        for place, name in enumerate(familiar):
            self._familiar_field[place] = self._place[name]
        self._absent, self._decode = absent, decode
        self._earliest, self._latest = earliest, latest

    cdef _add(self, int place, bint given):
        cdef bytes name = self._names[place]
        cdef uint32_t slot
        self._name[place], self._length[place] = <Bytes>PyBytes_AS_STRING(name), len(name)
        self._hash[place] = hash_of(self._name[place], self._length[place])
        self._given[place] = given
        slot = self._hash[place] & self._mask
        while self._table[slot] >= 0:
            slot = (slot + 1) & self._mask
        self._table[slot] = place

    def __dealloc__(self):
        for pointer in (<size_t>self._name, <size_t>self._length, <size_t>self._hash, <size_t>self._found,
                        <size_t>self._given, <size_t>self._table, <size_t>self._slot_field,
                        <size_t>self._slot_form, <size_t>self._familiar_field):
            PyMem_Free(<void*><size_t>pointer)

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
        cdef Bytes name, name_end
        cdef uint32_t hash
        cdef int field, others = 0, place
        cdef Seen seen
        if last[0]:
            return -1
        memset(&seen, 0, sizeof(Seen))
        for place in range(self._count):
            self._found[place].value = NULL
        while element < last:
            name = element + 1
            name_end = <Bytes>memchr(name, 0, last - name)
            if name_end == NULL:
                return -1
            hash = hash_of(name, name_end - name)
            field = self._field(name, name_end - name, hash)
            if field >= 0 and self._found[field].value != NULL:
                return -1
            if field < 0 and not (is_utf8(name, name_end - name) and is_new(&seen, p + 4, element, name_end - name, hash)):
                return -1
            others += field < 0 or not self._given[field]
            if field >= 0:
                self._found[field].kind, self._found[field].value = element[0], name_end + 1
            element = value_end(element[0], name_end + 1, last, 0)
            if element == NULL:
                return -1
            if field >= 0:
                self._found[field].end = element
        if element != last or self._found[self._id].value == NULL or self._found[self._id].kind != OBJECTID:
            return -1
        return others

    cdef inline int _field(self, Bytes name, Py_ssize_t length, uint32_t hash) noexcept nogil:
        cdef uint32_t slot = hash & self._mask
        cdef int place = self._table[slot]
        while place >= 0:
            if self._hash[place] == hash and self._length[place] == length and memcmp(self._name[place], name, length) == 0:
                return place
            slot = (slot + 1) & self._mask
            place = self._table[slot]
        return -1

    cdef tuple _tuple(self, Bytes document, Py_ssize_t length, int others):
        """What is asked of the document at hand; None where one of its fields is not what its slot takes."""
        cdef tuple made = PyTuple_New(3 + self._slots)
        cdef object value
        cdef int place
        put(made, 0, PyBytes_FromStringAndSize(<const char*>self._found[self._id].value, 12))
        put(made, 1, others)
        put(made, 2, self._familiar_key())
        for place in range(self._slots):
            if self._slot_form[place] == WHOLE:
                value = self._decode(DOCUMENT, PyBytes_FromStringAndSize(<const char*>document, length))
            else:
                value = self._slot(self._slot_form[place], &self._found[self._slot_field[place]])
            if value is _UNFIT:
                for place in range(place, self._slots):
                    put(made, 3 + place, None)
                return None
            put(made, 3 + place, value)
        return made

    cdef bytes _familiar_key(self):
        """The types and values of the familiar fields, 0 for the absent ones."""
        cdef Py_ssize_t size = 0
        cdef int place
        cdef Found* found
        cdef bytes key
        cdef char* out
        for place in range(self._familiar):
            found = &self._found[self._familiar_field[place]]
            size += 1 if found.value == NULL else 1 + (found.end - found.value)
        key = PyBytes_FromStringAndSize(NULL, size)
        out = PyBytes_AS_STRING(key)
        for place in range(self._familiar):
            found = &self._found[self._familiar_field[place]]
            if found.value == NULL:
                out[0] = 0
                out += 1
                continue
            out[0] = <char>found.kind
            memcpy(out + 1, found.value, found.end - found.value)
            out += 1 + (found.end - found.value)
        return key

    cdef object _slot(self, int form, Found* found):
        cdef byte uuid[16]
        cdef int64_t milliseconds
        if found.value == NULL:
            return self._absent
        if form == MOMENT:
            if found.kind == NULL_VALUE:
                return None
            milliseconds = int64(found.value) if found.kind == DATE else self._latest + 1
            return milliseconds * 1000 if self._earliest <= milliseconds <= self._latest else _UNFIT
        if form == UUID:
            if found.kind == STRING and int32(found.value) == 37 and read_uuid(found.value + 4, uuid):
                return PyBytes_FromStringAndSize(<const char*>uuid, 16)
            if found.kind == BINARY:  # bytes to Python, as the answer for a UUID is
                return _UNFIT
        return self._value(found.kind, found.value, found.end)

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
        cdef Bytes begins[MOST_FIELDS + 1]
        cdef Bytes ends[MOST_FIELDS + 1]
        cdef Py_ssize_t size = 0, length
        cdef int runs = 0, field, place
        cdef bytes made
        cdef char* out
        cdef int64_t wanted = 0
        cdef set names = None
        for text in other:
            place = self._place[text]
            if place < 63:
                wanted |= <int64_t>1 << place
            else:
                names = {*(names or ()), place}
        while element < last:
            name = element + 1
            length = <Bytes>memchr(name, 0, last - name) - name
            end = skip(element[0], name + length + 1)
            field = self._field(name, length, hash_of(name, length))
            if field < 0 or not self._given[field] or (field < 63 and wanted >> field & 1) or (
                field >= 63 and names is not None and field in names
            ):
                if runs and ends[runs - 1] == element:
                    ends[runs - 1] = end
                else:
                    begins[runs], ends[runs] = element, end
                    runs += 1
                size += end - element
            element = end
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
