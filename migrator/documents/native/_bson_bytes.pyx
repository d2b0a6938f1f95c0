# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Fast versions of what `raw_bson` and `reconciliation.membership` do, for usual documents."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memchr, memcmp, memcpy

from migrator.documents.native._bson cimport (
    NULL_VALUE,
    OBJECTID,
    STRING,
    Bytes,
    byte,
    document_end,
    int32,
    is_utf8,
    write_little,
)
from migrator.documents.native._elements cimport (
    MOST_PARTS,
    MOST_SET,
    Element,
    find,
    is_named,
    split,
    value_of,
    value_size,
)

cdef enum:
    OBJECTID_SIZE = 12


def scan_documents(const unsigned char[::1] data, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t most):
    """Return the end and the number of the complete documents from `start`: at most `most`, none beyond `stop`."""
    cdef Py_ssize_t position = start, count = 0, length
    if start < 0 or stop > data.shape[0]:
        raise IndexError("the range is not part of the data")
    with nogil:  # the data of a mapped file is perhaps read from the disk first
        while count < most and stop - position >= 5:
            length = int32(&data[position])
            if length < 5 or length > stop - position or data[position + length - 1]:
                break
            position += length
            count += 1
    return position, count


def distinct_values(bytes data, bytes name):
    """Return the distinct texts and ObjectIds (12 bytes) of a field of the documents in a batch.

    None if a document cannot be read up to this field, or has another value in it; null counts as absent.
    """
    cdef Bytes document = <Bytes>PyBytes_AS_STRING(data)
    cdef Bytes stop = document + PyBytes_GET_SIZE(data)
    cdef Bytes value, last
    cdef Bytes before = NULL
    cdef Py_ssize_t size, size_before = 0
    cdef int has_name
    cdef byte kind, kind_before = 0
    cdef Element element
    cdef set found = set()
    while document < stop:
        if stop - document < 5 or int32(document) < 5 or int32(document) > stop - document:
            return None
        last = document + int32(document) - 1
        has_name = find(document, last, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), &element)
        document = last + 1
        if has_name < 0:
            return None
        if not has_name or element.start[0] == NULL_VALUE:
            continue
        kind, value, size = element.start[0], value_of(&element), value_size(&element)
        if kind == kind_before and size == size_before and memcmp(value, before, size) == 0:
            continue  # documents with the same value often follow each other
        if kind == OBJECTID:
            found.add(PyBytes_FromStringAndSize(<const char*>value, OBJECTID_SIZE))
        elif kind == STRING and is_utf8(value + 4, size - 5):
            found.add(PyUnicode_DecodeUTF8(<const char*>value + 4, size - 5, NULL))
        else:
            return None
        before, size_before, kind_before = value, size, kind
    return found


def source_id(bytes document):
    """Return BSON `{"_id": …}` of a raw document, as `raw_bson.source_id`; None if no `_id` can be found."""
    cdef Bytes p = <Bytes>PyBytes_AS_STRING(document)
    cdef Element element
    cdef bytes found
    cdef char* out
    if find(p, p + PyBytes_GET_SIZE(document) - 1, b"_id", 3, &element) != 1:
        return None
    found = PyBytes_FromStringAndSize(NULL, element.size + 5)
    out = PyBytes_AS_STRING(found)
    write_little(out, <unsigned int>(element.size + 5))
    memcpy(out + 4, element.start, element.size)
    out[element.size + 4] = 0
    return found


def documents_by_id(bytes data):
    """Return (source_id, document) of the documents of a batch; None if a document has no `_id`, or does not fit."""
    cdef Bytes start = <Bytes>PyBytes_AS_STRING(data)
    cdef Bytes end = start + PyBytes_GET_SIZE(data)
    cdef list found = []
    cdef Py_ssize_t length
    cdef bytes document
    while start < end:
        length = int32(start) if end - start >= 5 else 0
        if length < 5 or length > end - start:
            return None
        document = PyBytes_FromStringAndSize(<const char*>start, length)
        own_id = source_id(document)
        if own_id is None:
            return None
        found.append((own_id, document))
        start += length
    return found


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
    cdef Element[MOST_PARTS] parts
    cdef Element[MOST_SET] changed
    cdef Bytes data
    cdef int index, part_count, changed_count = 0, at = -1, in_set = -1
    cdef Py_ssize_t total = PyBytes_GET_SIZE(members) // OBJECTID_SIZE, count, size, cut
    cdef char* ids
    cdef char* out
    cdef bytes found
    part_count = split(<Bytes>PyBytes_AS_STRING(residue), PyBytes_GET_SIZE(residue), parts, MOST_PARTS)
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
