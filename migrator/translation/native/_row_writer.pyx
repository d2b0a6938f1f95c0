# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled version of `row_writer.RowWriter`: a translated document becomes a row and a row of the ledger."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from migrator.documents.native._bson cimport write_little
from migrator.translation.native._projector cimport Projections
from migrator.translation.native._tuple_packer cimport TuplePacker

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef enum:
    MOST_HEADERS = 1000


cdef class RowWriter:
    """See `row_writer.RowWriter`. `pack_header` makes the BSON of names to unset and variants, `encode` that of a
    remainder which is a document."""

    cdef TuplePacker _row, _ledger
    cdef dict _headers
    cdef object _pack_header, _encode

    def __cinit__(self, TuplePacker row, TuplePacker ledger, *, pack_header, encode):
        self._row, self._ledger, self._headers = row, ledger, {}
        self._pack_header, self._encode = pack_header, encode

    def begin(self, projections, output, Py_ssize_t first):
        """Return the function that adds the documents of a chunk."""
        return ChunkWriter(self, projections, output, first).add

    cdef bytes _header(self, tuple unset, tuple variants, tuple remainders):
        """Return the elements of a residue other than `set`."""
        cdef bytes packed = b""
        if unset or variants:
            key = (unset, variants)
            found = self._headers.get(key)
            if found is None:
                if len(self._headers) >= MOST_HEADERS:
                    self._headers.clear()
                found = self._headers[key] = self._pack_header(unset, variants)
            packed = found
        return packed + self._cut(remainders) if remainders else packed

    cdef bytes _cut(self, tuple remainders):
        """Return the element `cut` of a residue."""
        cdef list parts = []
        cdef Py_ssize_t size = 5, length
        cdef const char* name
        cdef bytes data, made
        cdef char* out
        for field, remainder in remainders:
            data = remainder if type(remainder) is bytes else self._encode(remainder)
            PyUnicode_AsUTF8AndSize(field, &length)
            size += length + 2 + PyBytes_GET_SIZE(data)
            parts.append(data)
        made = PyBytes_FromStringAndSize(NULL, size + 5)
        out = PyBytes_AS_STRING(made)
        memcpy(out, b"\x03cut\0", 5)
        write_little(out + 5, <uint32_t>size)
        out += 9
        for (field, _), data in zip(remainders, parts):
            name = PyUnicode_AsUTF8AndSize(field, &length)
            out[0] = 3
            memcpy(out + 1, name, length + 1)
            memcpy(out + length + 2, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            out += length + 2 + PyBytes_GET_SIZE(data)
        out[0] = 0
        return made


cdef class ChunkWriter:
    """Adds the documents of one chunk to an output."""

    cdef RowWriter _writer
    cdef Projections _projections
    cdef object _residue  # of projections in Python
    cdef list _rows, _ledger, _ids, _indexes
    cdef Py_ssize_t _first

    def __cinit__(self, RowWriter writer, projections, output, Py_ssize_t first):
        self._writer, self._first = writer, first
        if type(projections) is Projections:
            self._projections = projections
        self._residue = projections.residue
        self._rows, self._ledger, self._ids, self._indexes = output.rows, output.ledger, output.ids, output.indexes

    def add(self, Py_ssize_t index, bytes objectid, key, target, others, tuple entry, tuple changed, tuple unset, tuple variants, tuple remainders, tuple values):
        """See `row_writer.RowWriter.begin`."""
        cdef bytes header = b"", residue
        self._rows.append(self._writer._row.pack(values))
        if not others and changed is entry[0] and unset is entry[1] and entry[2] is not None and not variants and not remainders:
            residue = entry[2]
        else:
            if unset or variants or remainders:
                header = self._writer._header(unset, variants, remainders)
            if self._projections is None:
                residue = self._residue(index, changed, header)
            else:
                residue = self._projections.residue_of(index, changed, header)
        self._ledger.append(self._writer._ledger.pack((objectid, target, residue)))
        self._ids.append(key)
        self._indexes.append(self._first + index)
