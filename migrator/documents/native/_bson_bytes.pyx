# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Fast versions of what `interpreter.rebuild_bson`, `round_trip` and `raw_bson` do, for usual documents."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memchr, memcmp, memcpy

from migrator.documents.native._bson cimport Bytes, any_value_end, document_end, int32, write_little

cdef enum:
    MOST_FIELDS = 200  # documents with more are left to the Python version
    MOST_SET = 64
    OBJECTID_SIZE = 12

cdef struct Element:  # `name` is the name, `size` are the bytes of the whole element
    Bytes start
    Py_ssize_t name_length
    Py_ssize_t size


cdef int split(Bytes p, Py_ssize_t size, Element* elements, int most) noexcept nogil:
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


cdef inline bint same_name(Element* one, Element* other) noexcept nogil:
    return one.name_length == other.name_length and memcmp(one.start + 1, other.start + 1, one.name_length) == 0


cdef inline bint is_named(Element* element, const char* name, Py_ssize_t length) noexcept nogil:
    return element.name_length == length and memcmp(element.start + 1, name, length) == 0


cdef inline Py_ssize_t value_size(Element* element) noexcept nogil:
    return element.size - element.name_length - 2


cdef inline Bytes value_of(Element* element) noexcept nogil:
    return element.start + element.name_length + 2


def same_fields(bytes one, bytes other):
    """Return whether two documents have the same fields with the same bytes, in any order.

    False if one of them is damaged or has very many fields: then the caller compares the decoded documents.
    """
    cdef Element[MOST_FIELDS] ones
    cdef Element[MOST_FIELDS] others
    cdef bint[MOST_FIELDS] used
    cdef int count, index, place, start = 0
    if PyBytes_GET_SIZE(one) != PyBytes_GET_SIZE(other):
        return False
    count = split(<Bytes>PyBytes_AS_STRING(one), PyBytes_GET_SIZE(one), ones, MOST_FIELDS)
    if count < 0 or split(<Bytes>PyBytes_AS_STRING(other), PyBytes_GET_SIZE(other), others, MOST_FIELDS) != count:
        return False
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


def assemble(bytes source_id, bytes restored, residue):
    """Return a document as BSON: its `_id`, the fields that its row restores, and `set` and `unset` of its residue.

    It equals `interpreter.rebuild_bson` to the byte. The variants, remainders and lengths in the residue are in `restored`
    already. None: the residue is damaged, or has a whole document.
    """
    cdef Element[MOST_FIELDS] fields
    cdef Element[MOST_SET] parts
    cdef Element[MOST_SET] changed
    cdef Element[MOST_SET] unset
    cdef Element[2] ids
    cdef Bytes data
    cdef bytes residue_bytes, found
    cdef char* out
    cdef int index, place, count, part_count = 0, changed_count = 0, unset_count = 0
    cdef Py_ssize_t size
    cdef uint64_t used = 0
    data = <Bytes>PyBytes_AS_STRING(source_id)
    if document_end(data, data + PyBytes_GET_SIZE(source_id), False, 0) != data + PyBytes_GET_SIZE(source_id):
        return None
    count = split(data, PyBytes_GET_SIZE(source_id), ids, 2)
    if count > 1 or (count == 1 and not is_named(&ids[0], b"_id", 3)):
        return None
    size = PyBytes_GET_SIZE(source_id) + PyBytes_GET_SIZE(restored)
    if residue is not None:
        residue_bytes = residue
        size += PyBytes_GET_SIZE(residue_bytes)
        part_count = split(<Bytes>PyBytes_AS_STRING(residue_bytes), PyBytes_GET_SIZE(residue_bytes), parts, 5)
        if part_count < 0:
            return None
        for index in range(part_count):
            data = value_of(&parts[index])
            if document_end(data, data + value_size(&parts[index]), parts[index].start[0] == 0x04, 0) == NULL:
                return None
            if parts[index].start[0] == 0x03 and is_named(&parts[index], b"set", 3) and not changed_count:
                changed_count = split(data, value_size(&parts[index]), changed, MOST_SET)
            elif parts[index].start[0] == 0x04 and is_named(&parts[index], b"unset", 5) and not unset_count:
                unset_count = split(data, value_size(&parts[index]), unset, MOST_SET)
            elif parts[index].start[0] == 0x03 and (
                is_named(&parts[index], b"form", 4) or is_named(&parts[index], b"cut", 3) or is_named(&parts[index], b"first", 5)
            ):
                continue
            else:
                return None
            if changed_count < 0 or unset_count < 0:
                return None
    for index in range(unset_count):
        if unset[index].start[0] != 0x02:
            return None
    count = split(<Bytes>PyBytes_AS_STRING(restored), PyBytes_GET_SIZE(restored), fields, MOST_FIELDS)
    if count < 0:
        return None
    found = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(found)
    size = PyBytes_GET_SIZE(source_id) - 1
    memcpy(out, PyBytes_AS_STRING(source_id), size)
    for index in range(count):
        if is_named(&fields[index], b"_id", 3):
            return None
        if is_unset(&fields[index], unset, unset_count):
            continue
        for place in range(changed_count):
            if same_name(&fields[index], &changed[place]):
                used |= <uint64_t>1 << place
                memcpy(out + size, changed[place].start, changed[place].size)
                size += changed[place].size
                break
        else:
            memcpy(out + size, fields[index].start, fields[index].size)
            size += fields[index].size
    for place in range(changed_count):
        if is_named(&changed[place], b"_id", 3):
            return None
        if not used >> place & 1:
            memcpy(out + size, changed[place].start, changed[place].size)
            size += changed[place].size
    out[size] = 0
    size += 1
    write_little(out, <unsigned int>size)
    return found[:size]


cdef inline bint is_unset(Element* field, Element* unset, int count) noexcept nogil:
    cdef int index
    cdef Bytes text
    for index in range(count):
        text = value_of(&unset[index])
        if int32(text) - 1 == field.name_length and memcmp(text + 4, field.start + 1, field.name_length) == 0:
            return True
    return False


def scan_documents(const unsigned char[::1] data, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t most):
    """Return the end and the number of the complete documents from `start`: at most `most`, none beyond `stop`."""
    cdef Py_ssize_t position = start, count = 0, length
    if start < 0 or stop > data.shape[0]:
        raise IndexError("the range is not part of the data")
    while count < most and stop - position >= 5:
        length = int32(&data[position])
        if length < 5 or length > stop - position or data[position + length - 1]:
            break
        position += length
        count += 1
    return position, count


def source_id(bytes document):
    """Return BSON `{"_id": …}` of a raw document, as `raw_bson.source_id`; None if no `_id` can be found."""
    cdef Bytes p = <Bytes>PyBytes_AS_STRING(document)
    cdef Bytes last = p + PyBytes_GET_SIZE(document) - 1
    cdef Bytes element = p + 4, value, end
    cdef bytes found
    cdef char* out
    while element < last:
        value = <Bytes>memchr(element + 1, 0, last - element - 1)
        if value == NULL:
            break
        end = any_value_end(element[0], value + 1, last)
        if end == NULL:
            break
        if value - element == 4 and memcmp(element + 1, b"_id", 3) == 0:
            found = PyBytes_FromStringAndSize(NULL, end - element + 5)
            out = PyBytes_AS_STRING(found)
            write_little(out, <unsigned int>(end - element + 5))
            memcpy(out + 4, element, end - element)
            out[end - element + 4] = 0
            return found
        element = end
    return None


cdef int compare_ids(const void* one, const void* other) noexcept nogil:
    return memcmp(one, other, OBJECTID_SIZE)


cdef Py_ssize_t count_equal(Bytes array, Py_ssize_t size, Bytes ids, Py_ssize_t total) noexcept nogil:
    """Return the length of an array of ObjectIds that equals the first of `ids`; -1 for any other array."""
    cdef Bytes element = array + 4, last = array + size - 1, value
    cdef Py_ssize_t count = 0
    while element < last:
        value = <Bytes>memchr(element + 1, 0, last - element - 1)
        if value == NULL or element[0] != 0x07 or count == total or memcmp(value + 1, ids + count * OBJECTID_SIZE, OBJECTID_SIZE):
            return -1
        element = value + 1 + OBJECTID_SIZE
        count += 1
    return count


def compact_list(bytes residue, bytes path, bytes members):
    """Return a residue without the list `path`, if it equals the members (concatenated ObjectIds in any order), as
    `membership.compact` does: None if nothing is left, `NotImplemented` for an unusual residue.

    If the list has only the first members, their number is added.
    """
    cdef Element[5] parts
    cdef Element[MOST_SET] changed
    cdef Bytes data
    cdef int index, part_count, changed_count = 0, at = -1, in_set = -1
    cdef Py_ssize_t total = PyBytes_GET_SIZE(members) // OBJECTID_SIZE, count, size, cut
    cdef char* ids
    cdef char* out
    cdef bytes found
    part_count = split(<Bytes>PyBytes_AS_STRING(residue), PyBytes_GET_SIZE(residue), parts, 5)
    if part_count < 0:
        return NotImplemented
    for index in range(part_count):
        if is_named(&parts[index], b"set", 3):
            if at >= 0 or parts[index].start[0] != 0x03:
                return NotImplemented
            at = index
        elif is_named(&parts[index], b"first", 5):
            return NotImplemented
    if at < 0:
        return residue
    data = value_of(&parts[at])
    if document_end(data, data + value_size(&parts[at]), False, 0) == NULL:
        return NotImplemented
    changed_count = split(data, value_size(&parts[at]), changed, MOST_SET)
    if changed_count < 0:
        return NotImplemented
    for index in range(changed_count):
        if is_named(&changed[index], PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path)):
            in_set = index
    if in_set < 0 or changed[in_set].start[0] != 0x04:
        return residue
    ids = <char*>malloc(total * OBJECTID_SIZE + 1)
    if ids == NULL:
        raise MemoryError
    memcpy(ids, PyBytes_AS_STRING(members), total * OBJECTID_SIZE)
    qsort(ids, total, OBJECTID_SIZE, compare_ids)
    count = count_equal(value_of(&changed[in_set]), value_size(&changed[in_set]), <Bytes>ids, total)
    free(ids)
    if count < 0 or (count == 0 and total):
        return residue
    if changed_count == 1 and part_count == 1 and count == total:
        return None
    found = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(residue) + PyBytes_GET_SIZE(path) + 32)
    out = PyBytes_AS_STRING(found)
    size = 4
    for index in range(part_count):
        if index != at:
            memcpy(out + size, parts[index].start, parts[index].size)
            size += parts[index].size
        elif changed_count > 1:
            cut = changed[in_set].start - parts[index].start
            memcpy(out + size, parts[index].start, cut)
            memcpy(out + size + cut, changed[in_set].start + changed[in_set].size, parts[index].size - cut - changed[in_set].size)
            write_little(out + size + 5, <unsigned int>(value_size(&parts[index]) - changed[in_set].size))
            size += parts[index].size - changed[in_set].size
    if count < total:
        cut = PyBytes_GET_SIZE(path)
        memcpy(out + size, b"\x03first\0", 7)
        write_little(out + size + 7, <unsigned int>(cut + 11))
        out[size + 11] = 0x10
        memcpy(out + size + 12, PyBytes_AS_STRING(path), cut + 1)
        write_little(out + size + 13 + cut, <unsigned int>count)
        out[size + 17 + cut] = 0
        size += cut + 18
    out[size] = 0
    size += 1
    write_little(out, <unsigned int>size)
    return found[:size]
