# cython: language_level=3
"""A tree of the fields of documents, with a hash table of (parent, name). Nodes are numbers in order of creation.

The users of a tree limit its nodes, and keep what they count in arrays of their own.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from migrator.documents.native._bson cimport Bytes, byte, hash_of

cdef enum NodeKind:
    FIELD = 0
    ELEMENTS = 1  # of an array
    REST = 2  # everything below the parent that a limit leaves no node for

cdef enum:
    ROOT = 0
    NO_NODE = -1
    FIRST_NODES = 64
    FIRST_SLOTS = 256
    TYPES = 22  # the BSON types 0x01 to 0x13, then MaxKey and MinKey


cdef struct FieldNode:
    byte* name
    int name_length  # -1: not a field
    int parent
    int kind
    int element
    int rest
    int first  # the field that began the object last time, and the one that followed this field: they are tried first
    int successor
    uint32_t hash


cdef struct FieldTree:
    FieldNode* nodes
    int* slots
    int count
    int room
    uint32_t mask


cdef inline int begin_tree(FieldTree* tree) except -1:
    """Create a tree that has its root only."""
    tree.room, tree.mask = FIRST_NODES, FIRST_SLOTS - 1
    tree.nodes = <FieldNode*>malloc(FIRST_NODES * sizeof(FieldNode))
    tree.slots = <int*>malloc(FIRST_SLOTS * sizeof(int))
    if tree.nodes == NULL or tree.slots == NULL:
        raise MemoryError
    memset(tree.slots, 0xFF, FIRST_SLOTS * sizeof(int))
    add_node(tree, NO_NODE, FIELD)
    return 0


cdef inline void free_tree(FieldTree* tree) noexcept nogil:
    """Free the memory of a tree, whether or not it was created."""
    cdef int index
    if tree.nodes != NULL:
        for index in range(tree.count):
            free(tree.nodes[index].name)
    free(tree.nodes)
    free(tree.slots)


cdef inline int expected_field(FieldTree* tree, int parent, int previous, Bytes name, Py_ssize_t length) noexcept nogil:
    """Return the field that followed `previous` last time if it has this name, otherwise NO_NODE."""
    cdef int found = tree.nodes[parent].first if previous < 0 else tree.nodes[previous].successor
    if found >= 0 and tree.nodes[found].name_length == length and memcmp(tree.nodes[found].name, name, length) == 0:
        return found
    return NO_NODE


cdef inline void expect_field(FieldTree* tree, int parent, int previous, int found) noexcept nogil:
    """Keep which field followed `previous`, or began the object."""
    if tree.nodes[found].kind != FIELD:
        return
    if previous < 0:
        tree.nodes[parent].first = found
    elif tree.nodes[previous].kind == FIELD:
        tree.nodes[previous].successor = found


cdef inline uint32_t field_hash(int parent, Bytes name, Py_ssize_t length) noexcept nogil:
    return hash_of(name, length) ^ <uint32_t>parent * <uint32_t>2654435761


cdef inline int find_field(FieldTree* tree, int parent, Bytes name, Py_ssize_t length, uint32_t hash) noexcept nogil:
    """Return a field by its name; NO_NODE if there is none. `hash` is its `field_hash`."""
    cdef uint32_t slot = hash & tree.mask
    cdef FieldNode* node
    while tree.slots[slot] >= 0:
        node = &tree.nodes[tree.slots[slot]]
        if node.hash == hash and node.parent == parent and node.name_length == length and memcmp(node.name, name, length) == 0:
            return tree.slots[slot]
        slot = (slot + 1) & tree.mask
    return NO_NODE


cdef inline int add_field(FieldTree* tree, int parent, Bytes name, Py_ssize_t length, uint32_t hash) except -1:
    """Add a field that `find_field` did not find. Return its node."""
    cdef int index = add_node(tree, parent, FIELD)
    cdef FieldNode* node = &tree.nodes[index]
    node.name = <byte*>malloc(length + 1)
    if node.name == NULL:
        raise MemoryError
    memcpy(node.name, name, length)
    node.name_length, node.hash = <int>length, hash
    if <uint32_t>tree.count * 2 > tree.mask:
        grow_slots(tree)
    else:
        fill_slot(tree, index)
    return index


cdef inline int add_node(FieldTree* tree, int parent, int kind) except -1:
    """Add a node without a name. Return it."""
    cdef FieldNode* nodes
    cdef FieldNode* node
    if tree.count == tree.room:
        nodes = <FieldNode*>realloc(tree.nodes, 2 * tree.room * sizeof(FieldNode))
        if nodes == NULL:
            raise MemoryError
        tree.nodes = nodes
        tree.room *= 2
    node = &tree.nodes[tree.count]
    node.parent, node.kind, node.name, node.name_length, node.hash = parent, kind, NULL, -1, 0
    node.element = node.rest = node.first = node.successor = NO_NODE
    tree.count += 1
    return tree.count - 1


cdef inline void fill_slot(FieldTree* tree, int index) noexcept nogil:
    cdef uint32_t slot = tree.nodes[index].hash & tree.mask
    while tree.slots[slot] >= 0:
        slot = (slot + 1) & tree.mask
    tree.slots[slot] = index


cdef inline int grow_slots(FieldTree* tree) except -1:
    cdef size_t size = (<size_t>tree.mask + 1) * 2
    cdef int index
    cdef int* slots = <int*>malloc(size * sizeof(int))
    if slots == NULL:
        raise MemoryError
    memset(slots, 0xFF, size * sizeof(int))
    free(tree.slots)
    tree.slots, tree.mask = slots, <uint32_t>(size - 1)
    for index in range(tree.count):
        if tree.nodes[index].name_length >= 0:
            fill_slot(tree, index)
    return 0


cdef inline int type_place(byte kind) noexcept nogil:
    """Return the place of a BSON type among `TYPES` counts."""
    return kind if kind < 0x14 else 0x14 if kind == 0x7F else 0x15


cdef inline dict types_of(int64_t* counts):
    """Return the counts of the BSON types that occur."""
    cdef int place
    return {
        place if place < 0x14 else 0x7F if place == 0x14 else 0xFF: counts[place]
        for place in range(TYPES) if counts[place]
    }
