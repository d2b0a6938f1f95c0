# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled version of `profiler.Profiler` and `sketch.Sketch`. A test compares both."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport floor
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from migrator.documents.native._bson cimport Bytes, any_value_end, byte, hash_of, int32, int64, is_utf8, nibble, read_uuid

cdef extern from *:
    """
    static inline unsigned long long migrate_mix(unsigned long long a, unsigned long long b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (unsigned long long)product ^ (unsigned long long)(product >> 64);
    }
    """
    uint64_t migrate_mix(uint64_t a, uint64_t b) noexcept nogil

cdef enum:
    TYPES = 22  # the BSON types 0x01 to 0x13, then MaxKey and MinKey
    MAX_DEPTH = 100  # as MongoDB stores; what is below is not looked at
    LONGEST_NAME = 128
    LONGEST_VALUE = 64  # a longer text is no ID, and its distinct values are not counted
    SAMPLE_BYTES = 32
    MIN_SLOTS = 16

cdef uint64_t SEED = 0x9E3779B97F4A7C15
cdef uint64_t PRIME = 0xD6E8FEB86659FD93


cdef uint64_t hash_value(byte kind, Bytes p, Py_ssize_t length) noexcept nogil:
    """Return a hash of a value that is the same in every process; never 0."""
    cdef uint64_t state = migrate_mix(SEED ^ kind, PRIME ^ <uint64_t>length)
    cdef uint64_t part
    while length >= 8:
        memcpy(&part, p, 8)
        state = migrate_mix(state ^ part, PRIME)
        p += 8
        length -= 8
    if length:
        part = 0
        memcpy(&part, p, length)
        state = migrate_mix(state ^ part, PRIME)
    state = migrate_mix(state ^ SEED, PRIME)
    return state if state else 1


cdef struct Hashes:  # a hash table of 64-bit hashes that begin with at least `level` zero bits
    uint64_t* slots
    uint64_t mask
    uint64_t count
    uint64_t most  # slots
    int level
    int64_t* budget  # slots that all tables of a profiler may still add; NULL: no limit


cdef bint hashes_insert(Hashes* self, uint64_t value) noexcept nogil:
    cdef uint64_t slot = value & self.mask
    while self.slots[slot]:
        if self.slots[slot] == value:
            return False
        slot = (slot + 1) & self.mask
    self.slots[slot] = value
    self.count += 1
    return True


cdef bint hashes_have(Hashes* self, uint64_t value) noexcept nogil:
    cdef uint64_t slot
    if self.slots == NULL:
        return False
    slot = value & self.mask
    while self.slots[slot]:
        if self.slots[slot] == value:
            return True
        slot = (slot + 1) & self.mask
    return False


cdef int hashes_rebuild(Hashes* self, uint64_t size) except -1 nogil:
    cdef uint64_t* old = self.slots
    cdef uint64_t old_size = self.mask + 1 if old != NULL else 0
    cdef uint64_t index
    self.slots = <uint64_t*>calloc(size, sizeof(uint64_t))
    if self.slots == NULL:
        self.slots = old
        with gil:
            raise MemoryError
    self.mask = size - 1
    self.count = 0
    for index in range(old_size):
        if old[index] and (self.level == 0 or old[index] >> (64 - self.level) == 0):
            hashes_insert(self, old[index])
    free(old)
    return 0


cdef inline int hashes_add(Hashes* self, uint64_t value) except -1 nogil:
    if self.level and value >> (64 - self.level):
        return 0
    if self.slots == NULL:
        hashes_rebuild(self, MIN_SLOTS)
    if hashes_insert(self, value) and self.count * 2 > self.mask:
        if self.mask + 1 >= self.most or (self.budget != NULL and self.budget[0] < <int64_t>self.mask + 1):
            while self.count * 2 > self.mask:
                self.level += 1
                hashes_rebuild(self, self.mask + 1)
        else:
            if self.budget != NULL:
                self.budget[0] -= <int64_t>self.mask + 1
            hashes_rebuild(self, (self.mask + 1) * 2)
    return 0


cdef class Sketch:
    """See `sketch.Sketch`."""

    cdef Hashes _hashes

    def __cinit__(self, uint64_t most):
        self._hashes.most = most

    def __dealloc__(self):
        free(self._hashes.slots)

    @property
    def level(self):
        return self._hashes.level

    @property
    def kept(self):
        return self._hashes.count

    @property
    def distinct(self):
        return self._hashes.count << self._hashes.level

    def add(self, uint64_t value):
        hashes_add(&self._hashes, value)

    def __contains__(self, uint64_t value):
        return hashes_have(&self._hashes, value)

    def shared_with(self, Sketch other not None, uint64_t most=0):
        """See `sketch.compare`."""
        cdef int level = max(self._hashes.level, other._hashes.level)
        cdef uint64_t index, value, compared = 0, found = 0
        if self._hashes.slots != NULL:
            for index in range(self._hashes.mask + 1):
                value = self._hashes.slots[index]
                if value and (level == 0 or value >> (64 - level) == 0):
                    compared += 1
                    found += hashes_have(&other._hashes, value)
                    if compared == most:
                        break
        return compared, found


cdef struct Node:
    int parent, element, others, first, successor, depth
    byte* name
    int name_length
    uint32_t hash
    int kind  # 0: a field, 1: the elements of an array, 2: fields beyond the limit
    int children
    int64_t documents, last_document
    int64_t types[TYPES]
    int64_t empty, nul, object_id_texts, uuid_texts, id_texts, whole_doubles
    int64_t shortest, longest, length_sum, most_items
    int64_t least, greatest  # of whole numbers, and of dates in milliseconds
    byte sample_type
    int sample_length  # -1: too long to keep
    byte sample[SAMPLE_BYTES]
    int64_t same  # values equal to the sample
    Hashes values, keys


cdef class Profiler:
    """See `profiler.Profiler`. Not for several threads."""

    cdef Node* _nodes
    cdef int* _table
    cdef int _count, _room, _mask, _most_nodes, _most_children
    cdef uint64_t _most_values, _most_keys
    cdef int64_t _documents, _damaged, _budget
    cdef set _exact

    def __cinit__(self, exact, *, int most_nodes, int most_children, uint64_t most_values, uint64_t most_keys, int64_t most_slots):
        self._budget = most_slots
        self._exact = {tuple(path) for path in exact}
        self._most_nodes, self._most_children = most_nodes, most_children
        self._most_values, self._most_keys = most_values, most_keys
        self._room, self._mask = 64, 255
        self._nodes = <Node*>calloc(self._room, sizeof(Node))
        self._table = <int*>malloc((self._mask + 1) * sizeof(int))
        if self._nodes == NULL or self._table == NULL:
            raise MemoryError
        memset(self._table, 0xFF, (self._mask + 1) * sizeof(int))
        self._new_node(-1, NULL, 0, 0, 0)

    def __dealloc__(self):
        cdef int index
        if self._nodes != NULL:
            for index in range(self._count):
                free(self._nodes[index].name)
                free(self._nodes[index].values.slots)
                free(self._nodes[index].keys.slots)
        free(self._nodes)
        free(self._table)

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
            if self._walk(start + position, start + position + length, 0, False, 0) < 0:
                self._damaged += 1
            position += length

    cdef int _walk(self, Bytes p, Bytes end, int node, bint is_array, int depth) except -2:
        """Count the fields of a document or array. Return -1 if it is damaged."""
        cdef Bytes last, element, name, value
        cdef int32_t length
        cdef int child, previous = -1
        cdef int64_t items = 0
        if end - p < 5:
            return -1
        length = int32(p)
        if length < 5 or length > end - p or p[length - 1]:
            return -1
        last, element = p + length - 1, p + 4
        if element == last:
            self._nodes[node].empty += 1
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
        if is_array and items > self._nodes[node].most_items:
            self._nodes[node].most_items = items
        return 0

    cdef Bytes _count_value(self, byte kind, Bytes p, Bytes last, int index, int depth) except? NULL:
        """Count one value. Return its end; NULL if it is damaged."""
        cdef Node* node
        cdef Bytes end = any_value_end(kind, p, last)
        cdef int slot = kind if kind < 0x14 else 0x14 if kind == 0x7F else 0x15
        if end == NULL:
            return NULL
        node = &self._nodes[index]
        node.types[slot] += 1
        if node.last_document != self._documents:
            node.last_document = self._documents
            node.documents += 1
        if kind == 0x03 or kind == 0x04:
            if depth < MAX_DEPTH and self._walk(p, end, index, kind == 0x04, depth + 1) < 0:
                return NULL
            return end
        if kind == 0x02:
            if not is_utf8(p + 4, end - p - 5):
                return NULL
            self._count_text(node, p + 4, end - p - 5)
        elif kind == 0x07:
            hashes_add(&node.values, hash_value(0x07, p, 12))
        elif kind == 0x10:
            self._count_whole(node, int32(p))
        elif kind == 0x12:
            self._count_whole(node, int64(p))
        elif kind == 0x01:
            self._count_double(node, p)
        elif kind == 0x09:
            count_range(node, int64(p))
        elif kind == 0x05 and p[4] == 4 and int32(p) == 16:
            node.uuid_texts += 1
            hashes_add(&node.values, hash_value(0x05, p + 5, 16))
        elif kind == 0x05:
            self._count_length(node, int32(p))
        keep_sample(node, kind, p, end)
        return end

    cdef int _count_text(self, Node* node, Bytes p, Py_ssize_t length) except -1:
        cdef byte short_id[16]
        self._count_length(node, length)
        if length and memchr(p, 0, length) != NULL:
            node.nul += 1
        if length == 24 and read_hex(p, 12, short_id):
            node.object_id_texts += 1
            hashes_add(&node.values, hash_value(0x07, short_id, 12))
        elif length == 36 and read_uuid(p, short_id):
            node.uuid_texts += 1
            hashes_add(&node.values, hash_value(0x05, short_id, 16))
        elif 0 < length <= LONGEST_VALUE:
            node.id_texts += is_id(p, length)
            hashes_add(&node.values, hash_value(0x02, p, length))
        return 0

    cdef int _count_length(self, Node* node, int64_t length) except -1:
        node.length_sum += length
        if length == 0:
            node.empty += 1
        if length < node.shortest:
            node.shortest = length
        if length > node.longest:
            node.longest = length
        return 0

    cdef int _count_whole(self, Node* node, int64_t number) except -1:
        count_range(node, number)
        hashes_add(&node.values, hash_value(0x12, <Bytes>&number, 8))
        return 0

    cdef int _count_double(self, Node* node, Bytes p) except -1:
        cdef double number
        memcpy(&number, p, 8)
        if -9007199254740992.0 <= number <= 9007199254740992.0 and floor(number) == number:
            node.whole_doubles += 1
            self._count_whole(node, <int64_t>number)
        return 0

    cdef int _element(self, int parent) except -1:
        if self._nodes[parent].element < 0:
            child = self._new_node(parent, NULL, 0, 0, 1)
            self._nodes[parent].element = child
        return self._nodes[parent].element

    cdef int _field(self, int parent, int previous, Bytes name, Py_ssize_t length) except -1:
        """Return the node of a field. The field that followed the previous one last time is tried first."""
        cdef int found = self._nodes[parent].first if previous < 0 else self._nodes[previous].successor
        cdef uint32_t hash, slot
        cdef Node* node
        if found >= 0:
            node = &self._nodes[found]
            if node.name_length == length and memcmp(node.name, name, length) == 0:
                return found
        hash = hash_of(name, length) ^ <uint32_t>parent * 2654435761U
        slot = hash & self._mask
        while self._table[slot] >= 0:
            node = &self._nodes[self._table[slot]]
            if node.hash == hash and node.parent == parent and node.name_length == length and memcmp(node.name, name, length) == 0:
                found = self._table[slot]
                break
            slot = (slot + 1) & self._mask
        else:
            found = self._new_field(parent, name, length, hash)
        if self._nodes[found].kind == 0:
            if previous < 0:
                self._nodes[parent].first = found
            elif self._nodes[previous].kind == 0:
                self._nodes[previous].successor = found
        return found

    cdef int _new_field(self, int parent, Bytes name, Py_ssize_t length, uint32_t hash) except -1:
        cdef int found
        cdef uint32_t slot
        if (
            self._nodes[parent].children >= self._most_children
            or self._count >= self._most_nodes
            or length > LONGEST_NAME
            or not is_utf8(name, length)
        ):
            if self._nodes[parent].others < 0:
                found = self._new_node(parent, NULL, 0, 0, 2)
                self._nodes[parent].others = found
            found = self._nodes[parent].others
            hashes_add(&self._nodes[found].keys, hash_key(name, length))
            return found
        found = self._new_node(parent, name, length, hash, 0)
        self._nodes[parent].children += 1
        if self._count * 2 > self._mask:
            self._grow_table()
        else:
            slot = hash & self._mask
            while self._table[slot] >= 0:
                slot = (slot + 1) & self._mask
            self._table[slot] = found
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
        for index in range(self._count):
            if self._nodes[index].kind == 0 and index:
                slot = self._nodes[index].hash & self._mask
                while table[slot] >= 0:
                    slot = (slot + 1) & self._mask
                table[slot] = index
        return 0

    cdef int _new_node(self, int parent, Bytes name, Py_ssize_t length, uint32_t hash, int kind) except -1:
        cdef Node* nodes
        cdef Node* node
        cdef int index = self._count
        if index == self._room:
            nodes = <Node*>realloc(self._nodes, 2 * self._room * sizeof(Node))
            if nodes == NULL:
                raise MemoryError
            self._nodes = nodes
            self._room *= 2
        node = &self._nodes[index]
        memset(node, 0, sizeof(Node))
        node.parent, node.kind, node.hash = parent, kind, hash
        node.element = node.others = node.first = node.successor = -1
        node.shortest = node.least = 0x7FFFFFFFFFFFFFFF
        node.greatest = -0x7FFFFFFFFFFFFFFF
        node.name = <byte*>malloc(length + 1)
        if node.name == NULL:
            raise MemoryError
        memcpy(node.name, name, length)
        node.name_length = <int>length if kind == 0 else -1
        self._count += 1
        node.values.budget = node.keys.budget = &self._budget
        node.values.most = self._most_values
        node.keys.most = self._most_values
        if self._exact and self._path(index) in self._exact:
            node.values.most = self._most_keys
        return index

    cdef tuple _path(self, int index):
        names = []
        while index > 0:
            names.append(self._name(index))
            index = self._nodes[index].parent
        return tuple(reversed(names))

    cdef str _name(self, int index):
        cdef Node* node = &self._nodes[index]
        if node.kind:
            return "[]" if node.kind == 1 else "*"
        return PyBytes_FromStringAndSize(<char*>node.name, node.name_length).decode()

    def nodes(self):
        """Return the statistics of all paths, parents first, and give up their sketches."""
        cdef int index, slot
        cdef Node* node
        found = []
        for index in range(1, self._count):
            node = &self._nodes[index]
            found.append({
                "parent": node.parent - 1,
                "name": self._name(index),
                "kind": node.kind,
                "documents": node.documents,
                "types": {slot if slot < 0x14 else 0x7F if slot == 0x14 else 0xFF: node.types[slot] for slot in range(TYPES) if node.types[slot]},
                "empty": node.empty,
                "nul": node.nul,
                "object_id_texts": node.object_id_texts,
                "uuid_texts": node.uuid_texts,
                "id_texts": node.id_texts,
                "whole_doubles": node.whole_doubles,
                "shortest": node.shortest if node.longest or node.empty else 0,
                "longest": node.longest,
                "length_sum": node.length_sum,
                "most_items": node.most_items,
                "least": node.least if node.least <= node.greatest else 0,
                "greatest": node.greatest if node.least <= node.greatest else 0,
                "sample_type": node.sample_type,
                "sample": PyBytes_FromStringAndSize(<char*>node.sample, node.sample_length) if node.sample_type and node.sample_length >= 0 else None,
                "same": node.same,
                "values": take(&node.values),
                "keys": take(&node.keys),
            })
        return found


cdef Sketch take(Hashes* hashes):
    cdef Sketch sketch = Sketch(hashes.most)
    sketch._hashes = hashes[0]
    sketch._hashes.budget = NULL  # it belongs to the profiler
    hashes.slots = NULL
    hashes.count = hashes.mask = 0
    return sketch


cdef void count_range(Node* node, int64_t number) noexcept nogil:
    if number < node.least:
        node.least = number
    if number > node.greatest:
        node.greatest = number


cdef void keep_sample(Node* node, byte kind, Bytes p, Bytes end) noexcept nogil:
    """Keep the first value, and count the values that equal it."""
    cdef Py_ssize_t length = end - p
    if node.sample_type == 0:
        node.sample_type = kind
        node.sample_length = <int>length if length <= SAMPLE_BYTES else -1
        if length <= SAMPLE_BYTES:
            memcpy(node.sample, p, length)
    if node.sample_type == kind and node.sample_length == length and memcmp(node.sample, p, length) == 0:
        node.same += 1


cdef bint read_hex(Bytes text, int length, byte* out) noexcept nogil:
    cdef int index
    cdef byte high, low
    for index in range(length):
        high, low = nibble(text[2 * index]), nibble(text[2 * index + 1])
        if high == 255 or low == 255:
            return False
        out[index] = high << 4 | low
    return True


cdef bint is_id(Bytes text, Py_ssize_t length) noexcept nogil:
    """Return whether a text looks like an ID: at least 12 letters, digits, and - or _, one of them a digit."""
    cdef Py_ssize_t index
    cdef bint digit = False
    if length < 12:
        return False
    for index in range(length):
        if 48 <= text[index] <= 57:
            digit = True
        elif not (97 <= text[index] <= 122 or 65 <= text[index] <= 90 or text[index] == 95 or text[index] == 45):
            return False
    return digit


cdef uint64_t hash_key(Bytes name, Py_ssize_t length) noexcept nogil:
    """Return the hash that the text of a name has as a value."""
    cdef byte short_id[16]
    if length == 24 and read_hex(name, 12, short_id):
        return hash_value(0x07, short_id, 12)
    if length == 36 and read_uuid(name, short_id):
        return hash_value(0x05, short_id, 16)
    return hash_value(0x02, name, length)


def hash_text(str text):
    """Return the hash that a text has as a value or a key."""
    cdef bytes data = text.encode()
    return hash_key(<Bytes>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
