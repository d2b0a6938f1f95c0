# cython: language_level=3
"""Raw BSON, read where it lies: which of it is sound, and how numbers and UUIDs are spelt in bytes. No Python objects."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

ctypedef unsigned char byte
ctypedef const unsigned char* Bytes

cdef enum:
    # MongoDB stores 100 levels; beyond, and in documents of very many fields, the long way decides.
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


cdef inline int32_t int32(Bytes p) noexcept nogil:
    return <int32_t>(<uint32_t>p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24)


cdef inline int64_t int64(Bytes p) noexcept nogil:
    return <int64_t>(<uint64_t><uint32_t>int32(p) | <uint64_t><uint32_t>int32(p + 4) << 32)


cdef inline bint is_utf8(Bytes p, Py_ssize_t length) noexcept nogil:
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


cdef inline Bytes value_end(byte kind, Bytes p, Bytes end, int depth) noexcept nogil:
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


cdef inline bint is_new(Seen* seen, Bytes first, Bytes element, Py_ssize_t length, uint32_t hash) noexcept nogil:
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


cdef inline bint is_number(Bytes name, Py_ssize_t length, int number) noexcept nogil:
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


cdef inline Bytes document_end(Bytes p, Bytes end, bint is_array, int depth) noexcept nogil:
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


cdef inline bint read_uuid(Bytes text, byte* out) noexcept nogil:
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
