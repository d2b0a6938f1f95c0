# cython: language_level=3
"""Hashes of values, and a table of them that keeps a sample if there are too many. See `sketch.Sketch`."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from migrator.documents.native._bson cimport Bytes, byte, nibble, read_uuid

cdef extern from *:
    """
    static inline unsigned long long migrate_mix(unsigned long long a, unsigned long long b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (unsigned long long)product ^ (unsigned long long)(product >> 64);
    }
    """
    uint64_t migrate_mix(uint64_t a, uint64_t b) noexcept nogil
    uint64_t SEED "0x9E3779B97F4A7C15ULL"
    uint64_t PRIME "0xD6E8FEB86659FD93ULL"

cdef enum:
    MIN_SLOTS = 16


cdef inline uint64_t hash_value(byte kind, Bytes p, Py_ssize_t length) noexcept nogil:
    """Return a hash of a value that is the same in every process; never 0."""
    cdef uint64_t state = migrate_mix(SEED ^ kind, PRIME ^ <uint64_t>length)
    cdef uint64_t part
    while length >= 8:
        memcpy(&part, p, 8)
        state = migrate_mix(state ^ part, PRIME)
        p += 8
        length -= 8
    if length:
        part = 0
        memcpy(&part, p, length)
        state = migrate_mix(state ^ part, PRIME)
    state = migrate_mix(state ^ SEED, PRIME)
    return state if state else 1


cdef struct Hashes:  # a hash table of 64-bit hashes that begin with at least `level` zero bits
    uint64_t* slots
    uint64_t mask
    uint64_t count
    uint64_t most  # slots
    int level
    int64_t* budget  # slots that all tables of a profiler may still add; NULL: no limit


cdef inline bint hashes_insert(Hashes* self, uint64_t value) noexcept nogil:
    cdef uint64_t slot = value & self.mask
    while self.slots[slot]:
        if self.slots[slot] == value:
            return False
        slot = (slot + 1) & self.mask
    self.slots[slot] = value
    self.count += 1
    return True


cdef inline bint hashes_have(Hashes* self, uint64_t value) noexcept nogil:
    cdef uint64_t slot
    if self.slots == NULL:
        return False
    slot = value & self.mask
    while self.slots[slot]:
        if self.slots[slot] == value:
            return True
        slot = (slot + 1) & self.mask
    return False


cdef inline int hashes_rebuild(Hashes* self, uint64_t size) except -1 nogil:
    cdef uint64_t* old = self.slots
    cdef uint64_t old_size = self.mask + 1 if old != NULL else 0
    cdef uint64_t index
    self.slots = <uint64_t*>calloc(size, sizeof(uint64_t))
    if self.slots == NULL:
        self.slots = old
        with gil:
            raise MemoryError
    self.mask = size - 1
    self.count = 0
    for index in range(old_size):
        if old[index] and (self.level == 0 or old[index] >> (64 - self.level) == 0):
            hashes_insert(self, old[index])
    free(old)
    return 0


cdef inline int hashes_add(Hashes* self, uint64_t value) except -1 nogil:
    if self.level and value >> (64 - self.level):
        return 0
    if self.slots == NULL:
        hashes_rebuild(self, MIN_SLOTS)
    if hashes_insert(self, value) and self.count * 2 > self.mask:
        if self.mask + 1 >= self.most or (self.budget != NULL and self.budget[0] < <int64_t>self.mask + 1):
            while self.count * 2 > self.mask:
                self.level += 1
                hashes_rebuild(self, self.mask + 1)
        else:
            if self.budget != NULL:
                self.budget[0] -= <int64_t>self.mask + 1
            hashes_rebuild(self, (self.mask + 1) * 2)
    return 0


cdef inline bint read_hex(Bytes text, int length, byte* out) noexcept nogil:
    cdef int index
    cdef byte high, low
    for index in range(length):
        high, low = nibble(text[2 * index]), nibble(text[2 * index + 1])
        if high == 255 or low == 255:
            return False
        out[index] = high << 4 | low
    return True


cdef inline uint64_t hash_key(Bytes name, Py_ssize_t length) noexcept nogil:
    """Return the hash that the text of a name has as a value."""
    cdef byte short_id[16]
    if length == 24 and read_hex(name, 12, short_id):
        return hash_value(0x07, short_id, 12)
    if length == 36 and read_uuid(name, short_id):
        return hash_value(0x05, short_id, 16)
    return hash_value(0x02, name, length)
