# cython: language_level=3
"""The cells of a row: the values that columns usually hold, from BSON to binary COPY."""

from libc.math cimport floor
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from migrator.documents.native._bson cimport (
    BOOLEAN, DATE, DOUBLE, INT32, INT64, OBJECTID, STRING, Bytes, int32, int64, write_big,
)
from migrator.translation.native._buffer cimport Buffer, reserve
from migrator.translation.native._element cimport (
    ANY_DOUBLE, BIGINT, HEX, INTEGER, LONG, MOMENT, NUMBER, SMALLINT, TEXT, TRUTH, Rule,
)

cdef enum Conversion:
    CONVERTED = 0
    UNUSUAL = 1  # to be looked up
    LEFT = 2  # to the rule


cdef struct Cell:
    const char* data
    Py_ssize_t size  # -1: NULL
    char own[24]


cdef struct Moments:  # the dates that a column holds, in milliseconds, and what is subtracted from microseconds
    int64_t earliest
    int64_t latest
    int64_t shift


cdef inline Conversion convert(Rule* rule, Cell* cell, const Moments* moments) noexcept nogil:
    """Set the cell of a rule whose field is neither absent nor null."""
    cdef Bytes p = rule.value
    cdef int rule_type = rule.rule_type
    cdef int64_t number
    cdef double double_
    if rule_type == TEXT:
        number = int32(p) - 1 if rule.bson_type == STRING else -1
        if 0 <= number <= rule.most and memchr(p + 4, 0, number) == NULL:
            cell.data, cell.size = <const char*>p + 4, number
            return CONVERTED
    elif rule_type == INTEGER or rule_type == SMALLINT or rule_type == BIGINT:
        if rule.bson_type == INT32:
            number = int32(p)
            if rule_type != SMALLINT or -32768 <= number <= 32767:
                return convert_number(cell, 4 if rule_type == INTEGER else 2 if rule_type == SMALLINT else 8, number)
        elif rule_type == BIGINT and rule.bson_type == INT64:
            number = int64(p)
            if number != <int32_t>number:
                return convert_number(cell, 8, number)
    elif rule_type == LONG:
        if rule.bson_type == INT64:
            return convert_number(cell, 8, int64(p))
    elif rule_type == ANY_DOUBLE or rule_type == NUMBER:
        if rule.bson_type == DOUBLE:
            memcpy(&double_, p, 8)
            if rule_type == NUMBER and is_int32(double_):  # as an int32 in documents
                return LEFT
        elif rule_type == NUMBER and rule.bson_type == INT32:
            double_ = int32(p)
        else:
            return UNUSUAL
        memcpy(&number, &double_, 8)
        return convert_number(cell, 8, number)
    elif rule_type == TRUTH:
        if rule.bson_type == BOOLEAN:
            cell.size = 1
            cell.own[0] = <char>p[0]
            return CONVERTED
    elif rule_type == MOMENT:
        if rule.bson_type == DATE:
            number = int64(p)
            if moments.earliest <= number <= moments.latest:
                return convert_number(cell, 8, number * 1000 - moments.shift)
    elif rule_type == HEX:
        if rule.bson_type == OBJECTID:
            cell.size = 24
            write_hex(cell.own, p, 12)
            return CONVERTED
    return UNUSUAL


cdef inline Conversion convert_number(Cell* cell, Py_ssize_t size, int64_t number) noexcept nogil:
    cell.size = size
    write_number(cell.own, size, number)
    return CONVERTED


cdef inline bint is_int32(double number) noexcept nogil:
    """Return whether an int32 has the same value: not for -0.0."""
    cdef uint64_t bits
    memcpy(&bits, &number, 8)
    return -2147483648.0 <= number < 2147483648.0 and floor(number) == number and bits != <uint64_t>1 << 63


cdef inline void write_number(char* out, Py_ssize_t size, int64_t number) noexcept nogil:
    if size == 8:
        write_big(out, <uint32_t>(<uint64_t>number >> 32))
        write_big(out + 4, <uint32_t>number)
    elif size == 4:
        write_big(out, <uint32_t>number)
    else:
        out[0], out[1] = <char>(number >> 8), <char>number


cdef inline void write_hex(char* out, Bytes p, int size) noexcept nogil:
    cdef const char* digits = "0123456789abcdef"
    cdef int index
    for index in range(size):
        out[2 * index], out[2 * index + 1] = digits[p[index] >> 4], digits[p[index] & 15]


cdef inline int pack(Buffer* rows, const Cell* cells, const int* columns, int count) except -1:
    """Add a row. `columns`: the cell of each of its columns."""
    cdef Py_ssize_t size = 2 + 4 * count
    cdef int index
    cdef const Cell* cell
    cdef char* out
    for index in range(count):
        cell = &cells[columns[index]]
        size += cell.size if cell.size > 0 else 0
    out = reserve(rows, size)
    rows.size += size
    out[0], out[1] = <char>(count >> 8), <char>count
    out += 2
    for index in range(count):
        cell = &cells[columns[index]]
        write_big(out, <uint32_t>cell.size)
        out += 4
        if cell.size > 0:
            memcpy(out, cell.data, cell.size)
            out += cell.size
    return 0
