# cython: language_level=3
"""The elements of a BSON document as places in its bytes. Creates no Python objects."""

from libc.string cimport memchr, memcmp

from migrator.documents.native._bson cimport Bytes, any_value_end, int32

cdef enum:
    MOST_FIELDS = 200  # documents with more are left to the Python version
    MOST_SET = 64
    MOST_PARTS = 5  # of a residue

cdef struct Element:  # `name` is the name, `size` are the bytes of the whole element
    Bytes start
    Py_ssize_t name_length
    Py_ssize_t size


cdef inline int split(Bytes p, Py_ssize_t size, Element* elements, int most) noexcept nogil:
    """Find the elements of a document. Return their number; -1 if it is damaged or has too many."""
    cdef Bytes last, value, end, element
    cdef int count = 0
    if size < 5 or int32(p) != size or p[size - 1]:
        return -1
    last, element = p + size - 1, p + 4
    while element < last:
        value = <Bytes>memchr(element + 1, 0, last - element - 1)
        if value == NULL or count == most:
            return -1
        end = any_value_end(element[0], value + 1, last)
        if end == NULL:
            return -1
        elements[count] = Element(element, value - element - 1, end - element)
        count += 1
        element = end
    return count


cdef inline int find(Bytes document, Bytes last, const char* name, Py_ssize_t length, Element* found) noexcept nogil:
    """Find the first element with a name in a document up to its `last` byte.

    Return 1; 0 if there is none, or -1 if the document is damaged before.
    """
    cdef Bytes element = document + 4
    cdef Bytes value, end
    while element < last:
        value = <Bytes>memchr(element + 1, 0, last - element - 1)
        end = NULL if value == NULL else any_value_end(element[0], value + 1, last)
        if end == NULL:
            return -1
        found[0] = Element(element, value - element - 1, end - element)
        if is_named(found, name, length):
            return 1
        element = end
    return 0


cdef inline bint same_name(Element* one, Element* other) noexcept nogil:
    return one.name_length == other.name_length and memcmp(one.start + 1, other.start + 1, one.name_length) == 0


cdef inline bint is_named(Element* element, const char* name, Py_ssize_t length) noexcept nogil:
    return element.name_length == length and memcmp(element.start + 1, name, length) == 0


cdef inline Py_ssize_t value_size(Element* element) noexcept nogil:
    return element.size - element.name_length - 2


cdef inline Bytes value_of(Element* element) noexcept nogil:
    return element.start + element.name_length + 2
