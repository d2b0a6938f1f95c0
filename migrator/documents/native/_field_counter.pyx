# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled version of `field_counts.PythonFieldCounter`. A test compares both."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from migrator.documents.native._bson cimport Bytes, any_value_end, byte, hash_of, int32

cdef enum:
    TYPES = 22  # the BSON types 0x01 to 0x13, then MaxKey and MinKey
    FIELD = 0
    ELEMENTS = 1
    REST = 2  # what is below a path of the greatest length


cdef struct Node:
    byte* name
    int name_length
    int path_length
    int parent
    int kind
    int element
    int rest
    int first  # the field that began the object last time, and the one that followed this field: they are tried first
    int successor
    uint32_t hash
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

    cdef Node* _nodes
    cdef int* _table
    cdef Container* _stack
    cdef int _count, _room, _mask, _most, _longest
    cdef Py_ssize_t _depth, _stack_room
    cdef readonly int64_t documents, beyond

    def __cinit__(self, int most, int longest):
        self._most, self._longest = most, longest
        self._room, self._mask, self._stack_room = 64, 255, 64
        self._nodes = <Node*>malloc(self._room * sizeof(Node))
        self._table = <int*>malloc((self._mask + 1) * sizeof(int))
        self._stack = <Container*>malloc(self._stack_room * sizeof(Container))
        if self._nodes == NULL or self._table == NULL or self._stack == NULL:
            raise MemoryError
        memset(self._table, 0xFF, (self._mask + 1) * sizeof(int))
        self._new_node(-1, NULL, 0, FIELD, 0, 0)

    def __dealloc__(self):
        cdef int index
        if self._nodes != NULL:
            for index in range(self._count):
                free(self._nodes[index].name)
        free(self._nodes)
        free(self._table)
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
            self._push(start + position, 0, False)
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
        cdef Node* node
        cdef int child, previous = -1, slot
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
                node = &self._nodes[child]
                if node.last_document != self.documents:
                    node.last_document = self.documents
                    node.documents += 1
                slot = kind if kind < 0x14 else 0x14 if kind == 0x7F else 0x15
                if node.last_types[slot] != self.documents:
                    node.last_types[slot] = self.documents
                    node.types[slot] += 1
            if kind == 0x03 or kind == 0x04:
                self._push(value + 1, child, kind == 0x04)
            element = end
        return element == here.last

    cdef int _element(self, int parent) except -2:
        cdef int child = self._nodes[parent].element
        if child < 0:
            if self._nodes[parent].kind == REST or self._nodes[parent].path_length + 2 > self._longest:
                return self._rest(parent)
            child = self._new_node(parent, NULL, 0, ELEMENTS, 0, self._nodes[parent].path_length + 2)
            self._nodes[parent].element = child
        return child

    cdef int _rest(self, int parent) except -2:
        """Return the node for everything below a path of the greatest length."""
        cdef int found
        if self._nodes[parent].kind == REST:
            return parent
        if self._nodes[parent].rest < 0:
            found = self._new_node(parent, NULL, 0, REST, 0, self._longest)
            self._nodes[parent].rest = found
        return self._nodes[parent].rest

    cdef int _field(self, int parent, int previous, Bytes name, Py_ssize_t length) except -2:
        """Return the node of a field. The field that followed the previous one last time is tried first."""
        cdef int found = self._nodes[parent].first if previous < 0 else self._nodes[previous].successor
        cdef uint32_t hash, slot
        cdef Node* node
        if found >= 0:
            node = &self._nodes[found]
            if node.name_length == length and memcmp(node.name, name, length) == 0:
                return found
        if self._nodes[parent].kind == REST or self._nodes[parent].path_length + 1 + length > self._longest:
            return self._rest(parent)
        hash = hash_of(name, length) ^ <uint32_t>parent * 2654435761U
        slot = hash & self._mask
        while self._table[slot] >= 0:
            node = &self._nodes[self._table[slot]]
            if node.hash == hash and node.parent == parent and node.name_length == length and memcmp(node.name, name, length) == 0:
                found = self._table[slot]
                break
            slot = (slot + 1) & self._mask
        else:
            found = self._new_node(parent, name, length, FIELD, hash, self._nodes[parent].path_length + 1 + length)
            if found < 0:
                return -1
            self._table[slot] = found
            if self._count * 2 > self._mask:
                self._grow_table()
        if previous < 0:
            self._nodes[parent].first = found
        elif self._nodes[previous].kind == FIELD:
            self._nodes[previous].successor = found
        return found

    cdef int _grow_table(self) except -1:
        cdef int index, size = (self._mask + 1) * 2
        cdef uint32_t slot
        cdef int* table = <int*>malloc(size * sizeof(int))
        if table == NULL:
            raise MemoryError
        memset(table, 0xFF, size * sizeof(int))
        free(self._table)
        self._table, self._mask = table, size - 1
        for index in range(1, self._count):
            if self._nodes[index].kind == FIELD:
                slot = self._nodes[index].hash & self._mask
                while table[slot] >= 0:
                    slot = (slot + 1) & self._mask
                table[slot] = index
        return 0

    cdef int _new_node(self, int parent, Bytes name, Py_ssize_t length, int kind, uint32_t hash, int path_length) except -2:
        """Return a new node; -1 if there are too many."""
        cdef Node* nodes
        cdef Node* node
        cdef int index = self._count
        if index > self._most:
            return -1
        if index == self._room:
            nodes = <Node*>realloc(self._nodes, 2 * self._room * sizeof(Node))
            if nodes == NULL:
                raise MemoryError
            self._nodes = nodes
            self._room *= 2
        node = &self._nodes[index]
        memset(node, 0, sizeof(Node))
        node.parent, node.kind, node.hash, node.path_length = parent, kind, hash, path_length
        node.element = node.rest = node.first = node.successor = -1
        node.name = <byte*>malloc(length + 1)
        if node.name == NULL:
            raise MemoryError
        memcpy(node.name, name, length)
        node.name_length = <int>length if kind == FIELD else -1
        self._count += 1
        return index

    def fields(self):
        """Return each path with the number of documents that have it, and that of each of its types."""
        cdef int index, slot
        cdef Node* node
        paths = [""]
        found = []
        for index in range(1, self._count):
            node = &self._nodes[index]
            above = paths[node.parent]
            if node.kind == FIELD:
                name = PyBytes_FromStringAndSize(<char*>node.name, node.name_length).decode(errors="replace")
                paths.append(f"{above}.{name}" if node.parent else name)
            else:
                paths.append(f"{above}[]" if node.kind == ELEMENTS else f"{above}…")
            types = {slot if slot < 0x14 else 0x7F if slot == 0x14 else 0xFF: node.types[slot] for slot in range(TYPES) if node.types[slot]}
            found.append((paths[index], node.documents, types))
        return found
