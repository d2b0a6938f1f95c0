# cython: language_level=3
"""See _projector.pyx."""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from migrator.documents.native._bson cimport Bytes, byte


cdef struct Field:
    Bytes name
    Py_ssize_t length
    uint32_t hash
    bint restored
    byte bson_type  # this and the following: in the current document
    Bytes value  # NULL if the field is absent
    Bytes end


cdef struct Slot:
    int field
    int slot_type


@cython.final
cdef class Projector:
    cdef Field* _fields  # `_id` is the first
    cdef Slot* _slots
    cdef int* _low_cardinality
    cdef int* _table  # hash table of fields, -1 for an empty entry
    cdef int _field_count, _slot_count, _low_cardinality_count, _mask
    cdef dict _indexes  # of fields by name
    cdef list _names  # keeps the bytes of the names alive
    cdef int64_t _earliest, _latest
    cdef Bytes _start  # of the batch
    cdef bytes _data  # the batch
    cdef list _forms  # of the parts of each slot; None for other slots
    cdef object _absent, _decode
    cdef _add(self, int index, bint restored)
    cdef int _read(self, Bytes p, Py_ssize_t length) noexcept nogil
    cdef Field* _find(self, Bytes name, Py_ssize_t length, uint32_t hash) noexcept nogil
    cdef tuple _tuple(self, Bytes document, Py_ssize_t length, int others)
    cdef bytes _memo_key(self)
    cdef object _slot(self, int slot_type, Field* field, int number)
    cdef object _value(self, byte bson_type, Bytes p, Bytes end)
    cdef dict _document(self, Bytes p)
    cdef list _array(self, Bytes p)
    cdef bytes _residue(self, Bytes p, tuple changed, bytes header)


@cython.final
cdef class Projections:
    cdef Projector _projector
    cdef readonly bytes data
    cdef readonly list offsets, tuples
    cdef readonly Py_ssize_t end
    cdef bytes residue_of(self, Py_ssize_t index, tuple changed, bytes header)
