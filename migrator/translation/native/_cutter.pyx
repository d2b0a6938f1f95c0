# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Cuts the elements of a field from the BSON of projected documents: tuples of binary COPY, and what these leave.

The values that columns usually hold are converted here. Others are looked up in a dictionary by their BSON, and then by
a call (`known_values`). An element with a value that its row does not restore is left to the rule. See elements.py.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.math cimport floor
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from migrator.documents.native._bson cimport (
    ARRAY, BOOLEAN, DATE, DOCUMENT, DOUBLE, INT32, INT64, MAX_FIELDS, NULL_VALUE, OBJECTID, STRING, Bytes, byte, int32,
    int64, skip, write_big,
)
from migrator.translation.native._buffer cimport (
    Buffer, append, append_number, append_string, begin, decimal, finish, reserve,
)
from migrator.translation.native._sha1 cimport sha1

cdef enum RuleType:  # as in `elements.RuleType`
    LOOKED_UP = 0
    REFERENCE = 1
    NESTED = 2
    TEXT = 3
    INTEGER = 4
    SMALLINT = 5
    BIGINT = 6
    LONG = 7
    ANY_DOUBLE = 8
    NUMBER = 9
    TRUTH = 10
    MOMENT = 11
    HEX = 12

# For a test that compares these numbers with those of Python.
RULE_TYPES = {
    "LOOKED_UP": LOOKED_UP, "REFERENCE": REFERENCE, "NESTED": NESTED, "TEXT": TEXT, "INTEGER": INTEGER,
    "SMALLINT": SMALLINT, "BIGINT": BIGINT, "LONG": LONG, "ANY_DOUBLE": ANY_DOUBLE, "NUMBER": NUMBER, "TRUTH": TRUTH,
    "MOMENT": MOMENT, "HEX": HEX,
}

cdef enum Outcome:  # of a field
    EXACT = 0
    UNSET = 1
    CHANGED = 2
    REST = 3

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


cdef struct Rule:
    int rule_type
    bint required
    Bytes name
    Py_ssize_t length
    Py_ssize_t most  # bytes of a text
    byte bson_type  # this and the following: in the current element
    Bytes value  # NULL if the field is absent
    Bytes end
    int outcome  # of a nested field


cdef struct Cell:
    const char* data
    Py_ssize_t size  # -1: NULL
    char own[24]


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
    cdef int _shape, _position_size, _rule_count, _column_count, _extra_count
    cdef int* _columns
    cdef Rule* _rules
    cdef Cell* _cells
    cdef list _names, _known, _nested, _alive
    cdef readonly list wanted  # of each rule: the BSON of references in gathered documents
    cdef list _below  # all cutters of nested fields
    cdef tuple _all  # this one and those
    cdef Py_ssize_t* _marks
    cdef Buffer _rows, _rest, _prefix
    cdef Py_ssize_t _made
    cdef Bytes _extra_begins[MAX_FIELDS]
    cdef Bytes _extra_ends[MAX_FIELDS]
    cdef int64_t _earliest, _latest, _shift

    def __cinit__(self, *, table, shape, path, values, keyed, position_size, columns, rules, by_rule, encode_parent,
                  absent, unfit, unset, changed, earliest, latest, shift):
        self._table, self._path, self._values, self._keyed = table, path.encode(), values, keyed
        self._shape = SHAPES.index(shape)
        self._position_size, self._by_rule, self._encode_parent = position_size, by_rule, encode_parent
        self._absent, self._unfit, self._markers = absent, unfit, (None, unset, changed)
        self._earliest, self._latest, self._shift = earliest, latest, shift
        self._column_count, self._rule_count = len(columns), len(rules)
        self._columns = <int*>allocate(len(columns) * sizeof(int))
        self._rules = <Rule*>allocate(len(rules) * sizeof(Rule))
        self._cells = <Cell*>allocate((RULED + len(rules)) * sizeof(Cell))
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
        for index, (rule_type, _, required, most, _, _) in enumerate(rules):
            self._rules[index].rule_type, self._rules[index].required = rule_type, required
            self._rules[index].most = most
            self._rules[index].name = <Bytes>PyBytes_AS_STRING(self._names[index])
            self._rules[index].length = len(self._names[index])

    def __dealloc__(self):
        PyMem_Free(self._columns)
        PyMem_Free(self._rules)
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
        cdef bint in_order = True, partial = False
        cdef int index
        cdef Rule* rule
        if self._position_size == 2 and place > MOST_SMALLINT:
            return False
        if self._values:
            if bson_type == NULL_VALUE:
                return False
            rule, self._extra_count = &self._rules[0], 0
            rule.bson_type, rule.value, rule.end = bson_type, p, end
        elif bson_type != DOCUMENT:
            return False
        else:
            in_order = self._read(p)
        if self._keyed:
            self._identify(place)
        for index in range(self._rule_count):
            if not self._convert(index, context):
                return False
            rule = &self._rules[index]
            partial |= rule.rule_type == NESTED and rule.outcome != EXACT
        self._cells[NAME].data, self._cells[NAME].size = <const char*>name, name_size
        self._cells[POSITION].size = self._position_size
        self._cells[POSITION].data = self._cells[POSITION].own
        write_number(self._cells[POSITION].own, self._position_size, place)
        self._pack()
        if partial or self._extra_count or not in_order:
            self._add_part(p, place, in_order)
        return True

    cdef bint _read(self, Bytes p) noexcept:
        """Find the fields of an element. Return whether they are in the order in which a row restores them."""
        cdef Bytes last = p + int32(p) - 1, name, value, end
        cdef Py_ssize_t length
        cdef bint in_order = True
        cdef int index, expected = 0, tried
        cdef Rule* rule
        self._extra_count = 0
        for index in range(self._rule_count):
            self._rules[index].value = NULL
        p += 4
        while p < last:
            name = p + 1
            value = <Bytes>memchr(name, 0, last - name) + 1
            length = value - name - 1
            end = skip(p[0], value)
            rule = NULL
            for tried in range(self._rule_count):  # fields are usually in the order of the rules
                index = expected + tried if expected + tried < self._rule_count else expected + tried - self._rule_count
                if self._rules[index].length == length and memcmp(self._rules[index].name, name, length) == 0:
                    rule = &self._rules[index]
                    in_order &= index >= expected and not self._extra_count
                    expected = index + 1
                    break
            if rule != NULL:
                rule.bson_type, rule.value, rule.end = p[0], value, end
            else:
                self._extra_begins[self._extra_count], self._extra_ends[self._extra_count] = p, end
                self._extra_count += 1
            p = end
        return in_order

    cdef void _identify(self, int place) noexcept:
        """Set the key of the row: `ids.element_uuid`."""
        cdef byte digest[20]
        cdef char* key = self._cells[KEY].own
        cdef Py_ssize_t size = self._prefix.size + decimal(self._prefix.data + self._prefix.size, place)
        sha1(<Bytes>self._prefix.data, size, digest)
        memset(key, 0, 6)
        size = self._prefix.size - PyBytes_GET_SIZE(self._path) - 2  # of the key of the parent
        memcpy(key, self._prefix.data, size if size < 6 else 6)
        memcpy(key + 6, digest + 6, 10)
        key[6] = <char>(digest[6] & 15 | 0x80)
        key[8] = <char>(digest[8] & 63 | 0x80)
        self._cells[KEY].data, self._cells[KEY].size = key, 16

    cdef bint _convert(self, int index, object context) except -1:
        """Set the cell of a rule. Return whether its row restores the field."""
        cdef Rule* rule = &self._rules[index]
        cdef Cell* cell = &self._cells[RULED + index]
        cdef Bytes p = rule.value
        cdef int rule_type = rule.rule_type
        cdef int64_t number
        cdef double double_
        cdef ElementCutter nested
        cell.data = cell.own
        if rule_type == NESTED:
            if p == NULL:
                rule.outcome = UNSET
                return True
            if rule.bson_type != ARRAY:
                return False
            nested = self._nested[index]
            key = self._cells[KEY].data[:16]
            rule.outcome = nested._cut(ARRAY, p, key, self._cells[KEY].data, 16, self._cells[KEY].data, 16, context)
            return rule.outcome != CHANGED
        if rule_type == REFERENCE:
            if p == NULL or not is_reference(rule.bson_type):
                return False
            return self._look_up(index, context)
        if p == NULL:
            cell.size = -1
            return not rule.required
        if rule.bson_type == NULL_VALUE:
            return False
        if rule_type == TEXT:
            number = int32(p) - 1 if rule.bson_type == STRING else -1
            if 0 <= number <= rule.most and memchr(p + 4, 0, number) == NULL:
                cell.data, cell.size = <const char*>p + 4, number
                return True
        elif rule_type == INTEGER or rule_type == SMALLINT or rule_type == BIGINT:
            if rule.bson_type == INT32:
                number = int32(p)
                if rule_type != SMALLINT or -32768 <= number <= 32767:
                    cell.size = 4 if rule_type == INTEGER else 2 if rule_type == SMALLINT else 8
                    write_number(cell.own, cell.size, number)
                    return True
            elif rule_type == BIGINT and rule.bson_type == INT64:
                number = int64(p)
                if number != <int32_t>number:
                    cell.size = 8
                    write_number(cell.own, 8, number)
                    return True
        elif rule_type == LONG:
            if rule.bson_type == INT64:
                cell.size = 8
                write_number(cell.own, 8, int64(p))
                return True
        elif rule_type == ANY_DOUBLE or rule_type == NUMBER:
            if rule.bson_type == DOUBLE:
                memcpy(&double_, p, 8)
                if rule_type == NUMBER and is_int32(double_):  # as an int32 in documents
                    return False
            elif rule_type == NUMBER and rule.bson_type == INT32:
                double_ = int32(p)
            else:
                return self._look_up(index, context)
            memcpy(&number, &double_, 8)
            cell.size = 8
            write_number(cell.own, 8, number)
            return True
        elif rule_type == TRUTH:
            if rule.bson_type == BOOLEAN:
                cell.size = 1
                cell.own[0] = <char>p[0]
                return True
        elif rule_type == MOMENT:
            if rule.bson_type == DATE:
                number = int64(p)
                if self._earliest <= number <= self._latest:
                    cell.size = 8
                    write_number(cell.own, 8, number * 1000 - self._shift)
                    return True
        elif rule_type == HEX:
            if rule.bson_type == OBJECTID:
                cell.size = 24
                write_hex(cell.own, p, 12)
                return True
        return self._look_up(index, context)

    cdef bint _look_up(self, int index, object context) except -1:
        """Set the cell of a rule by the BSON of the field. The bytes stay alive: in the dictionary, or in `_alive`."""
        cdef Rule* rule = &self._rules[index]
        cdef Cell* cell = &self._cells[RULED + index]
        cdef bytes raw = PyBytes_FromStringAndSize(NULL, rule.end - rule.value + 1)
        cdef PyObject* borrowed
        cdef object found
        PyBytes_AS_STRING(raw)[0] = <char>rule.bson_type
        memcpy(PyBytes_AS_STRING(raw) + 1, rule.value, rule.end - rule.value)
        borrowed = PyDict_GetItem(self._known[index], raw)
        if borrowed != NULL:
            found = <object>borrowed
        else:
            found = self._known[index].find(raw, context)
            self._alive.append(found)
        if found is self._unfit:
            return False
        if found is None:
            cell.size = -1
        else:
            cell.data, cell.size = PyBytes_AS_STRING(<bytes?>found), PyBytes_GET_SIZE(found)
        return True

    cdef int _pack(self) except -1:
        """Add the row to `_rows`."""
        cdef Py_ssize_t size = 2 + 4 * self._column_count
        cdef int index
        cdef Cell* cell
        cdef char* out
        for index in range(self._column_count):
            cell = &self._cells[self._columns[index]]
            size += cell.size if cell.size > 0 else 0
        out = reserve(&self._rows, size)
        self._rows.size += size
        out[0], out[1] = <char>(self._column_count >> 8), <char>self._column_count
        out += 2
        for index in range(self._column_count):
            cell = &self._cells[self._columns[index]]
            write_big(out, <uint32_t>cell.size)
            out += 4
            if cell.size > 0:
                memcpy(out, cell.data, cell.size)
                out += cell.size
        return 0

    cdef int _add_part(self, Bytes p, int place, bint in_order) except -1:
        """Add what the row leaves of an element, as `Children.part_of` returns it."""
        cdef Bytes last = p + int32(p) - 1
        cdef Py_ssize_t part, inner, deepest
        cdef Buffer* rest = &self._rest
        cdef ElementCutter nested
        cdef Rule* rule
        cdef int index, number = 0, cuts = 0, unset = 0
        append_number(rest, DOCUMENT, place)
        part = begin(rest, b"", 0)
        for index in range(self._rule_count):
            if self._rules[index].rule_type == NESTED:
                cuts += self._rules[index].outcome == REST
                unset += self._rules[index].outcome == UNSET
        if cuts:
            inner = begin(rest, b"\x03cut\0", 5)
            for index in range(self._rule_count):
                rule = &self._rules[index]
                if rule.rule_type == NESTED and rule.outcome == REST:
                    nested = self._nested[index]
                    append(rest, b"\x03", 1)
                    append(rest, rule.name, rule.length + 1)
                    deepest = begin(rest, b"", 0)
                    append(rest, nested._rest.data, nested._rest.size)
                    finish(rest, deepest)
            finish(rest, inner)
        if unset:
            inner = begin(rest, b"\x04unset\0", 7)
            for index in range(self._rule_count):
                rule = &self._rules[index]
                if rule.rule_type == NESTED and rule.outcome == UNSET:
                    append_string(rest, number, rule.name, rule.length)
                    number += 1
            finish(rest, inner)
        if not in_order:
            inner = begin(rest, b"\x04order\0", 7)
            number = 0
            p += 4
            while p < last:
                place = <int>(<Bytes>memchr(p + 1, 0, last - p) - p - 1)
                append_string(rest, number, p + 1, place)
                number += 1
                p = skip(p[0], p + place + 2)
            finish(rest, inner)
        if self._extra_count:
            inner = begin(rest, b"\x04set\0", 5)
            for index in range(self._extra_count):
                p = self._extra_begins[index]
                place = <int>(<Bytes>memchr(p + 1, 0, self._extra_ends[index] - p) - p - 1)
                append_string(rest, 2 * index, p + 1, place)
                append_number(rest, p[0], 2 * index + 1)
                append(rest, p + place + 2, self._extra_ends[index] - p - place - 2)
            finish(rest, inner)
        return finish(rest, part)

    # --- references ----------------------------------------------------------------------------------------------------

    def gather(self, bytes data, list places):
        """Add the BSON of all references in a field of some documents to `wanted`, of each rule."""
        cdef int64_t number
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
        cdef bytes raw
        if self._values:
            rule = &self._rules[0]
            rule.bson_type, rule.value, rule.end = bson_type, p, end
        elif bson_type == DOCUMENT:
            self._read(p)
        else:
            return 0
        for index in range(self._rule_count):
            rule = &self._rules[index]
            if rule.value == NULL or rule.bson_type == NULL_VALUE:
                continue
            if rule.rule_type == REFERENCE:
                raw = PyBytes_FromStringAndSize(NULL, rule.end - rule.value + 1)
                PyBytes_AS_STRING(raw)[0] = <char>rule.bson_type
                memcpy(PyBytes_AS_STRING(raw) + 1, rule.value, rule.end - rule.value)
                (<set>self.wanted[index]).add(raw)
            elif rule.rule_type == NESTED:
                (<ElementCutter>self._nested[index])._gather(rule.bson_type, rule.value)
        return 0


cdef inline bint is_reference(byte bson_type) noexcept nogil:
    return bson_type == OBJECTID or bson_type == STRING or bson_type == INT32 or bson_type == INT64


cdef inline bint is_int32(double number) noexcept nogil:
    """Return whether an int32 has the same value: not for -0.0."""
    cdef uint64_t bits
    memcpy(&bits, &number, 8)
    return -2147483648.0 <= number < 2147483648.0 and floor(number) == number and bits != <uint64_t>1 << 63


cdef inline void write_number(char* out, Py_ssize_t size, int64_t number) noexcept nogil:
    if size == 8:
        write_big(out, <uint32_t>(<uint64_t>number >> 32))
        write_big(out + 4, <uint32_t>number)
    elif size == 4:
        write_big(out, <uint32_t>number)
    else:
        out[0], out[1] = <char>(number >> 8), <char>number


cdef inline void write_hex(char* out, Bytes p, int size) noexcept nogil:
    cdef const char* digits = "0123456789abcdef"
    cdef int index
    for index in range(size):
        out[2 * index], out[2 * index + 1] = digits[p[index] >> 4], digits[p[index] & 15]


cdef void* allocate(size_t size) except NULL:
    cdef void* memory = PyMem_Malloc(size or 1)
    if memory == NULL:
        raise MemoryError
    return memory
