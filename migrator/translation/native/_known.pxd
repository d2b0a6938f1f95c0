# cython: language_level=3
"""The rows to which ObjectIds lead, as the dictionary of a rule has them, without a Python object for each look.

Each ObjectId has one place, which the last one that was looked up keeps. The objects belong to the dictionary: a place
is valid while its generation is that of the dictionary.
"""

from cpython.mem cimport PyMem_Calloc
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

from migrator.documents.native._bson cimport Bytes

cdef enum:
    PLACE_BITS = 14
    OBJECTID_SIZE = 12


cdef struct Place:
    char raw[12]
    uint32_t generation  # 0: empty
    PyObject* found


cdef struct Known:
    Place* places
    uint32_t generation


cdef inline int begin_known(Known* known, uint32_t generation) except -1:
    """Set the generation of the dictionary, from 1."""
    if known.places == NULL:
        known.places = <Place*>PyMem_Calloc(1 << PLACE_BITS, sizeof(Place))
        if known.places == NULL:
            raise MemoryError
    known.generation = generation
    return 0


cdef inline Place* place_of(const Known* known, Bytes raw) noexcept nogil:
    """Return where an ObjectId is, if it is anywhere."""
    cdef uint32_t middle, last
    memcpy(&middle, raw + 4, 4)
    memcpy(&last, raw + 8, 4)
    return &known.places[(middle * <uint32_t>0x9E3779B1 ^ last * <uint32_t>0x85EBCA6B) >> (32 - PLACE_BITS)]


cdef inline bint is_known(const Known* known, const Place* place, Bytes raw) noexcept nogil:
    return place.generation == known.generation and memcmp(place.raw, raw, OBJECTID_SIZE) == 0


cdef inline void keep(const Known* known, Place* place, Bytes raw, PyObject* found) noexcept nogil:
    memcpy(place.raw, raw, OBJECTID_SIZE)
    place.generation, place.found = known.generation, found
