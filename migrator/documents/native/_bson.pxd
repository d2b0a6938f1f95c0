# cython: language_level=3
"""Reads raw BSON in index: checks that it is valid, and converts numbers and UUIDs. Creates no Python objects."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

ctypedef unsigned char byte
ctypedef const unsigned char* Bytes

cdef enum:
    # MongoDB stores 100 levels. Deeper documents, and those with very many fields, are left to the Python version.
    MAX_DEPTH = 100
    MAX_FIELDS = 200

cdef enum BsonType:
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
    """Return whether bytes are UTF-8 as Python accepts it: no surrogates, no overlong forms, nothing above U+10FFFF."""
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


cdef inline Bytes value_end(byte bson_type, Bytes p, Bytes end, int depth) noexcept nogil:
    """Return the end of a value that decoding and encoding preserve; NULL for any other value."""
    cdef int32_t length
    cdef int size
    if bson_type == STRING:
        if end - p < 5:
            return NULL
        length = int32(p)
        if length < 1 or length > end - p - 4 or p[3 + length] or not is_utf8(p + 4, length - 1):
            return NULL
        return p + 4 + length
    if bson_type == DOCUMENT or bson_type == ARRAY:
        return document_end(p, end, bson_type == ARRAY, depth + 1)
    if bson_type == BINARY:
        if end - p < 5:
            return NULL
        length = int32(p)
        if length < 0 or length > end - p - 5 or p[4] == 2 or ((p[4] == 3 or p[4] == 4) and length != 16):
            return NULL
        return p + 5 + length
    size = fixed_size(bson_type)
    if size < 0 or end - p < size or (bson_type == BOOLEAN and p[0] > 1):
        return NULL
    return p + size


cdef inline int fixed_size(byte bson_type) noexcept nogil:
    if bson_type == INT32:
        return 4
    if bson_type == BOOLEAN:
        return 1
    if bson_type == NULL_VALUE or bson_type == MAX_KEY or bson_type == MIN_KEY:
        return 0
    if bson_type == DATE or bson_type == DOUBLE or bson_type == INT64 or bson_type == TIMESTAMP:
        return 8
    if bson_type == OBJECTID:
        return 12
    return 16 if bson_type == DECIMAL128 else -1


cdef inline Bytes skip(byte bson_type, Bytes p) noexcept nogil:
    """Return the end of a value that `value_end` has checked."""
    if bson_type == STRING:
        return p + 4 + int32(p)
    if bson_type == DOCUMENT or bson_type == ARRAY:
        return p + int32(p)
    if bson_type == BINARY:
        return p + 5 + int32(p)
    return p + fixed_size(bson_type)


cdef struct SeenNames:  # the names of one document: a Bloom filter of their hashes, and their number
    uint64_t bits[4]
    int count


cdef inline uint32_t hash_of(Bytes name, Py_ssize_t length) noexcept nogil:
    cdef uint32_t value = 2166136261
    cdef Py_ssize_t index
    for index in range(length):
        value = (value ^ name[index]) * 16777619
    return value ^ value >> 15


cdef inline bint is_new(SeenNames* seen, Bytes first, Bytes element, Py_ssize_t length, uint32_t hash) noexcept nogil:
    """Return whether no element from `first` on, and before this one, has the same name."""
    cdef uint64_t bit = <uint64_t>1 << (hash & 63)
    cdef Bytes name
    cdef Py_ssize_t other
    seen.count += 1
    if seen.count > MAX_FIELDS:
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
    """Return whether a name is the decimal text of a number, as in arrays."""
    cdef Py_ssize_t index = length - 1
    while index >= 0:
        if name[index] != 48 + number % 10:
            return False
        number //= 10
        if not number:
            return index == 0
        index -= 1
    return False


cdef inline Bytes document_end(Bytes p, Bytes end, bint is_array, int depth) noexcept nogil:
    """Do the same as `value_end` for an embedded document or array."""
    cdef Bytes last, element, name, name_end
    cdef int32_t length
    cdef int number = 0
    cdef SeenNames seen
    if depth > MAX_DEPTH or end - p < 5:
        return NULL
    length = int32(p)
    if length < 5 or length > end - p:
        return NULL
    last = p + length - 1
    if last[0]:
        return NULL
    memset(&seen, 0, sizeof(SeenNames))
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
            if name[0] == 36 and name_end - name == 4 and memcmp(name, b"$ref", 4) == 0:  # the driver decodes it as a DBRef
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
    """Return the value of a lower-case hexadecimal digit; 255 for any other character."""
    if 48 <= digit <= 57:
        return digit - 48
    return digit - 87 if 97 <= digit <= 102 else 255


cdef inline bint read_uuid(Bytes text, byte* out) noexcept nogil:
    """Read 36 characters as a UUID in canonical form. Return whether they are one."""
    cdef int index = 0
    cdef byte high, low
    cdef int number
    for number in range(16):
        if number == 4 or number == 6 or number == 8 or number == 10:
            if text[index] != 45:
                return False
            index += 1
        high, low = nibble(text[index]), nibble(text[index + 1])
        if high == 255 or low == 255:
            return False
        out[number] = high << 4 | low
        index += 2
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


cdef inline int decimal(char* out, int number) noexcept nogil:
    """Write a number that is not negative as text, without an end. Return its length: at most 10."""
    cdef char digits[10]
    cdef int size = 0, index
    while True:
        digits[size] = <char>(48 + number % 10)
        size += 1
        number //= 10
        if not number:
            break
    for index in range(size):
        out[index] = digits[size - 1 - index]
    return size


cdef inline Bytes any_value_end(byte kind, Bytes p, Bytes last) noexcept nogil:
    """Return the end of a value of any BSON type; NULL if it does not fit."""
    cdef int32_t length = 0
    cdef Py_ssize_t size = -1
    cdef Bytes end
    if kind == 0x10:
        size = 4
    elif kind == 0x01 or kind == 0x09 or kind == 0x11 or kind == 0x12:
        size = 8
    elif kind == 0x08:
        size = 1
    elif kind == 0x07:
        size = 12
    elif kind == 0x13:
        size = 16
    elif kind == 0x0A or kind == 0x06 or kind == 0x7F or kind == 0xFF:
        size = 0
    elif kind == 0x0B:
        end = <Bytes>memchr(p, 0, last - p)
        if end == NULL:
            return NULL
        end = <Bytes>memchr(end + 1, 0, last - end - 1)
        return NULL if end == NULL else end + 1
    elif last - p < 4:
        return NULL
    else:
        length = int32(p)
        if length < 0:
            return NULL
        if kind == 0x03 or kind == 0x04 or kind == 0x0F:
            size = length if length >= 5 else -1
        elif kind == 0x02 or kind == 0x0D or kind == 0x0E:
            size = 4 + <Py_ssize_t>length if length >= 1 else -1
        elif kind == 0x05:
            size = 5 + <Py_ssize_t>length
        elif kind == 0x0C:
            size = 16 + <Py_ssize_t>length
    return NULL if size < 0 or size > last - p else p + size
