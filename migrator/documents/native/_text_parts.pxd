# cython: language_level=3
"""See _text_parts.pyx."""

from migrator.documents.native._bson cimport Bytes


cdef class BsonParts:
    cdef bytes _data  # of the batch; `_array` points into it
    cdef Bytes _array
    cdef PartsForm _form
    cdef Py_ssize_t _size  # of all texts
    cdef int _texts
    cdef readonly int count
    cdef object _text
    cdef object _join(self)
    cdef char* _without_text(self, Bytes element, Bytes part, Bytes text, char* out) noexcept


cdef class PartsForm:
    cdef bytes _kind_field, _kind, _text_field, _separator
    cdef bint _text_of(self, Bytes part, Bytes* text) noexcept
    cdef BsonParts read(self, bytes data, Bytes array)
