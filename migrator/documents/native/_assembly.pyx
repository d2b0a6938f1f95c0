# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Puts documents together from rows and residues, and compares them with those of the source, for usual documents."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy

from migrator.documents.native._bson cimport Bytes, document_end, int32, write_little
from migrator.documents.native._elements cimport (
    MOST_FIELDS,
    MOST_PARTS,
    MOST_SET,
    Element,
    is_named,
    same_name,
    split,
    value_of,
    value_size,
)

cdef enum:
    MOST_FOUND = 265  # the `_id`, MOST_FIELDS and MOST_SET


cdef bint match(Element* ones, int count, Element* others) noexcept nogil:
    """Return whether two documents with `count` elements each have the same elements, in any order."""
    cdef bint[MOST_FIELDS] used
    cdef int index, place, start = 0
    for index in range(count):
        used[index] = False
    for index in range(count):
        place = start
        while True:  # the fields of both mostly have the same order
            if place == count:
                place = 0
            if not used[place] and ones[index].size == others[place].size and memcmp(ones[index].start, others[place].start, ones[index].size) == 0:
                break
            place += 1
            if place == start or (place == count and start == 0):
                return False
        used[place] = True
        start = place + 1 if place + 1 < count else 0
    return True


def same_fields(bytes one, bytes other):
    """Return whether two documents have the same fields with the same bytes, in any order.

    False if one of them is damaged or has very many fields: then the caller compares the decoded documents.
    """
    cdef Element[MOST_FIELDS] ones
    cdef Element[MOST_FIELDS] others
    cdef int count
    if PyBytes_GET_SIZE(one) != PyBytes_GET_SIZE(other):
        return False
    count = split(<Bytes>PyBytes_AS_STRING(one), PyBytes_GET_SIZE(one), ones, MOST_FIELDS)
    if count < 0 or split(<Bytes>PyBytes_AS_STRING(other), PyBytes_GET_SIZE(other), others, MOST_FIELDS) != count:
        return False
    return match(ones, count, others)


cdef int gather(bytes source_id, bytes restored, residue, Element* found) except -2:
    """Find the elements of the document that `assemble` returns, in their order. Return their number, or -1.

    `found` has room for MOST_FOUND elements, which are parts of the arguments.
    """
    cdef Element[MOST_FIELDS] fields
    cdef Element[MOST_PARTS] parts
    cdef Element[MOST_SET] changed
    cdef Element[MOST_SET] unset
    cdef Bytes data
    cdef bytes residue_bytes
    cdef int index, place, count, part_count = 0, changed_count = 0, unset_count = 0, total
    cdef uint64_t used = 0
    data = <Bytes>PyBytes_AS_STRING(source_id)
    if document_end(data, data + PyBytes_GET_SIZE(source_id), False, 0) != data + PyBytes_GET_SIZE(source_id):
        return -1
    total = split(data, PyBytes_GET_SIZE(source_id), found, 2)
    if total > 1 or (total == 1 and not is_named(&found[0], b"_id", 3)):
        return -1
    if residue is not None:
        residue_bytes = residue
        part_count = split(<Bytes>PyBytes_AS_STRING(residue_bytes), PyBytes_GET_SIZE(residue_bytes), parts, MOST_PARTS)
        if part_count < 0:
            return -1
        for index in range(part_count):
            data = value_of(&parts[index])
            if document_end(data, data + value_size(&parts[index]), parts[index].start[0] == 0x04, 0) == NULL:
                return -1
            if parts[index].start[0] == 0x03 and is_named(&parts[index], b"set", 3) and not changed_count:
                changed_count = split(data, value_size(&parts[index]), changed, MOST_SET)
            elif parts[index].start[0] == 0x04 and is_named(&parts[index], b"unset", 5) and not unset_count:
                unset_count = split(data, value_size(&parts[index]), unset, MOST_SET)
            elif parts[index].start[0] != 0x03 or not is_variant(&parts[index]):
                return -1
            if changed_count < 0 or unset_count < 0:
                return -1
    for index in range(unset_count):
        if unset[index].start[0] != 0x02:
            return -1
    count = split(<Bytes>PyBytes_AS_STRING(restored), PyBytes_GET_SIZE(restored), fields, MOST_FIELDS)
    if count < 0:
        return -1
    for index in range(count):
        if is_named(&fields[index], b"_id", 3):
            return -1
        if is_unset(&fields[index], unset, unset_count):
            continue
        found[total] = fields[index]
        for place in range(changed_count):
            if same_name(&fields[index], &changed[place]):
                used |= <uint64_t>1 << place
                found[total] = changed[place]
                break
        total += 1
    for place in range(changed_count):
        if is_named(&changed[place], b"_id", 3):
            return -1
        if not used >> place & 1:
            found[total] = changed[place]
            total += 1
    return total


def assemble(bytes source_id, bytes restored, residue):
    """Return a document as BSON: its `_id`, the fields that its row restores, and `set` and `unset` of its residue.

    It equals `interpreter.rebuild_bson` to the byte. The variants, remainders and lengths in the residue are in `restored`
    already. None: the residue is damaged, or has a whole document.
    """
    cdef Element[MOST_FOUND] found
    cdef int index, count = gather(source_id, restored, residue, found)
    cdef Py_ssize_t size = 5
    cdef bytes made
    cdef char* out
    if count < 0:
        return None
    for index in range(count):
        size += found[index].size
    made = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(made)
    write_little(out, <unsigned int>size)
    out += 4
    for index in range(count):
        memcpy(out, found[index].start, found[index].size)
        out += found[index].size
    out[0] = 0
    return made


def restores(bytes document, bytes source_id, bytes restored, residue):
    """Return whether `assemble` returns a document with the same fields as `document`, in any order.

    False if one of both is damaged or has very many fields.
    """
    cdef Element[MOST_FOUND] found
    cdef Element[MOST_FIELDS] fields
    cdef int count = gather(source_id, restored, residue, found)
    if count < 0 or count > MOST_FIELDS:
        return False
    if split(<Bytes>PyBytes_AS_STRING(document), PyBytes_GET_SIZE(document), fields, MOST_FIELDS) != count:
        return False
    return match(fields, count, found)


cdef inline bint is_variant(Element* part) noexcept nogil:
    """Return whether a part of a residue changes what its row restores."""
    return is_named(part, b"form", 4) or is_named(part, b"cut", 3) or is_named(part, b"first", 5)


def variant_parts(bytes residue):
    """Return a residue with only its `form`, `cut` and `first`; None if it has none of them.

    A damaged residue is returned unchanged.
    """
    cdef Element[MOST_PARTS] parts
    cdef bytes found
    cdef char* out
    cdef Py_ssize_t size = 5
    cdef int index, count
    count = split(<Bytes>PyBytes_AS_STRING(residue), PyBytes_GET_SIZE(residue), parts, MOST_PARTS)
    if count < 0:
        return residue
    for index in range(count):
        if is_variant(&parts[index]):
            size += parts[index].size
    if size == 5:
        return None
    found = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(found)
    write_little(out, <unsigned int>size)
    out += 4
    for index in range(count):
        if is_variant(&parts[index]):
            memcpy(out, parts[index].start, parts[index].size)
            out += parts[index].size
    out[0] = 0
    return found


cdef inline bint is_unset(Element* field, Element* unset, int count) noexcept nogil:
    cdef int index
    cdef Bytes text
    for index in range(count):
        text = value_of(&unset[index])
        if int32(text) - 1 == field.name_length and memcmp(text + 4, field.start + 1, field.name_length) == 0:
            return True
    return False
