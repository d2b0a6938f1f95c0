# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled version of `field_counts.PythonFieldCounter`. A test compares both."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memset

from migrator.documents.native._bson cimport Bytes, any_value_end, byte, int32
from migrator.documents.native._field_tree cimport (
    ELEMENTS, FIELD, NO_NODE, REST, ROOT, TYPES, FieldNode, FieldTree, add_field, add_node, expect_field,
    expected_field, free_tree, field_hash, find_field, begin_tree, type_place, types_of,
)


cdef struct Counts:  # of a node
    int path_length
    int64_t documents
    int64_t last_document
    int64_t types[TYPES]
    int64_t last_types[TYPES]


cdef struct Container:
    Bytes element
    Bytes last
    int node
    bint is_array


cdef class FieldCounter:
    """See `field_counts.PythonFieldCounter`. Not for several threads."""

    cdef FieldTree _tree
    cdef Counts* _counts
    cdef Container* _stack
    cdef int _room, _most, _longest
    cdef Py_ssize_t _depth, _stack_room
    cdef readonly int64_t documents, beyond

    def __cinit__(self, int most, int longest):
        self._most, self._longest = most, longest
        begin_tree(&self._tree)
        self._room = self._stack_room = 64
        self._counts = <Counts*>malloc(self._room * sizeof(Counts))
        self._stack = <Container*>malloc(self._stack_room * sizeof(Container))
        if self._counts == NULL or self._stack == NULL:
            raise MemoryError
        memset(self._counts, 0, sizeof(Counts))

    def __dealloc__(self):
        free_tree(&self._tree)
        free(self._counts)
        free(self._stack)

    def observe(self, bytes data):
        """Count the fields of the documents of a batch. Raises: ValueError if a length does not fit."""
        cdef Bytes start = <Bytes>PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), position = 0, length
        while position < size:
            length = int32(start + position) if size - position >= 5 else 0
            if length < 5 or length > size - position:
                raise ValueError("the length of a document does not fit the batch")
            self.documents += 1
            self._depth = 0
            self._push(start + position, ROOT, False)
            while self._depth:
                self._depth -= 1
                if not self._walk(self._stack[self._depth]):
                    break  # the document is damaged
            position += length

    cdef int _push(self, Bytes p, int node, bint is_array) except -1:
        cdef Container* stack
        if self._depth == self._stack_room:
            stack = <Container*>realloc(self._stack, 2 * self._stack_room * sizeof(Container))
            if stack == NULL:
                raise MemoryError
            self._stack = stack
            self._stack_room *= 2
        self._stack[self._depth] = Container(p + 4, p + int32(p) - 1, node, is_array)
        self._depth += 1
        return 0

    cdef bint _walk(self, Container here) except? False:
        """Count the fields of a document or array, and keep those within them for later. Return whether it is valid."""
        cdef Bytes element = here.element, value, end
        cdef Counts* counts
        cdef int child, previous = NO_NODE, slot
        cdef byte kind
        if here.last[0]:
            return False
        while element < here.last:
            value = <Bytes>memchr(element + 1, 0, here.last - element - 1)
            if value == NULL:
                return False
            kind = element[0]
            end = any_value_end(kind, value + 1, here.last)
            if end == NULL:
                return False
            if here.node < 0:
                child = -1
            elif here.is_array:
                child = self._element(here.node)
            else:
                child = self._field(here.node, previous, element + 1, value - element - 1)
                previous = child
            if child < 0:
                self.beyond += 1
            else:
                counts = &self._counts[child]
                if counts.last_document != self.documents:
                    counts.last_document = self.documents
                    counts.documents += 1
                slot = type_place(kind)
                if counts.last_types[slot] != self.documents:
                    counts.last_types[slot] = self.documents
                    counts.types[slot] += 1
            if kind == 0x03 or kind == 0x04:
                self._push(value + 1, child, kind == 0x04)
            element = end
        return element == here.last

    cdef int _element(self, int parent) except -2:
        cdef FieldNode* node = &self._tree.nodes[parent]
        if node.element < 0:
            if node.kind == REST or self._counts[parent].path_length + 2 > self._longest:
                return self._rest(parent)
            return self._new_node(parent, ELEMENTS, self._counts[parent].path_length + 2)
        return node.element

    cdef int _rest(self, int parent) except -2:
        """Return the node for everything below a path of the greatest length."""
        cdef FieldNode* node = &self._tree.nodes[parent]
        if node.kind == REST:
            return parent
        if node.rest < 0:
            return self._new_node(parent, REST, self._longest)
        return node.rest

    cdef int _field(self, int parent, int previous, Bytes name, Py_ssize_t length) except -2:
        """Return the node of a field. The field that followed the previous one last time is tried first."""
        cdef int found = expected_field(&self._tree, parent, previous, name, length)
        cdef int path_length
        cdef uint32_t hash
        if found >= 0:
            return found
        path_length = self._counts[parent].path_length + 1 + <int>length
        if self._tree.nodes[parent].kind == REST or path_length > self._longest:
            return self._rest(parent)
        hash = field_hash(parent, name, length)
        found = find_field(&self._tree, parent, name, length, hash)
        if found < 0:
            if self._tree.count > self._most:
                return NO_NODE
            found = add_field(&self._tree, parent, name, length, hash)
            self._begin_counts(found, path_length)
        expect_field(&self._tree, parent, previous, found)
        return found

    cdef int _new_node(self, int parent, int kind, int path_length) except -2:
        """Return a new node; NO_NODE if there are too many."""
        cdef int found
        if self._tree.count > self._most:
            return NO_NODE
        found = add_node(&self._tree, parent, kind)
        self._begin_counts(found, path_length)
        if kind == ELEMENTS:
            self._tree.nodes[parent].element = found
        else:
            self._tree.nodes[parent].rest = found
        return found

    cdef int _begin_counts(self, int index, int path_length) except -1:
        cdef Counts* counts
        if index == self._room:
            counts = <Counts*>realloc(self._counts, 2 * self._room * sizeof(Counts))
            if counts == NULL:
                raise MemoryError
            self._counts = counts
            self._room *= 2
        memset(&self._counts[index], 0, sizeof(Counts))
        self._counts[index].path_length = path_length
        return 0

    def fields(self):
        """Return each path with the number of documents that have it, and that of each of its types."""
        cdef int index
        cdef FieldNode* node
        cdef Counts* counts
        paths = [""]
        found = []
        for index in range(1, self._tree.count):
            node, counts = &self._tree.nodes[index], &self._counts[index]
            above = paths[node.parent]
            if node.kind == FIELD:
                name = PyBytes_FromStringAndSize(<char*>node.name, node.name_length).decode(errors="replace")
                paths.append(f"{above}.{name}" if node.parent else name)
            else:
                paths.append(f"{above}[]" if node.kind == ELEMENTS else f"{above}…")
            found.append((paths[index], counts.documents, types_of(counts.types)))
        return found
