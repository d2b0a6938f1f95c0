# cython: language_level=3
"""See _restored_parts.pyx."""


cdef class BsonArray:
    cdef readonly bytes raw
