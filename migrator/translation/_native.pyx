# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, embedsignature=False
"""The compiled twins of `cutting.Cutter` and `packing.Packer`: the same answers, sooner.

Raw BSON is read where it lies; of a document only those fields become Python objects that a compiled function asks
for. A document is cut only if it is certain that Python's driver would decode it and encode it to the very same bytes;
about any other nothing is said (None), and it goes the long way. So whatever is not known here may be left unknown.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

ctypedef unsigned char byte
ctypedef const unsigned char* Bytes

# MongoDB stores 100 levels; beyond, and in documents of very many fields, the long way decides.
cdef enum:
    DEEPEST = 100
    MOST_FIELDS = 200

cdef enum Kind:  # of BSON's values, those that come up by name
    DOUBLE = 0x01
    STRING = 0x02
    DOCUMENT = 0x03
    ARRAY = 0x04
    BINARY = 0x05
    OBJECTID = 0x07
    BOOLEAN = 0x08
    DATE = 0x09
    NULL_VALUE = 0x0A
    INT32 = 0x10
    TIMESTAMP = 0x11
    INT64 = 0x12
    DECIMAL128 = 0x13
    MAX_KEY = 0x7F
    MIN_KEY = 0xFF

cdef enum Form:  # of a slot, as in `cutting.FORMS`
    VALUE = 0
    MOMENT = 1
    UUID = 2
    WHOLE = 3

cdef enum Piece:  # of a tuple, as in `packing.PIECES`
    LITERAL = 0
    FRAGMENT = 1
    FIELD = 2
    TEXT = 3
    UUID_TEXT = 4
    INTEGER = 5
    TRUTH = 6
    MICROSECONDS = 7


# --- BSON -------------------------------------------------------------------------------------------------------------


cdef inline int32_t int32(Bytes p) noexcept nogil:
    return <int32_t>(<uint32_t>p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24)


cdef inline int64_t int64(Bytes p) noexcept nogil:
    return <int64_t>(<uint64_t><uint32_t>int32(p) | <uint64_t><uint32_t>int32(p + 4) << 32)


cdef bint is_utf8(Bytes p, Py_ssize_t length) noexcept nogil:
    """Whether bytes are UTF-8 as Python takes it: no surrogates, nothing overlong, nothing beyond U+10FFFF."""
    cdef Bytes end = p + length
    cdef uint64_t eight
    cdef byte first, second
    cdef int more
    while p < end:
        if end - p >= 8:
            memcpy(&eight, p, 8)
            if not eight & <uint64_t>0x8080808080808080:
                p += 8
                continue
        first = p[0]
        p += 1
        if first < 0x80:
            continue
        if first < 0xC2 or first > 0xF4:
            return False
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        if end - p < more:
            return False
        second = p[0]
        if second & 0xC0 != 0x80:
            return False
        if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F):
            return False
        if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
            return False
        if more > 1 and p[1] & 0xC0 != 0x80:
            return False
        if more > 2 and p[2] & 0xC0 != 0x80:
            return False
        p += more
    return True


cdef Bytes value_end(byte kind, Bytes p, Bytes end, int depth) noexcept nogil:
    """Where a value ends that comes through decoding and encoding unchanged; NULL for any other."""
    cdef int32_t length
    cdef int size
    if kind == STRING:
        if end - p < 5:
            return NULL
        length = int32(p)
        if length < 1 or length > end - p - 4 or p[3 + length] or not is_utf8(p + 4, length - 1):
            return NULL
        return p + 4 + length
    if kind == DOCUMENT or kind == ARRAY:
        return document_end(p, end, kind == ARRAY, depth + 1)
    if kind == BINARY:
        if end - p < 5:
            return NULL
        length = int32(p)
        if length < 0 or length > end - p - 5 or p[4] == 2 or ((p[4] == 3 or p[4] == 4) and length != 16):
            return NULL
        return p + 5 + length
    size = fixed_size(kind)
    if size < 0 or end - p < size or (kind == BOOLEAN and p[0] > 1):
        return NULL
    return p + size


cdef inline int fixed_size(byte kind) noexcept nogil:
    if kind == INT32:
        return 4
    if kind == BOOLEAN:
        return 1
    if kind == NULL_VALUE or kind == MAX_KEY or kind == MIN_KEY:
        return 0
    if kind == DATE or kind == DOUBLE or kind == INT64 or kind == TIMESTAMP:
        return 8
    if kind == OBJECTID:
        return 12
    return 16 if kind == DECIMAL128 else -1


cdef inline Bytes skip(byte kind, Bytes p) noexcept nogil:
    """Where a value ends that `value_end` has seen."""
    if kind == STRING:
        return p + 4 + int32(p)
    if kind == DOCUMENT or kind == ARRAY:
        return p + int32(p)
    if kind == BINARY:
        return p + 5 + int32(p)
    return p + fixed_size(kind)


cdef struct Seen:  # names of one document: a bit for each hash, and how many there are
    uint64_t bits[4]
    int count


cdef inline uint32_t hash_of(Bytes name, Py_ssize_t length) noexcept nogil:
    cdef uint32_t value = 2166136261
    cdef Py_ssize_t place
    for place in range(length):
        value = (value ^ name[place]) * 16777619
    return value ^ value >> 15


cdef bint is_new(Seen* seen, Bytes first, Bytes element, Py_ssize_t length, uint32_t hash) noexcept nogil:
    """Whether an element's name is none of those before it, from `first` on."""
    cdef uint64_t bit = <uint64_t>1 << (hash & 63)
    cdef Bytes name
    cdef Py_ssize_t other
    seen.count += 1
    if seen.count > MOST_FIELDS:
        return False
    if seen.bits[hash >> 6 & 3] & bit:
        while first < element:
            name = first + 1
            other = <Bytes>memchr(name, 0, element - name) - name
            if other == length and memcmp(name, element + 1, length) == 0:
                return False
            first = skip(first[0], name + other + 1)
    seen.bits[hash >> 6 & 3] |= bit
    return True


cdef bint is_number(Bytes name, Py_ssize_t length, int number) noexcept nogil:
    """Whether a name is that of an array's element."""
    cdef Py_ssize_t place = length - 1
    while place >= 0:
        if name[place] != 48 + number % 10:
            return False
        number //= 10
        if not number:
            return place == 0
        place -= 1
    return False


cdef Bytes document_end(Bytes p, Bytes end, bint is_array, int depth) noexcept nogil:
    """The same as `value_end` for a document or an array within a document."""
    cdef Bytes last, element, name, name_end
    cdef int32_t length
    cdef int number = 0
    cdef Seen seen
    if depth > DEEPEST or end - p < 5:
        return NULL
    length = int32(p)
    if length < 5 or length > end - p:
        return NULL
    last = p + length - 1
    if last[0]:
        return NULL
    memset(&seen, 0, sizeof(Seen))
    element = p + 4
    while element < last:
        name = element + 1
        name_end = <Bytes>memchr(name, 0, last - name)
        if name_end == NULL:
            return NULL
        if is_array:
            if not is_number(name, name_end - name, number):
                return NULL
            number += 1
        else:
            if name[0] == 36 and name_end - name == 4 and memcmp(name, b"$ref", 4) == 0:  # a DBRef to the driver
                return NULL
            if not is_utf8(name, name_end - name):
                return NULL
            if not is_new(&seen, p + 4, element, name_end - name, hash_of(name, name_end - name)):
                return NULL
        element = value_end(element[0], name_end + 1, last, depth)
        if element == NULL:
            return NULL
    return last + 1 if element == last else NULL


cdef inline byte nibble(byte digit) noexcept nogil:
    """The value of a hexadecimal digit in lower case; 255 for anything else."""
    if 48 <= digit <= 57:
        return digit - 48
    return digit - 87 if 97 <= digit <= 102 else 255


cdef bint read_uuid(Bytes text, byte* out) noexcept nogil:
    """Reads 36 characters that are a UUID in canonical form."""
    cdef int place = 0
    cdef byte high, low
    cdef int number
    for number in range(16):
        if number == 4 or number == 6 or number == 8 or number == 10:
            if text[place] != 45:
                return False
            place += 1
        high, low = nibble(text[place]), nibble(text[place + 1])
        if high == 255 or low == 255:
            return False
        out[number] = high << 4 | low
        place += 2
    return True


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


# --- out of documents -------------------------------------------------------------------------------------------------


cdef struct Found:  # a field of the document at hand; `value` is NULL where it is absent
    byte kind
    Bytes value
    Bytes end


cdef class Cutter:
    """See `cutting.Cutter`, which has the same arguments."""

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


# --- into tuples of binary COPY ---------------------------------------------------------------------------------------


cdef enum:
    MOST_PIECES = 200


cdef inline void write_little(char* out, uint32_t value) noexcept nogil:
    out[0] = <char>(value & 255)
    out[1] = <char>(value >> 8 & 255)
    out[2] = <char>(value >> 16 & 255)
    out[3] = <char>(value >> 24)


cdef inline void write_big(char* out, uint32_t value) noexcept nogil:
    out[0] = <char>(value >> 24)
    out[1] = <char>(value >> 16 & 255)
    out[2] = <char>(value >> 8 & 255)
    out[3] = <char>(value & 255)


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
            elif kind == TRUTH:
                sizes[place], numbers[place] = 1, 1 if value else 0
            elif kind == MICROSECONDS:
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
            elif kind == TRUTH:
                out[0] = <char>numbers[place]
            elif kind == MICROSECONDS:
                write_big(out, <uint32_t>(<uint64_t>numbers[place] >> 32))
                write_big(out + 4, <uint32_t>numbers[place])
            else:
                memcpy(out, texts[place], sizes[place])
            out += sizes[place]
        return made
