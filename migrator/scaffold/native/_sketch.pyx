# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled version of `sketch.Sketch`. A test compares both."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport free

from migrator.documents.native._bson cimport Bytes
from migrator.scaffold.native._hashes cimport Hashes, hash_key, hashes_add, hashes_have


cdef class Sketch:
    """See `sketch.Sketch`."""

    def __cinit__(self, uint64_t most):
        self._hashes.most = most

    def __dealloc__(self):
        free(self._hashes.slots)

    @property
    def level(self):
        return self._hashes.level

    @property
    def kept(self):
        return self._hashes.count

    @property
    def distinct(self):
        return self._hashes.count << self._hashes.level

    def add(self, uint64_t value):
        hashes_add(&self._hashes, value)

    def __contains__(self, uint64_t value):
        return hashes_have(&self._hashes, value)

    def shared_with(self, Sketch other not None, uint64_t most=0):
        """See `sketch.compare`."""
        cdef int level = max(self._hashes.level, other._hashes.level)
        cdef uint64_t index, value, compared = 0, found = 0
        if self._hashes.slots != NULL:
            for index in range(self._hashes.mask + 1):
                value = self._hashes.slots[index]
                if value and (level == 0 or value >> (64 - level) == 0):
                    compared += 1
                    found += hashes_have(&other._hashes, value)
                    if compared == most:
                        break
        return compared, found


cdef Sketch take(Hashes* hashes):
    """Return a sketch of the hashes, which are gone from their table."""
    cdef Sketch sketch = Sketch(hashes.most)
    sketch._hashes = hashes[0]
    sketch._hashes.budget = NULL  # it belongs to the profiler
    hashes.slots = NULL
    hashes.count = hashes.mask = 0
    return sketch


def hash_text(str text):
    """Return the hash that a text has as a value or a key."""
    cdef bytes data = text.encode()
    return hash_key(<Bytes>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
