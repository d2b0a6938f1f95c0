# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Cuts the elements of a field from the BSON of projected documents: tuples of binary COPY, and what these leave.

The values that columns usually hold are converted here. Others are looked up in a dictionary by their BSON, and then by
a call (`known_values`). An element with a value that its row does not restore is left to the rule. See elements.py.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcpy, memset

from migrator.documents.native._bson cimport (
    ARRAY, DOCUMENT, INT32, INT64, NULL_VALUE, OBJECTID, STRING, Bytes, byte, decimal, int32, skip,
)
from migrator.translation.native._buffer cimport Buffer, append, append_number, reserve
from migrator.translation.native._cell cimport CONVERTED, LEFT, Cell, Conversion, Moments, convert, pack, write_number
from migrator.translation.native._element cimport (
    ANY_DOUBLE, BIGINT, CHANGED, EXACT, HEX, INTEGER, LONG, LOOKED_UP, MOMENT, NESTED, NUMBER, REFERENCE, REST,
    SMALLINT, TEXT, TRUTH, UNSET, Element, Rule, read_fields, read_value,
)
from migrator.translation.native._element_part cimport append_part
from migrator.translation.native._known cimport Known, Place, begin_known, is_known, keep, place_of
from migrator.translation.native._sha1 cimport sha1

# For a test that compares these numbers with those of Python.
RULE_TYPES = {
    "LOOKED_UP": LOOKED_UP, "REFERENCE": REFERENCE, "NESTED": NESTED, "TEXT": TEXT, "INTEGER": INTEGER,
    "SMALLINT": SMALLINT, "BIGINT": BIGINT, "LONG": LONG, "ANY_DOUBLE": ANY_DOUBLE, "NUMBER": NUMBER, "TRUTH": TRUTH,
    "MOMENT": MOMENT, "HEX": HEX,
}

cdef enum Shape:
    LIST = 0
    SINGLE = 1
    MAP = 2

cdef enum:
    MOST_SMALLINT = 32767

SHAPES = ("array", "document", "map")

cdef enum:  # the cells of a row that no rule fills
    PARENT = 0
    KEY = 1
    POSITION = 2
    NAME = 3
    RULED = 4


cdef class ElementCutter:
    """See `elements.Elements`. Not for several threads: it holds the current element.

    `columns`: the cell of each column of the table, `rules`: (type, name, required, most, known, nested).
    `by_rule(place, name, bson_type, raw, parent, context)` returns the tuples of an element with their tables, and the
    BSON of what they leave of it, or None.
    """

    cdef object _table, _by_rule, _encode_parent, _absent, _unfit, _context, _parent
    cdef tuple _markers
    cdef bytes _path
    cdef bint _values, _keyed
    cdef int _shape, _position_size, _column_count
    cdef int* _columns
    cdef Element _element
    cdef Cell* _cells
    cdef Known* _objectids  # of each rule: what ObjectIds lead to
    cdef list _names, _known, _nested, _alive
    cdef readonly list wanted  # of each rule: the BSON of references in gathered documents
    cdef list _below  # all cutters of nested fields
    cdef tuple _all  # this one and those
    cdef Py_ssize_t* _marks
    cdef Buffer _rows, _rest, _prefix
    cdef Py_ssize_t _made
    cdef Moments _moments

    def __cinit__(self, *, table, shape, path, values, keyed, position_size, columns, rules, by_rule, encode_parent,
                  absent, unfit, unset, changed, earliest, latest, shift):
        cdef Rule* rule
        self._table, self._path, self._values, self._keyed = table, path.encode(), values, keyed
        self._shape = SHAPES.index(shape)
        self._position_size, self._by_rule, self._encode_parent = position_size, by_rule, encode_parent
        self._absent, self._unfit, self._markers = absent, unfit, (None, unset, changed)
        self._moments = Moments(earliest, latest, shift)
        self._column_count, self._element.rule_count = len(columns), len(rules)
        self._columns = <int*>allocate(len(columns) * sizeof(int))
        self._element.rules = <Rule*>allocate(len(rules) * sizeof(Rule))
        self._cells = <Cell*>allocate((RULED + len(rules)) * sizeof(Cell))
        self._objectids = <Known*>allocate(len(rules) * sizeof(Known))
        memset(self._objectids, 0, len(rules) * sizeof(Known))
        self._names = [name.encode() for _, name, _, _, _, _ in rules]
        self._known = [known for _, _, _, _, known, _ in rules]
        self._nested = [nested for _, _, _, _, _, nested in rules]
        self._alive, self.wanted = [], [set() for _ in rules]
        self._below = []
        for nested in self._nested:
            if nested is not None:
                self._below += [nested, *(<ElementCutter>nested)._below]
        self._all = (self, *self._below)
        self._marks = <Py_ssize_t*>allocate(len(self._below) * sizeof(Py_ssize_t))
        for index, cell in enumerate(columns):
            self._columns[index] = cell
        for index, (rule_type, _, required, most, _, nested) in enumerate(rules):
            rule = &self._element.rules[index]
            rule.rule_type, rule.required, rule.most = rule_type, required, most
            rule.name, rule.length = <Bytes>PyBytes_AS_STRING(self._names[index]), len(self._names[index])
            rule.rest = &(<ElementCutter>nested)._rest if nested is not None else NULL

    def __dealloc__(self):
        cdef int index
        for index in range(self._element.rule_count if self._objectids != NULL else 0):
            PyMem_Free(self._objectids[index].places)
        PyMem_Free(self._objectids)
        PyMem_Free(self._columns)
        PyMem_Free(self._element.rules)
        PyMem_Free(self._cells)
        PyMem_Free(self._marks)
        PyMem_Free(self._rows.data)
        PyMem_Free(self._rest.data)
        PyMem_Free(self._prefix.data)

    def cut(self, bytes data, object place, object parent, object context, list tuples):
        """Add the tuples of a field, all of a table together, and return its outcome, or the BSON of the remainder.

        `place` is the value of the slot. `parent`: the plain key of the document's row.
        """
        cdef ElementCutter cutter
        cdef int64_t number
        cdef int outcome
        cdef bytes text, field
        if place is self._absent:
            return self._markers[UNSET if self._shape == LIST else EXACT]
        if context is not self._context:
            self._begin(context)
        if type(parent) is bytes:
            text = field = parent
        else:
            text, field = str(parent).encode(), self._encode_parent(parent)
        number = place
        outcome = self._cut(
            <byte>(number & 255), <Bytes>PyBytes_AS_STRING(data) + (number >> 8), parent,
            PyBytes_AS_STRING(field), PyBytes_GET_SIZE(field), PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), context,
        )
        for cutter in self._all:
            if cutter._rows.size:
                tuples.append((cutter._table, PyBytes_FromStringAndSize(cutter._rows.data, cutter._rows.size)))
                cutter._rows.size = 0
        if outcome == REST:
            return self._remainder()
        return self._markers[outcome]

    cdef _begin(self, context):
        """Forget what belongs to other documents."""
        cdef ElementCutter cutter
        for cutter in self._all:
            cutter._context = context
            for known in cutter._known:
                if known is not None:
                    known.begin(context)
            cutter._begin_known()

    cdef int _begin_known(self) except -1:
        """Forget what ObjectIds lead to if the dictionaries have forgotten it."""
        cdef int index
        for index in range(self._element.rule_count):
            if self._element.rules[index].rule_type == REFERENCE:
                begin_known(&self._objectids[index], self._known[index].generation)
        return 0

    cdef bytes _remainder(self):
        cdef char size[4]
        cdef Py_ssize_t length = self._rest.size + 5
        size[0], size[1], size[2], size[3] = <char>length, <char>(length >> 8), <char>(length >> 16), <char>(length >> 24)
        return size[:4] + self._rest.data[:self._rest.size] + b"\0"

    cdef int _cut(self, byte bson_type, Bytes p, object parent, const char* field, Py_ssize_t field_size,
                  const char* text, Py_ssize_t text_size, object context) except -1:
        """Add the rows of a field to `_rows`, and what they leave of its elements to `_rest`."""
        cdef Bytes last, name, value, end
        cdef int place = 0
        self._rest.size = self._prefix.size = self._made = 0
        if bson_type != (ARRAY if self._shape == LIST else DOCUMENT):
            return CHANGED
        last = p + int32(p) - 1
        if self._shape == LIST and p + 4 == last:
            return EXACT
        self._parent = parent
        self._cells[PARENT].data, self._cells[PARENT].size = field, field_size
        append(&self._prefix, text, text_size)
        append(&self._prefix, b"/", 1)
        append(&self._prefix, PyBytes_AS_STRING(self._path), PyBytes_GET_SIZE(self._path))
        append(&self._prefix, b"/", 1)
        reserve(&self._prefix, 10)
        if self._shape == SINGLE:
            self._add(DOCUMENT, p, last + 1, p, 0, 0, context)
        else:
            p += 4
            while p < last:
                name = p + 1
                value = <Bytes>memchr(name, 0, last - name) + 1
                end = skip(p[0], value)
                self._add(p[0], value, end, name, value - name - 1, place, context)
                place += 1
                p = end
        if not self._made:
            return CHANGED
        return REST if self._rest.size else EXACT

    cdef int _add(self, byte bson_type, Bytes p, Bytes end, Bytes name, Py_ssize_t name_size, int place,
                  object context) except -1:
        """Add the rows of one element, and what they leave of it."""
        cdef Py_ssize_t made = self._rows.size, rest = self._rest.size
        cdef int index
        if self._below:
            for index in range(len(self._below)):
                self._marks[index] = (<ElementCutter>self._below[index])._rows.size
        if self._alive:
            self._alive.clear()
        if self._add_usual(bson_type, p, end, name, name_size, place, context):
            self._made += 1
            return 0
        self._rows.size, self._rest.size = made, rest
        for index in range(len(self._below)):
            (<ElementCutter>self._below[index])._rows.size = self._marks[index]
        return self._add_by_rule(bson_type, p, end, name, name_size, place, context)

    cdef int _add_by_rule(self, byte bson_type, Bytes p, Bytes end, Bytes name, Py_ssize_t name_size, int place,
                          object context) except -1:
        cdef ElementCutter cutter
        text = (<const char*>name)[:name_size].decode() if self._shape == MAP else ""
        raw = PyBytes_FromStringAndSize(<const char*>p, end - p)
        tuples, part = self._by_rule(place, text, bson_type, raw, self._parent, context)
        for table, data in tuples:
            for cutter in self._all:
                if cutter._table == table:
                    append(&cutter._rows, PyBytes_AS_STRING(data), len(data))
        self._made += bool(tuples)
        if part is not None:
            append_number(&self._rest, DOCUMENT, place)
            append(&self._rest, PyBytes_AS_STRING(part), len(part))
        return 0

    cdef bint _add_usual(self, byte bson_type, Bytes p, Bytes end, Bytes name, Py_ssize_t name_size, int place,
                         object context) except -1:
        """Do so for an element whose fields all have usual values. Return whether it is one."""
        cdef bint partial = False
        cdef int index
        cdef Rule* rule
        if (self._position_size == 2 and place > MOST_SMALLINT) or not self._read(bson_type, p, end):
            return False
        if self._values and bson_type == NULL_VALUE:
            return False
        if self._keyed:
            self._identify(place)
        for index in range(self._element.rule_count):
            rule = &self._element.rules[index]
            if not self._convert(index, rule, context):
                return False
            partial |= rule.rule_type == NESTED and rule.outcome != EXACT
        self._cells[NAME].data, self._cells[NAME].size = <const char*>name, name_size
        self._cells[POSITION].size = self._position_size
        self._cells[POSITION].data = self._cells[POSITION].own
        write_number(self._cells[POSITION].own, self._position_size, place)
        pack(&self._rows, self._cells, self._columns, self._column_count)
        if partial or self._element.extra_count or not self._element.in_order:
            append_part(&self._rest, &self._element, p, place)
        return True

    cdef bint _read(self, byte bson_type, Bytes p, Bytes end) noexcept:
        """Find the fields of an element. Return whether its type is that of the rules."""
        if self._values:
            read_value(&self._element, bson_type, p, end)
        elif bson_type == DOCUMENT:
            read_fields(&self._element, p)
        else:
            return False
        return True

    cdef void _identify(self, int place) noexcept:
        """Set the key of the row: `ids.element_uuid`."""
        cdef byte digest[20]
        cdef char* key = self._cells[KEY].own
        cdef Py_ssize_t size = self._prefix.size + decimal(self._prefix.data + self._prefix.size, place)
        sha1(<Bytes>self._prefix.data, size, digest, False)
        memset(key, 0, 6)
        size = self._prefix.size - PyBytes_GET_SIZE(self._path) - 2  # of the key of the parent
        memcpy(key, self._prefix.data, size if size < 6 else 6)
        memcpy(key + 6, digest + 6, 10)
        key[6] = <char>(digest[6] & 15 | 0x80)
        key[8] = <char>(digest[8] & 63 | 0x80)
        self._cells[KEY].data, self._cells[KEY].size = key, 16

    cdef bint _convert(self, int index, Rule* rule, object context) except -1:
        """Set the cell of a rule. Return whether its row restores the field."""
        cdef Cell* cell = &self._cells[RULED + index]
        cdef Conversion conversion
        cell.data = cell.own
        if rule.rule_type == NESTED:
            return self._cut_nested(index, rule, context)
        if rule.rule_type == REFERENCE:
            return rule.value != NULL and is_reference(rule.bson_type) and self._look_up(rule, index, context)
        if rule.value == NULL:
            cell.size = -1
            return not rule.required
        if rule.bson_type == NULL_VALUE:
            return False
        conversion = convert(rule, cell, &self._moments)
        if conversion == CONVERTED:
            return True
        return conversion != LEFT and self._look_up(rule, index, context)

    cdef bint _cut_nested(self, int index, Rule* rule, object context) except -1:
        """Add the rows of a nested field. Return whether they, and what they leave, restore it."""
        cdef ElementCutter nested
        cdef const char* key = self._cells[KEY].data
        if rule.value == NULL:
            rule.outcome = UNSET
            return True
        if rule.bson_type != ARRAY:
            return False
        nested = self._nested[index]
        rule.outcome = nested._cut(ARRAY, rule.value, key[:16], key, 16, key, 16, context)
        return rule.outcome != CHANGED

    cdef bint _look_up(self, Rule* rule, int index, object context) except -1:
        """Set the cell of a rule by the BSON of the field. The bytes stay alive: in the dictionary, or in `_alive`."""
        cdef Cell* cell = &self._cells[RULED + index]
        cdef bint is_objectid = rule.rule_type == REFERENCE and rule.bson_type == OBJECTID
        cdef Known* known = &self._objectids[index]
        cdef Place* place = place_of(known, rule.value) if is_objectid else NULL
        cdef bytes raw
        cdef PyObject* borrowed
        cdef object found
        if place != NULL and is_known(known, place, rule.value):
            found = <object>place.found
        else:
            raw = typed_value(rule)
            borrowed = PyDict_GetItem(self._known[index], raw)
            if borrowed != NULL:
                found = <object>borrowed
            else:
                found = self._known[index].find(raw, context)
                self._alive.append(found)
            if place != NULL:  # the dictionary has it
                keep(known, place, rule.value, <PyObject*>found)
        if found is self._unfit:
            return False
        if found is None:
            cell.size = -1
        else:
            cell.data, cell.size = PyBytes_AS_STRING(<bytes?>found), PyBytes_GET_SIZE(found)
        return True

    # --- references ----------------------------------------------------------------------------------------------------

    def gather(self, bytes data, list places):
        """Add the BSON of the references in a field of some documents to `wanted`, of each rule.

        All of those whose rows are not known, and others.
        """
        cdef ElementCutter cutter
        cdef int64_t number
        for cutter in self._all:
            cutter._begin_known()
        for place in places:
            if place is not self._absent:
                number = place
                self._gather(<byte>(number & 255), <Bytes>PyBytes_AS_STRING(data) + (number >> 8))

    cdef int _gather(self, byte bson_type, Bytes p) except -1:
        cdef Bytes last, value
        if bson_type != (ARRAY if self._shape == LIST else DOCUMENT):
            return 0
        last = p + int32(p) - 1
        if self._shape == SINGLE:
            return self._gather_element(DOCUMENT, p, last + 1)
        p += 4
        while p < last:
            value = <Bytes>memchr(p + 1, 0, last - p) + 1
            bson_type = p[0]
            p = skip(bson_type, value)
            self._gather_element(bson_type, value, p)
        return 0

    cdef int _gather_element(self, byte bson_type, Bytes p, Bytes end) except -1:
        cdef int index
        cdef Rule* rule
        if not self._read(bson_type, p, end):
            return 0
        for index in range(self._element.rule_count):
            rule = &self._element.rules[index]
            if rule.value == NULL or rule.bson_type == NULL_VALUE:
                continue
            if rule.rule_type == REFERENCE:
                if rule.bson_type == OBJECTID and is_known(
                    &self._objectids[index], place_of(&self._objectids[index], rule.value), rule.value
                ):
                    continue
                (<set>self.wanted[index]).add(typed_value(rule))
            elif rule.rule_type == NESTED:
                (<ElementCutter>self._nested[index])._gather(rule.bson_type, rule.value)
        return 0


def sha1_of(bytes message, bint portable):
    """Return the SHA-1 of a message, for a test of both versions."""
    cdef byte digest[20]
    sha1(<Bytes>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), digest, portable)
    return PyBytes_FromStringAndSize(<char*>digest, 20)


cdef inline bint is_reference(byte bson_type) noexcept nogil:
    return bson_type == OBJECTID or bson_type == STRING or bson_type == INT32 or bson_type == INT64


cdef inline bytes typed_value(Rule* rule):
    """Return the type and the BSON of the field of a rule."""
    cdef Py_ssize_t size = rule.end - rule.value
    cdef bytes raw = PyBytes_FromStringAndSize(NULL, size + 1)
    PyBytes_AS_STRING(raw)[0] = <char>rule.bson_type
    memcpy(PyBytes_AS_STRING(raw) + 1, rule.value, size)
    return raw


cdef void* allocate(size_t size) except NULL:
    cdef void* memory = PyMem_Malloc(size or 1)
    if memory == NULL:
        raise MemoryError
    return memory
