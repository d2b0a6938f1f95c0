# cython: language_level=3
from migrator.scaffold.native._hashes cimport Hashes

cdef class Sketch:
    cdef Hashes _hashes


cdef Sketch take(Hashes* hashes)
