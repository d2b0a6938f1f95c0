# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Splits the reply of a MongoDB server to a cursor into its documents and the rest: see `sources.reply_cursor`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memcpy

from migrator.documents.native._bson cimport ARRAY, DOCUMENT, Bytes, any_value_end, int32, write_little


def split_reply(const unsigned char[::1] reply):
    """Return a reply with an empty batch, the name of its batch, and the documents of the batch one after the other.

    None if the reply has no batch, or is damaged.
    """
    cdef Bytes start, cursor, batch
    cdef Py_ssize_t length = reply.shape[0], size
    cdef bytes rest, documents
    cdef char* out
    if length < 5:
        return None
    start = &reply[0]
    if int32(start) != length or start[length - 1]:
        return None
    cursor = find(start, b"cursor", 6, DOCUMENT)
    if cursor == NULL:
        return None
    name = "firstBatch"
    batch = find(cursor, b"firstBatch", 10, ARRAY)
    if batch == NULL:
        name = "nextBatch"
        batch = find(cursor, b"nextBatch", 9, ARRAY)
    if batch == NULL:
        return None
    size = copy_documents(batch, NULL)
    if size < 0:
        return None
    documents = PyBytes_FromStringAndSize(NULL, size)
    copy_documents(batch, PyBytes_AS_STRING(documents))
    size = int32(batch) - 5  # of what is taken out
    rest = PyBytes_FromStringAndSize(NULL, length - size)
    out = PyBytes_AS_STRING(rest)
    memcpy(out, start, batch - start)
    memcpy(out + (batch - start), b"\x05\0\0\0\0", 5)
    memcpy(out + (batch - start) + 5, batch + int32(batch), start + length - (batch + int32(batch)))
    write_little(out, <uint32_t>(length - size))
    write_little(out + (cursor - start), <uint32_t>(int32(cursor) - size))
    return rest, name, documents


cdef Bytes find(Bytes document, const char* wanted, Py_ssize_t length, int bson_type) noexcept nogil:
    """Return the value of a field that is a document or an array; NULL if there is none."""
    cdef Bytes last = document + int32(document) - 1
    cdef Bytes element = document + 4
    cdef Bytes name_end, end
    while element < last:
        name_end = <Bytes>memchr(element + 1, 0, last - element - 1)
        if name_end == NULL:
            return NULL
        end = any_value_end(element[0], name_end + 1, last)
        if end == NULL:
            return NULL
        if name_end - element - 1 == length and memcmp(element + 1, wanted, length) == 0:
            return name_end + 1 if element[0] == bson_type and end[-1] == 0 else NULL
        element = end
    return NULL


cdef Py_ssize_t copy_documents(Bytes array, char* out) noexcept nogil:
    """Write the items of an array one after the other (NULL: nowhere), and return their bytes; -1 if one is no
    document, or does not fit."""
    cdef Bytes last = array + int32(array) - 1
    cdef Bytes element = array + 4
    cdef Bytes value
    cdef Py_ssize_t size = 0
    cdef int length
    while element < last:
        value = <Bytes>memchr(element + 1, 0, last - element - 1)
        if value == NULL or element[0] != DOCUMENT:
            return -1
        value += 1
        length = int32(value) if last - value >= 5 else 0
        if length < 5 or length > last - value:
            return -1
        if out != NULL:
            memcpy(out + size, value, length)
        size += length
        element = value + length
    return size
