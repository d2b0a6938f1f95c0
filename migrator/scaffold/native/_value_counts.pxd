# cython: language_level=3
"""What a profiler counts of the values at a path."""

from libc.math cimport floor
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy, memset

from migrator.documents.native._bson cimport Bytes, byte, int32, int64, is_utf8, read_uuid
from migrator.documents.native._field_tree cimport TYPES, type_place
from migrator.scaffold.native._hashes cimport Hashes, hash_value, hashes_add, read_hex

cdef enum:
    LONGEST_VALUE = 64  # a longer text is no ID, and its distinct values are not counted
    SAMPLE_BYTES = 32


cdef struct ValueCounts:
    int64_t documents, last_document
    int64_t types[TYPES]
    int64_t empty, nul, object_id_texts, uuid_texts, id_texts, whole_doubles
    int64_t shortest, longest, length_sum, most_items
    int64_t least, greatest  # of whole numbers, and of dates in milliseconds
    byte sample_type
    int sample_length  # -1: too long to keep
    byte sample[SAMPLE_BYTES]
    int64_t same  # values equal to the sample
    int children
    Hashes values, keys


cdef inline void begin_counts(ValueCounts* counts, uint64_t most, int64_t* budget) noexcept nogil:
    """Set all counts to zero. Each of the tables of hashes has at most `most` slots."""
    memset(counts, 0, sizeof(ValueCounts))
    counts.shortest = counts.least = 0x7FFFFFFFFFFFFFFF
    counts.greatest = -0x7FFFFFFFFFFFFFFF
    counts.values.most = counts.keys.most = most
    counts.values.budget = counts.keys.budget = budget


cdef inline void free_counts(ValueCounts* counts) noexcept nogil:
    free(counts.values.slots)
    free(counts.keys.slots)


cdef inline void count_type(ValueCounts* counts, byte kind, int64_t document) noexcept nogil:
    counts.types[type_place(kind)] += 1
    if counts.last_document != document:
        counts.last_document = document
        counts.documents += 1


cdef inline bint count_value(ValueCounts* counts, byte kind, Bytes p, Bytes end) except -1:
    """Count a value that is not a document or array. Return whether it is valid."""
    if kind == 0x02:
        if not is_utf8(p + 4, end - p - 5):
            return False
        count_text(counts, p + 4, end - p - 5)
    elif kind == 0x07:
        hashes_add(&counts.values, hash_value(0x07, p, 12))
    elif kind == 0x10:
        count_whole(counts, int32(p))
    elif kind == 0x12:
        count_whole(counts, int64(p))
    elif kind == 0x01:
        count_double(counts, p)
    elif kind == 0x09:
        count_range(counts, int64(p))
    elif kind == 0x05 and p[4] == 4 and int32(p) == 16:
        counts.uuid_texts += 1
        hashes_add(&counts.values, hash_value(0x05, p + 5, 16))
    elif kind == 0x05:
        count_length(counts, int32(p))
    keep_sample(counts, kind, p, end)
    return True


cdef inline int count_text(ValueCounts* counts, Bytes p, Py_ssize_t length) except -1:
    cdef byte short_id[16]
    count_length(counts, length)
    if length and memchr(p, 0, length) != NULL:
        counts.nul += 1
    if length == 24 and read_hex(p, 12, short_id):
        counts.object_id_texts += 1
        hashes_add(&counts.values, hash_value(0x07, short_id, 12))
    elif length == 36 and read_uuid(p, short_id):
        counts.uuid_texts += 1
        hashes_add(&counts.values, hash_value(0x05, short_id, 16))
    elif 0 < length <= LONGEST_VALUE:
        counts.id_texts += is_id(p, length)
        hashes_add(&counts.values, hash_value(0x02, p, length))
    return 0


cdef inline int count_length(ValueCounts* counts, int64_t length) except -1:
    counts.length_sum += length
    if length == 0:
        counts.empty += 1
    if length < counts.shortest:
        counts.shortest = length
    if length > counts.longest:
        counts.longest = length
    return 0


cdef inline int count_whole(ValueCounts* counts, int64_t number) except -1:
    count_range(counts, number)
    hashes_add(&counts.values, hash_value(0x12, <Bytes>&number, 8))
    return 0


cdef inline int count_double(ValueCounts* counts, Bytes p) except -1:
    cdef double number
    memcpy(&number, p, 8)
    if -9007199254740992.0 <= number <= 9007199254740992.0 and floor(number) == number:
        counts.whole_doubles += 1
        count_whole(counts, <int64_t>number)
    return 0


cdef inline void count_range(ValueCounts* counts, int64_t number) noexcept nogil:
    if number < counts.least:
        counts.least = number
    if number > counts.greatest:
        counts.greatest = number


cdef inline void keep_sample(ValueCounts* counts, byte kind, Bytes p, Bytes end) noexcept nogil:
    """Keep the first value, and count the values that equal it."""
    cdef Py_ssize_t length = end - p
    if counts.sample_type == 0:
        counts.sample_type = kind
        counts.sample_length = <int>length if length <= SAMPLE_BYTES else -1
        if length <= SAMPLE_BYTES:
            memcpy(counts.sample, p, length)
    if counts.sample_type == kind and counts.sample_length == length and memcmp(counts.sample, p, length) == 0:
        counts.same += 1


cdef inline bint is_id(Bytes text, Py_ssize_t length) noexcept nogil:
    """Return whether a text looks like an ID: at least 12 letters, digits, and - or _, one of them a digit."""
    cdef Py_ssize_t index
    cdef bint digit = False
    if length < 12:
        return False
    for index in range(length):
        if 48 <= text[index] <= 57:
            digit = True
        elif not (97 <= text[index] <= 122 or 65 <= text[index] <= 90 or text[index] == 95 or text[index] == 45):
            return False
    return digit
