# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled version of `profiler.Profiler`. A test compares both."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr

from migrator.documents.native._bson cimport Bytes, any_value_end, byte, int32, is_utf8
from migrator.documents.native._field_tree cimport (
    ELEMENTS, FIELD, NO_NODE, REST, ROOT, FieldNode, FieldTree, add_field, add_node, expect_field, expected_field, free_tree,
    field_hash, find_field, begin_tree, types_of,
)
from migrator.scaffold.native._hashes cimport hash_key, hashes_add
from migrator.scaffold.native._sketch cimport take
from migrator.scaffold.native._value_counts cimport ValueCounts, begin_counts, count_type, count_value, free_counts

cdef enum:
    MAX_DEPTH = 100  # as MongoDB stores; what is below is not looked at
    LONGEST_NAME = 128


cdef class Profiler:
    """See `profiler.Profiler`. Not for several threads."""

    cdef FieldTree _tree
    cdef ValueCounts* _counts
    cdef int _room, _begun, _most_nodes, _most_children
    cdef uint64_t _most_values, _most_keys
    cdef int64_t _documents, _damaged, _budget
    cdef set _exact

    def __cinit__(self, exact, *, int most_nodes, int most_children, uint64_t most_values, uint64_t most_keys, int64_t most_slots):
        self._budget = most_slots
        self._exact = {tuple(path) for path in exact}
        self._most_nodes, self._most_children = most_nodes, most_children
        self._most_values, self._most_keys = most_values, most_keys
        begin_tree(&self._tree)
        self._room = 64
        self._counts = <ValueCounts*>malloc(self._room * sizeof(ValueCounts))
        if self._counts == NULL:
            raise MemoryError
        self._begin_counts(ROOT)

    def __dealloc__(self):
        cdef int index
        if self._counts != NULL:
            for index in range(self._begun):
                free_counts(&self._counts[index])
        free(self._counts)
        free_tree(&self._tree)

    @property
    def documents(self):
        return self._documents

    @property
    def damaged(self):
        return self._damaged

    @property
    def left(self):
        return self._budget

    def observe(self, bytes data):
        """Count the documents of a batch."""
        cdef Bytes start = <Bytes>PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), position = 0, length
        while position < size:
            length = int32(start + position) if size - position >= 5 else 0
            if length < 5 or length > size - position:
                raise ValueError("the length of a document does not fit the batch")
            self._documents += 1
            if self._walk(start + position, start + position + length, ROOT, False, 0) < 0:
                self._damaged += 1
            position += length

    cdef int _walk(self, Bytes p, Bytes end, int node, bint is_array, int depth) except -2:
        """Count the fields of a document or array. Return -1 if it is damaged."""
        cdef Bytes last, element, name, value
        cdef int32_t length
        cdef int child, previous = NO_NODE
        cdef int64_t items = 0
        if end - p < 5:
            return -1
        length = int32(p)
        if length < 5 or length > end - p or p[length - 1]:
            return -1
        last, element = p + length - 1, p + 4
        if element == last:
            self._counts[node].empty += 1
        while element < last:
            name = element + 1
            value = <Bytes>memchr(name, 0, last - name)
            if value == NULL:
                return -1
            child = self._element(node) if is_array else self._field(node, previous, name, value - name)
            value += 1
            element = self._count_value(element[0], value, last, child, depth)
            if element == NULL:
                return -1
            previous = child
            items += 1
        if is_array and items > self._counts[node].most_items:
            self._counts[node].most_items = items
        return 0

    cdef Bytes _count_value(self, byte kind, Bytes p, Bytes last, int index, int depth) except? NULL:
        """Count one value. Return its end; NULL if it is damaged."""
        cdef Bytes end = any_value_end(kind, p, last)
        if end == NULL:
            return NULL
        count_type(&self._counts[index], kind, self._documents)
        if kind == 0x03 or kind == 0x04:
            if depth < MAX_DEPTH and self._walk(p, end, index, kind == 0x04, depth + 1) < 0:
                return NULL
            return end
        return end if count_value(&self._counts[index], kind, p, end) else NULL

    cdef int _element(self, int parent) except -1:
        cdef int found = self._tree.nodes[parent].element
        if found < 0:
            found = self._tree.nodes[parent].element = self._new_node(parent, ELEMENTS)
        return found

    cdef int _field(self, int parent, int previous, Bytes name, Py_ssize_t length) except -1:
        """Return the node of a field. The field that followed the previous one last time is tried first."""
        cdef int found = expected_field(&self._tree, parent, previous, name, length)
        cdef uint32_t hash
        if found >= 0:
            return found
        hash = field_hash(parent, name, length)
        found = find_field(&self._tree, parent, name, length, hash)
        if found < 0:
            if self._is_beyond(parent, name, length):
                return self._rest(parent, name, length)
            found = add_field(&self._tree, parent, name, length, hash)
            self._begin_counts(found)
            self._counts[parent].children += 1
        expect_field(&self._tree, parent, previous, found)
        return found

    cdef bint _is_beyond(self, int parent, Bytes name, Py_ssize_t length) noexcept:
        return (
            self._counts[parent].children >= self._most_children
            or self._tree.count >= self._most_nodes
            or length > LONGEST_NAME
            or not is_utf8(name, length)
        )

    cdef int _rest(self, int parent, Bytes name, Py_ssize_t length) except -1:
        """Return the node of fields beyond a limit, and count a distinct name."""
        cdef int found = self._tree.nodes[parent].rest
        if found < 0:
            found = self._tree.nodes[parent].rest = self._new_node(parent, REST)
        hashes_add(&self._counts[found].keys, hash_key(name, length))
        return found

    cdef int _new_node(self, int parent, int kind) except -1:
        cdef int found = add_node(&self._tree, parent, kind)
        self._begin_counts(found)
        return found

    cdef int _begin_counts(self, int index) except -1:
        cdef ValueCounts* counts
        if index == self._room:
            counts = <ValueCounts*>realloc(self._counts, 2 * self._room * sizeof(ValueCounts))
            if counts == NULL:
                raise MemoryError
            self._counts = counts
            self._room *= 2
        begin_counts(&self._counts[index], self._most_values, &self._budget)
        self._begun = index + 1
        if self._exact and self._path(index) in self._exact:
            self._counts[index].values.most = self._most_keys
        return 0

    cdef tuple _path(self, int index):
        names = []
        while index > 0:
            names.append(self._name(index))
            index = self._tree.nodes[index].parent
        return tuple(reversed(names))

    cdef str _name(self, int index):
        cdef FieldNode* node = &self._tree.nodes[index]
        if node.kind != FIELD:
            return "[]" if node.kind == ELEMENTS else "*"
        return PyBytes_FromStringAndSize(<char*>node.name, node.name_length).decode()

    def nodes(self):
        """Return the statistics of all paths, parents first, and give up their sketches."""
        cdef int index
        cdef FieldNode* node
        cdef ValueCounts* counts
        found = []
        for index in range(1, self._tree.count):
            node, counts = &self._tree.nodes[index], &self._counts[index]
            found.append({
                "parent": node.parent - 1,
                "name": self._name(index),
                "kind": node.kind,
                "documents": counts.documents,
                "types": types_of(counts.types),
                "empty": counts.empty,
                "nul": counts.nul,
                "object_id_texts": counts.object_id_texts,
                "uuid_texts": counts.uuid_texts,
                "id_texts": counts.id_texts,
                "whole_doubles": counts.whole_doubles,
                "shortest": counts.shortest if counts.longest or counts.empty else 0,
                "longest": counts.longest,
                "length_sum": counts.length_sum,
                "most_items": counts.most_items,
                "least": counts.least if counts.least <= counts.greatest else 0,
                "greatest": counts.greatest if counts.least <= counts.greatest else 0,
                "sample_type": counts.sample_type,
                "sample": PyBytes_FromStringAndSize(<char*>counts.sample, counts.sample_length) if counts.sample_type and counts.sample_length >= 0 else None,
                "same": counts.same,
                "values": take(&counts.values),
                "keys": take(&counts.keys),
            })
        return found
