# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Restores what a residue changes of the fields of a row, as BSON: the reverse of `_text_parts`.

Whatever has another form than `TextParts.subtract` gives it is left to `TextParts.restore`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from migrator.documents.native._bson cimport ARRAY, DOCUMENT, INT32, NULL_VALUE, STRING, Bytes, int32, write_little
from migrator.documents.native._elements cimport (
    MOST_FIELDS,
    MOST_PARTS,
    MOST_SET,
    Element,
    is_named,
    split,
    value_of,
    value_size,
)

cdef enum:
    MOST_PLACES = 2 * MOST_SET  # of parts with a text, with the lengths of their texts


cdef class BsonArray:
    """An array as BSON, which is not encoded again."""

    def __cinit__(self, bytes raw):
        self.raw = raw


def split_changes(bytes residue):
    """Return `form`, `cut` and `first` of a residue; the remainders in `cut` as BSON. None: an unusual residue."""
    cdef Element[MOST_PARTS] parts
    cdef Element[MOST_SET] fields
    cdef dict forms = {}, cuts = {}, counts = {}, into
    cdef int index, number, count
    cdef int kind
    count = split(<Bytes>PyBytes_AS_STRING(residue), PyBytes_GET_SIZE(residue), parts, MOST_PARTS)
    for index in range(count):
        if is_named(&parts[index], b"cut", 3):
            into, kind = cuts, DOCUMENT
        elif is_named(&parts[index], b"form", 4):
            into, kind = forms, INT32
        elif is_named(&parts[index], b"first", 5):
            into, kind = counts, INT32
        else:
            continue
        number = split(value_of(&parts[index]), value_size(&parts[index]), fields, MOST_SET)
        if number < 0 or parts[index].start[0] != DOCUMENT:
            return None
        for place in range(number):
            if fields[place].start[0] != kind:
                return None
            name = PyUnicode_DecodeUTF8(<const char*>fields[place].start + 1, fields[place].name_length, NULL)
            if kind == INT32:
                into[name] = int32(value_of(&fields[place]))
            else:
                into[name] = PyBytes_FromStringAndSize(<const char*>value_of(&fields[place]), value_size(&fields[place]))
    return None if count < 0 else (forms, cuts, counts)


def restore_parts(bytes remainder, text, bytes text_field, Py_ssize_t gap):
    """Return what `TextParts.restore` returns. `gap`: the characters between two texts. None: an unusual remainder."""
    cdef Element[2] both
    cdef Element[MOST_PLACES] at
    cdef Element[MOST_FIELDS] parts
    cdef Bytes begin, end, stop
    cdef bytes made
    cdef char* out
    cdef char* start
    cdef int index, count, left, number = 0
    if type(text) is not bytes or split(
        <Bytes>PyBytes_AS_STRING(remainder), PyBytes_GET_SIZE(remainder), both, 2
    ) != 2:
        return None
    if both[0].start[0] != ARRAY or not is_named(&both[0], b"in", 2):
        return None
    if both[1].start[0] != ARRAY or not is_named(&both[1], b"at", 2):
        return None
    count = split(value_of(&both[0]), value_size(&both[0]), parts, MOST_FIELDS)
    left = split(value_of(&both[1]), value_size(&both[1]), at, MOST_PLACES)
    if count < 0 or left < 0 or left % 2 == 0:
        return None
    for index in range(left):
        if at[index].start[0] != INT32 or int32(value_of(&at[index])) < 0:
            return None
    begin = <Bytes>PyBytes_AS_STRING(text)
    stop = begin + PyBytes_GET_SIZE(text)
    # Each text replaces a null: 4 bytes for its length and 1 for its end.
    made = PyBytes_FromStringAndSize(NULL, value_size(&both[0]) + (stop - begin) + 5 * <Py_ssize_t>left)
    start = PyBytes_AS_STRING(made)
    out = start + 4
    for index in range(count):
        if number < left and int32(value_of(&at[number])) == index:
            end = stop if number + 1 == left else after(begin, stop, int32(value_of(&at[number + 1])))
            out = write_part(&parts[index], text_field, begin, end - begin, out)
            if out == NULL:
                return None
            begin = after(end, stop, gap)
            number += 2
        else:
            memcpy(out, parts[index].start, parts[index].size)
            out += parts[index].size
    if number <= left - 1:
        return None  # a place that comes before another one, or that does not exist
    out[0] = 0
    write_little(start, <uint32_t>(out + 1 - start))
    return BsonArray(PyBytes_FromStringAndSize(start, out + 1 - start))


cdef char* write_part(Element* part, bytes text_field, Bytes text, Py_ssize_t size, char* out):
    """Write a part with a text in the place of null, and return its end; NULL for a part without this null."""
    cdef Element[MOST_SET] fields
    cdef Element* field
    cdef char* start
    cdef int index, count = -1
    cdef bint is_written = False
    if part.start[0] == DOCUMENT:
        count = split(value_of(part), value_size(part), fields, MOST_SET)
    memcpy(out, part.start, part.name_length + 2)
    start = out + part.name_length + 2
    out = start + 4
    for index in range(count):
        field = &fields[index]
        if not is_named(field, PyBytes_AS_STRING(text_field), PyBytes_GET_SIZE(text_field)):
            memcpy(out, field.start, field.size)
            out += field.size
            continue
        if is_written or field.start[0] != NULL_VALUE:
            return NULL
        is_written = True
        memcpy(out, field.start, field.name_length + 2)
        out[0] = STRING
        out += field.name_length + 2
        write_little(out, <uint32_t>(size + 1))
        memcpy(out + 4, text, size)
        out[4 + size] = 0
        out += size + 5
    if not is_written:
        return NULL
    out[0] = 0
    write_little(start, <uint32_t>(out + 1 - start))
    return out + 1


cdef inline Bytes after(Bytes text, Bytes stop, Py_ssize_t characters) noexcept nogil:
    """Return the place after some characters of UTF-8, at most the end."""
    while characters > 0 and text < stop:
        text += 1
        while text < stop and text[0] & 0xC0 == 0x80:
            text += 1
        characters -= 1
    return text
