# cython: language_level=3
"""The rules of a field whose elements become rows, and the current element: where its fields are in the BSON."""

from libc.string cimport memchr, memcmp

from migrator.documents.native._bson cimport MAX_FIELDS, Bytes, byte, int32, skip
from migrator.translation.native._buffer cimport Buffer

cdef enum RuleType:  # as in `elements.RuleType`
    LOOKED_UP = 0
    REFERENCE = 1
    NESTED = 2
    TEXT = 3
    INTEGER = 4
    SMALLINT = 5
    BIGINT = 6
    LONG = 7
    ANY_DOUBLE = 8
    NUMBER = 9
    TRUTH = 10
    MOMENT = 11
    HEX = 12

cdef enum Outcome:  # of a field
    EXACT = 0
    UNSET = 1
    CHANGED = 2
    REST = 3


cdef struct Rule:
    int rule_type
    bint required
    Bytes name
    Py_ssize_t length
    Py_ssize_t most  # bytes of a text
    Buffer* rest  # of a nested field: what its rows leave
    byte bson_type  # this and the following: in the current element
    Bytes value  # NULL if the field is absent
    Bytes end
    int outcome  # of a nested field


cdef struct Element:
    Rule* rules
    int rule_count
    bint in_order  # whether the fields are in the order in which a row restores them
    int extra_count  # fields without a rule
    Bytes extra_begins[MAX_FIELDS]
    Bytes extra_ends[MAX_FIELDS]


cdef inline void read_value(Element* element, byte bson_type, Bytes p, Bytes end) noexcept nogil:
    """Take an element that is not a document as the value of the only rule."""
    element.in_order, element.extra_count = True, 0
    element.rules[0].bson_type, element.rules[0].value, element.rules[0].end = bson_type, p, end


cdef inline void read_fields(Element* element, Bytes p) noexcept nogil:
    """Find the fields of an element that is a document."""
    cdef Bytes last = p + int32(p) - 1, name, value, end
    cdef Py_ssize_t length
    cdef bint in_order = True
    cdef int index, expected = 0, tried, extra_count = 0, rule_count = element.rule_count
    cdef Rule* rules = element.rules
    cdef Rule* rule
    for index in range(rule_count):
        rules[index].value = NULL
    p += 4
    while p < last:
        name = p + 1
        value = <Bytes>memchr(name, 0, last - name) + 1
        length = value - name - 1
        end = skip(p[0], value)
        rule = NULL
        for tried in range(rule_count):  # fields are usually in the order of the rules
            index = expected + tried if expected + tried < rule_count else expected + tried - rule_count
            if rules[index].length == length and memcmp(rules[index].name, name, length) == 0:
                rule = &rules[index]
                in_order &= index >= expected and not extra_count
                expected = index + 1
                break
        if rule != NULL:
            rule.bson_type, rule.value, rule.end = p[0], value, end
        else:
            element.extra_begins[extra_count], element.extra_ends[extra_count] = p, end
            extra_count += 1
        p = end
    element.in_order, element.extra_count = in_order, extra_count
