# cython: language_level=3
"""A buffer of bytes that grows, and BSON that is written to one; the text of a UUID."""

from cpython.mem cimport PyMem_Realloc
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from migrator.documents.native._bson cimport Bytes, byte, decimal, write_little

ctypedef const char* Text

cdef struct Buffer:
    char* data
    Py_ssize_t size
    Py_ssize_t capacity


cdef inline char* reserve(Buffer* buffer, Py_ssize_t size) except NULL:
    """Return where `size` more bytes can be written."""
    cdef Py_ssize_t capacity
    cdef void* memory
    if buffer.size + size > buffer.capacity or buffer.data == NULL:
        capacity = 2 * (buffer.size + size) + 256
        memory = PyMem_Realloc(buffer.data, capacity)
        if memory == NULL:
            raise MemoryError
        buffer.data, buffer.capacity = <char*>memory, capacity
    return buffer.data + buffer.size


cdef inline int append(Buffer* buffer, const void* data, Py_ssize_t size) except -1:
    memcpy(reserve(buffer, size), data, size)
    buffer.size += size
    return 0


cdef inline int append_number(Buffer* buffer, byte bson_type, int number) except -1:
    """Write the type of a BSON element and its name, which is a number."""
    cdef char* out = reserve(buffer, 12)
    cdef int size
    out[0] = <char>bson_type
    size = decimal(out + 1, number)
    out[1 + size] = 0
    buffer.size += size + 2
    return 0


cdef inline int append_string(Buffer* buffer, int number, Bytes text, Py_ssize_t size) except -1:
    """Write a string as an item of an array."""
    cdef char length[4]
    append_number(buffer, 0x02, number)
    write_little(length, <uint32_t>(size + 1))
    append(buffer, length, 4)
    append(buffer, text, size)
    return append(buffer, b"\0", 1)


cdef inline Py_ssize_t begin(Buffer* buffer, Text head, Py_ssize_t size) except -1:
    """Begin an embedded document after its type and name, and return its place, for `finish`."""
    append(buffer, head, size)
    append(buffer, b"\0\0\0\0", 4)
    return buffer.size - 4


cdef inline int finish(Buffer* buffer, Py_ssize_t place) except -1:
    append(buffer, b"\0", 1)
    write_little(buffer.data + place, <uint32_t>(buffer.size - place))
    return 0


cdef inline void write_uuid_text(Bytes value, char* out) noexcept nogil:
    """Write the 36 characters of a UUID."""
    cdef const char* digits = "0123456789abcdef"
    cdef int number
    for number in range(16):
        if number == 4 or number == 6 or number == 8 or number == 10:
            out[0] = 45
            out += 1
        out[0] = digits[value[number] >> 4]
        out[1] = digits[value[number] & 15]
        out += 2
