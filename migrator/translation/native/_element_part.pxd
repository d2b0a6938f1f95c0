# cython: language_level=3
"""What the row of an element leaves of it, as BSON: see `Children.part_of`."""

from libc.string cimport memchr

from migrator.documents.native._bson cimport DOCUMENT, Bytes, int32, skip
from migrator.translation.native._buffer cimport Buffer, append, append_number, append_string, begin, finish
from migrator.translation.native._element cimport NESTED, REST, UNSET, Element, Rule


cdef inline int append_part(Buffer* rest, Element* element, Bytes p, int place) except -1:
    """Append what the row leaves of the element at `p`, the `place`-th of its field."""
    cdef Py_ssize_t part
    cdef int index, cuts = 0, unset = 0
    append_number(rest, DOCUMENT, place)
    part = begin(rest, b"", 0)
    for index in range(element.rule_count):
        if element.rules[index].rule_type == NESTED:
            cuts += element.rules[index].outcome == REST
            unset += element.rules[index].outcome == UNSET
    if cuts:
        append_cuts(rest, element)
    if unset:
        append_unset(rest, element)
    if not element.in_order:
        append_order(rest, p)
    if element.extra_count:
        append_extras(rest, element)
    return finish(rest, part)


cdef inline int append_cuts(Buffer* rest, Element* element) except -1:
    """Append what the rows of nested fields leave."""
    cdef Py_ssize_t part = begin(rest, b"\x03cut\0", 5), inner
    cdef Rule* rule
    cdef int index
    for index in range(element.rule_count):
        rule = &element.rules[index]
        if rule.rule_type == NESTED and rule.outcome == REST:
            append(rest, b"\x03", 1)
            append(rest, rule.name, rule.length + 1)
            inner = begin(rest, b"", 0)
            append(rest, rule.rest.data, rule.rest.size)
            finish(rest, inner)
    return finish(rest, part)


cdef inline int append_unset(Buffer* rest, Element* element) except -1:
    """Append the names of absent nested fields."""
    cdef Py_ssize_t part = begin(rest, b"\x04unset\0", 7)
    cdef Rule* rule
    cdef int index, number = 0
    for index in range(element.rule_count):
        rule = &element.rules[index]
        if rule.rule_type == NESTED and rule.outcome == UNSET:
            append_string(rest, number, rule.name, rule.length)
            number += 1
    return finish(rest, part)


cdef inline int append_order(Buffer* rest, Bytes p) except -1:
    """Append the names of all fields of an element, in their order."""
    cdef Py_ssize_t part = begin(rest, b"\x04order\0", 7), length
    cdef Bytes last = p + int32(p) - 1
    cdef int number = 0
    p += 4
    while p < last:
        length = <Bytes>memchr(p + 1, 0, last - p) - p - 1
        append_string(rest, number, p + 1, length)
        number += 1
        p = skip(p[0], p + length + 2)
    return finish(rest, part)


cdef inline int append_extras(Buffer* rest, Element* element) except -1:
    """Append the names and values of the fields without a rule."""
    cdef Py_ssize_t part = begin(rest, b"\x04set\0", 5), length
    cdef Bytes p, end
    cdef int index
    for index in range(element.extra_count):
        p, end = element.extra_begins[index], element.extra_ends[index]
        length = <Bytes>memchr(p + 1, 0, end - p) - p - 1
        append_string(rest, 2 * index, p + 1, length)
        append_number(rest, p[0], 2 * index + 1)
        append(rest, p + length + 2, end - p - length - 2)
    return finish(rest, part)
