# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled version of `projection.Projector`.

It reads raw BSON in index, and creates Python objects only for the fields that are needed. It projects a document only
if the driver would certainly decode it and encode it to the same bytes. For any changed document the tuple is None, and
the interpreter translates it. So this code need not know every detail of BSON.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from bson import Int64 as _Int64
from bson import ObjectId as _ObjectId
from bson.datetime_ms import DatetimeMS as _DatetimeMS

from migrator.documents.native._bson cimport (
    ARRAY, BINARY, BOOLEAN, DATE, DECIMAL128, DOCUMENT, DOUBLE, INT32, INT64, MAX_FIELDS, MAX_KEY, MIN_KEY, NULL_VALUE,
    OBJECTID, STRING, TIMESTAMP, Bytes, SeenNames, byte, hash_of, int32, int64, is_new, is_utf8, read_uuid, skip,
    value_end, write_big, write_little,
)
from migrator.documents.native._text_parts cimport PartsForm

cdef enum SlotType:  # as in `projection.SlotType`
    VALUE = 0
    DATETIME = 1
    UUID = 2
    WHOLE_DOCUMENT = 3
    PRESENT = 4
    ELEMENTS = 5
    PARTS = 6

# For a test that compares these numbers with those of Python.
SLOT_TYPES = {"VALUE": VALUE, "DATETIME": DATETIME, "UUID": UUID, "DOCUMENT": WHOLE_DOCUMENT, "PRESENT": PRESENT, "ELEMENTS": ELEMENTS, "PARTS": PARTS}
BSON_TYPES = {
    "DOUBLE": DOUBLE, "STRING": STRING, "DOCUMENT": DOCUMENT, "ARRAY": ARRAY, "BINARY": BINARY, "OBJECTID": OBJECTID,
    "BOOLEAN": BOOLEAN, "DATE": DATE, "NULL_VALUE": NULL_VALUE, "INT32": INT32, "TIMESTAMP": TIMESTAMP,
    "INT64": INT64, "DECIMAL128": DECIMAL128, "MAX_KEY": MAX_KEY, "MIN_KEY": MIN_KEY,
}


cdef class Projector:
    """See `projection.Projector`. Not for several threads: it holds the fields of the current document."""

    def __cinit__(self, restored, low_cardinality, slots, *, parts, absent, decode, earliest, latest):
        names = dict.fromkeys(["_id", *sorted(restored), *low_cardinality, *(name for name, slot_type in slots if slot_type != WHOLE_DOCUMENT)])
        self._indexes = {name: index for index, name in enumerate(names)}
        self._names = [name.encode() for name in names]
        self._forms = [PartsForm(parts[name]) if slot_type == PARTS else None for name, slot_type in slots]
        self._absent, self._decode = absent, decode
        self._earliest, self._latest = earliest, latest
        self._field_count, self._slot_count, self._low_cardinality_count = len(names), len(slots), len(low_cardinality)
        size = 4
        while size < 4 * len(names):
            size *= 2
        self._mask = size - 1
        self._fields = <Field*>allocate(len(names) * sizeof(Field))
        self._slots = <Slot*>allocate(len(slots) * sizeof(Slot))
        self._low_cardinality = <int*>allocate(len(low_cardinality) * sizeof(int))
        self._table = <int*>allocate(size * sizeof(int))
        memset(self._table, 0xFF, size * sizeof(int))
        for index, name in enumerate(names):
            self._add(index, name in restored or name == "_id")
        for index, (name, slot_type) in enumerate(slots):
            self._slots[index].field, self._slots[index].slot_type = self._indexes.get(name, 0), slot_type
        for index, name in enumerate(low_cardinality):
            self._low_cardinality[index] = self._indexes[name]

    cdef _add(self, int index, bint restored):
        cdef bytes name = self._names[index]
        cdef Field* field = &self._fields[index]
        cdef uint32_t slot
        field.name, field.length, field.restored = <Bytes>PyBytes_AS_STRING(name), len(name), restored
        field.hash = hash_of(field.name, field.length)
        slot = field.hash & self._mask
        while self._table[slot] >= 0:
            slot = (slot + 1) & self._mask
        self._table[slot] = index

    def __dealloc__(self):
        PyMem_Free(self._fields)
        PyMem_Free(self._slots)
        PyMem_Free(self._low_cardinality)
        PyMem_Free(self._table)

    def project(self, bytes data, Py_ssize_t position, Py_ssize_t limit):
        """Project at most `limit` documents of a batch, from a position on."""
        cdef Bytes start = <Bytes>PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), length
        cdef list offsets = [], tuples = []
        cdef int others
        self._start, self._data = start, data
        while position < size and len(tuples) < limit:
            length = int32(start + position) if size - position >= 5 else 0
            if length < 5 or length > size - position:
                raise ValueError("the length of a document does not fit the batch")
            offsets.append(position)
            others = self._read(start + position, length)
            tuples.append(None if others < 0 else self._tuple(start + position, length, others))
            position += length
        self._data = None  # the projections hold it as long as it is needed
        return Projections(self, data, offsets, tuples, position)

    cdef int _read(self, Bytes p, Py_ssize_t length) noexcept nogil:
        """Find the fields of a document. Return how many are not restored; -1 if it cannot be projected."""
        cdef Bytes last = p + length - 1
        cdef Bytes element = p + 4
        cdef Bytes name, value
        cdef Field* field
        cdef uint32_t hash
        cdef int others = 0, elements = 0, index
        cdef SeenNames seen
        if last[0]:
            return -1
        memset(&seen, 0, sizeof(SeenNames))
        for index in range(self._field_count):
            self._fields[index].value = NULL
        while element < last:
            name = element + 1
            value = <Bytes>memchr(name, 0, last - name)
            elements += 1
            if value == NULL or elements > MAX_FIELDS:
                return -1
            length = value - name
            value += 1
            hash = hash_of(name, length)
            field = self._find(name, length, hash)
            if field == NULL:
                others += 1
                if not (is_utf8(name, length) and is_new(&seen, p + 4, element, length, hash)):
                    return -1
            elif field.value != NULL:  # a duplicate name
                return -1
            else:
                others += not field.restored
                field.bson_type, field.value = element[0], value
            element = value_end(element[0], value, last, 0)
            if element == NULL:
                return -1
            if field != NULL:
                field.end = element
        if element != last or self._fields[0].value == NULL or self._fields[0].bson_type != OBJECTID:
            return -1
        return others

    cdef Field* _find(self, Bytes name, Py_ssize_t length, uint32_t hash) noexcept nogil:
        cdef uint32_t slot = hash & self._mask
        cdef int index = self._table[slot]
        cdef Field* field
        while index >= 0:
            field = &self._fields[index]
            if field.hash == hash and field.length == length and memcmp(field.name, name, length) == 0:
                return field
            slot = (slot + 1) & self._mask
            index = self._table[slot]
        return NULL

    cdef tuple _tuple(self, Bytes document, Py_ssize_t length, int others):
        """Return the tuple of the current document; None if a field does not have the form of its slot."""
        cdef tuple made = PyTuple_New(3 + self._slot_count)
        cdef object value
        cdef int index, rest
        put(made, 0, PyBytes_FromStringAndSize(<const char*>self._fields[0].value, 12))
        put(made, 1, others)
        put(made, 2, self._memo_key())
        for index in range(self._slot_count):
            if self._slots[index].slot_type == WHOLE_DOCUMENT:
                value = self._decode(DOCUMENT, PyBytes_FromStringAndSize(<const char*>document, length))
            else:
                value = self._slot(self._slots[index].slot_type, &self._fields[self._slots[index].field], index)
            if value is _UNFIT:
                for rest in range(index, self._slot_count):
                    put(made, 3 + rest, None)
                return None
            put(made, 3 + index, value)
        return made

    cdef bytes _memo_key(self):
        """Return the types and values of the low-cardinality fields, with 0 for absent ones."""
        cdef Py_ssize_t size = self._low_cardinality_count
        cdef int index
        cdef Field* field
        cdef bytes key
        cdef char* out
        for index in range(self._low_cardinality_count):
            field = &self._fields[self._low_cardinality[index]]
            if field.value != NULL:
                size += field.end - field.value
        key = PyBytes_FromStringAndSize(NULL, size)
        out = PyBytes_AS_STRING(key)
        for index in range(self._low_cardinality_count):
            field = &self._fields[self._low_cardinality[index]]
            out[0] = 0 if field.value == NULL else <char>field.bson_type
            out += 1
            if field.value != NULL:
                memcpy(out, field.value, field.end - field.value)
                out += field.end - field.value
        return key

    cdef object _slot(self, int slot_type, Field* field, int number):
        cdef byte uuid[16]
        cdef int64_t milliseconds
        if field.value == NULL:
            return self._absent
        if slot_type == PRESENT:
            return True
        if slot_type == ELEMENTS:
            return <int64_t>(field.value - self._start) << 8 | field.bson_type
        if slot_type == DATETIME:
            if field.bson_type == NULL_VALUE:
                return None
            milliseconds = int64(field.value) if field.bson_type == DATE else self._latest + 1
            return milliseconds * 1000 if self._earliest <= milliseconds <= self._latest else _UNFIT
        if slot_type == UUID:
            if field.bson_type == STRING and int32(field.value) == 37 and read_uuid(field.value + 4, uuid):
                return PyBytes_FromStringAndSize(<const char*>uuid, 16)
            if field.bson_type == BINARY:  # it becomes bytes in Python, as a UUID does
                return _UNFIT
        if slot_type == PARTS and field.bson_type == ARRAY:
            parts = (<PartsForm>self._forms[number]).read(self._data, field.value)
            if parts is not None:
                return parts
        return self._value(field.bson_type, field.value, field.end)

    cdef object _value(self, byte bson_type, Bytes p, Bytes end):
        """Return a value as the driver decodes it."""
        cdef bytes raw
        cdef double number
        if bson_type == STRING:
            return PyUnicode_DecodeUTF8(<const char*>p + 4, int32(p) - 1, NULL)
        if bson_type == BOOLEAN:
            return p[0] == 1
        if bson_type == INT32:
            return int32(p)
        if bson_type == NULL_VALUE:
            return None
        if bson_type == DOUBLE:
            memcpy(&number, p, 8)
            return number
        if bson_type == DOCUMENT:
            return self._document(p)
        if bson_type == ARRAY:
            return self._array(p)
        if bson_type == INT64:
            return _Int64(int64(p))
        if bson_type == DATE:
            return _DatetimeMS(int64(p))
        raw = PyBytes_FromStringAndSize(<const char*>p, end - p)
        if bson_type == OBJECTID:
            return _ObjectId(raw)
        return self._decode(bson_type, raw)

    cdef dict _document(self, Bytes p):
        cdef Bytes last = p + int32(p) - 1
        cdef Bytes name, value, end
        cdef Py_ssize_t length
        cdef byte bson_type
        cdef dict made = {}
        p += 4
        while p < last:
            bson_type, name = p[0], p + 1
            length = <Bytes>memchr(name, 0, last - name) - name
            value = name + length + 1
            end = skip(bson_type, value)
            made[PyUnicode_DecodeUTF8(<const char*>name, length, NULL)] = self._value(bson_type, value, end)
            p = end
        return made

    cdef list _array(self, Bytes p):
        cdef Bytes last = p + int32(p) - 1
        cdef Bytes value, end
        cdef byte bson_type
        cdef list made = []
        p += 4
        while p < last:
            bson_type = p[0]
            value = <Bytes>memchr(p + 1, 0, last - p) + 1
            end = skip(bson_type, value)
            made.append(self._value(bson_type, value, end))
            p = end
        return made

    cdef bytes _residue(self, Bytes p, tuple changed, bytes header):
        """See `projection.Projections.residue`."""
        cdef Bytes last = p + int32(p) - 1
        cdef Bytes element = p + 4
        cdef Bytes name, end
        cdef Bytes begins[MAX_FIELDS]
        cdef Bytes ends[MAX_FIELDS]
        cdef Py_ssize_t size = 0, length
        cdef int runs = 0, index
        cdef Field* field
        cdef bytes made
        cdef char* out
        for text in changed:
            self._fields[<int>self._indexes[text]].restored = False
        while element < last:
            name = element + 1
            length = <Bytes>memchr(name, 0, last - name) - name
            end = skip(element[0], name + length + 1)
            field = self._find(name, length, hash_of(name, length))
            if field == NULL or not field.restored:
                if runs and ends[runs - 1] == element:
                    ends[runs - 1] = end
                else:
                    begins[runs], ends[runs] = element, end
                    runs += 1
                size += end - element
            element = end
        for text in changed:
            self._fields[<int>self._indexes[text]].restored = True
        if size:
            size += 10
        size += PyBytes_GET_SIZE(header) + 5
        if size == 5:
            return b"\xff\xff\xff\xff"
        made = PyBytes_FromStringAndSize(NULL, size + 4)
        out = PyBytes_AS_STRING(made)
        write_big(out, <uint32_t>size)
        write_little(out + 4, <uint32_t>size)
        out += 8
        if runs:
            memcpy(out, b"\x03set\0", 5)
            write_little(out + 5, <uint32_t>(size - PyBytes_GET_SIZE(header) - 10))
            out += 9
            for index in range(runs):
                memcpy(out, begins[index], ends[index] - begins[index])
                out += ends[index] - begins[index]
            out[0] = 0
            out += 1
        memcpy(out, PyBytes_AS_STRING(header), PyBytes_GET_SIZE(header))
        out[PyBytes_GET_SIZE(header)] = 0
        return made


cdef class Projections:
    """See `projection.Projections`."""

    def __cinit__(self, Projector projector, bytes data, list offsets, list tuples, Py_ssize_t end):
        self._projector, self.data, self.offsets, self.tuples, self.end = projector, data, offsets, tuples, end

    def raw(self, Py_ssize_t index):
        """Return the BSON of a document."""
        cdef Bytes p = <Bytes>PyBytes_AS_STRING(self.data) + <Py_ssize_t>self.offsets[index]
        return PyBytes_FromStringAndSize(<const char*>p, int32(p))

    def residue(self, Py_ssize_t index, tuple changed, bytes header):
        """See `projection.Projections.residue`."""
        return self.residue_of(index, changed, header)

    cdef bytes residue_of(self, Py_ssize_t index, tuple changed, bytes header):
        cdef Bytes p = <Bytes>PyBytes_AS_STRING(self.data) + <Py_ssize_t>self.offsets[index]
        return self._projector._residue(p, changed, header)


def objectid_to_uuid(bytes oid, int tag):
    """Do the same as `ids.objectid_to_uuid`."""
    cdef byte out[16]
    cdef Bytes p = <Bytes>PyBytes_AS_STRING(oid)
    cdef uint64_t moment, free
    if PyBytes_GET_SIZE(oid) != 12:
        raise ValueError("not the 12 bytes of an ObjectId")
    moment = <uint64_t>big32(p) * 1000
    free = <uint64_t>big32(p + 4) << 32 | big32(p + 8)
    write_big(<char*>out, <uint32_t>(moment >> 16))
    write_big(<char*>out + 4, <uint32_t>(moment << 16 & 0xFFFF0000 | 7 << 12 | free >> 52))
    free = <uint64_t>2 << 62 | (free << 10 | tag) & ((<uint64_t>1 << 62) - 1)
    write_big(<char*>out + 8, <uint32_t>(free >> 32))
    write_big(<char*>out + 12, <uint32_t>free)
    return PyBytes_FromStringAndSize(<const char*>out, 16)


cdef inline uint32_t big32(Bytes p) noexcept nogil:
    return <uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | p[3]


cdef object _UNFIT = object()


cdef void* allocate(size_t size) except NULL:
    cdef void* memory = PyMem_Malloc(size or 1)
    if memory == NULL:
        raise MemoryError
    return memory


cdef inline void put(tuple made, Py_ssize_t index, object value):
    Py_INCREF(value)
    PyTuple_SET_ITEM(made, index, value)
