# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""An array of parts, of which some have a text, as BSON: see `mapping.text_parts.TextParts`.

The projector makes a `BsonParts` for an array in which every part has the usual form, so that neither the parts nor
what is left of them become Python objects. Other arrays are decoded.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memcpy, memmove, strcmp, strlen

from migrator.documents.native._bson cimport (
    DOCUMENT, INT32, NULL_VALUE, STRING, Bytes, byte, decimal, int32, skip, write_little,
)

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum Equal:
    NO = 0
    YES = 1
    UNKNOWN = 2


cdef class PartsForm:
    """The form of the parts of one field, for `BsonParts`, from the `TextParts` of the mapping."""

    def __cinit__(self, rule):
        self._kind_field, self._kind = rule.kind_field.encode(), rule.kind.encode()
        self._text_field, self._separator = rule.text_field.encode(), rule.separator.encode()

    cdef bint _text_of(self, Bytes part, Bytes* text) noexcept:
        """Find the string with the text of a part (NULL: it has none, or an empty one). Return whether it is usual."""
        cdef Bytes last = part + int32(part) - 1
        cdef Bytes element = part + 4
        cdef Bytes value, kind = NULL
        cdef const char* kind_field = PyBytes_AS_STRING(self._kind_field)
        cdef const char* text_field = PyBytes_AS_STRING(self._text_field)
        cdef const char* name
        cdef byte text_type = 0
        text[0] = NULL
        while element < last:
            name = <const char*>element + 1
            value = <Bytes>name + strlen(name) + 1
            if strcmp(name, text_field) == 0:
                text[0], text_type = value, element[0]
            elif strcmp(name, kind_field) == 0:
                if element[0] != STRING:
                    return False
                kind = value
            element = skip(element[0], value)
        if kind == NULL:
            return False
        if int32(kind) != PyBytes_GET_SIZE(self._kind) + 1 or memcmp(kind + 4, PyBytes_AS_STRING(self._kind), int32(kind)):
            text[0] = NULL
            return True
        if text_type != STRING or memchr(text[0] + 4, 0, int32(text[0]) - 1) != NULL:
            return False
        if int32(text[0]) == 1:
            text[0] = NULL
        return True

    cdef BsonParts read(self, bytes data, Bytes array):
        """Return the parts of an array in a batch; None if one of them has another form."""
        cdef Bytes last = array + int32(array) - 1
        cdef Bytes element = array + 4
        cdef Bytes value, text
        cdef Py_ssize_t size = 0
        cdef int texts = 0, count = 0
        cdef BsonParts made
        while element < last:
            value = element + strlen(<const char*>element) + 1
            if element[0] != DOCUMENT or not self._text_of(value, &text):
                return None
            if text != NULL:
                texts += 1
                size += int32(text) - 1
            count += 1
            element = value + int32(value)
        made = BsonParts.__new__(BsonParts)
        made._data, made._array, made._form = data, array, self
        made._size, made._texts, made.count = size, texts, count
        return made


cdef class BsonParts:
    """An array of parts that is not decoded. `count`: the number of its parts."""

    @property
    def raw(self):
        """The BSON of the array."""
        return PyBytes_FromStringAndSize(<const char*>self._array, int32(self._array))

    @property
    def text(self):
        """The texts of all parts, joined."""
        if self._text is None:
            self._text = self._join()
        return self._text

    cdef object _join(self):
        cdef Bytes last = self._array + int32(self._array) - 1
        cdef Bytes element = self._array + 4
        cdef Bytes value, text
        cdef Py_ssize_t gap = PyBytes_GET_SIZE(self._form._separator)
        cdef bytes made
        cdef char* out
        cdef int left = self._texts
        made = PyBytes_FromStringAndSize(NULL, self._size + gap * max(left - 1, 0)) if left > 1 else None
        out = PyBytes_AS_STRING(made) if left > 1 else NULL
        while left:
            value = element + strlen(<const char*>element) + 1
            self._form._text_of(value, &text)
            element = value + int32(value)
            if text == NULL:
                continue
            if made is None:
                return PyUnicode_DecodeUTF8(<const char*>text + 4, int32(text) - 1, NULL)
            memcpy(out, text + 4, int32(text) - 1)
            out += int32(text) - 1
            left -= 1
            if left:
                memcpy(out, PyBytes_AS_STRING(self._form._separator), gap)
                out += gap
        return "" if made is None else PyUnicode_DecodeUTF8(PyBytes_AS_STRING(made), PyBytes_GET_SIZE(made), NULL)

    def subtract(self, text):
        """Return BSON as `TextParts.subtract` returns it; None if the texts are not this one."""
        cdef Bytes last = self._array + int32(self._array) - 1
        cdef Bytes element = self._array + 4
        cdef Bytes value, found
        cdef bytes made
        cdef char* out
        cdef char* places
        cdef char* start
        cdef char* first
        cdef int place = 0, left = self._texts, number = 0
        cdef Py_ssize_t size
        if not left or (text is not self.text and text != self.text):
            return None
        # The array becomes shorter: each text is replaced by null. An item of `at` takes at most 16 bytes.
        size = int32(self._array) + 32
        made = PyBytes_FromStringAndSize(NULL, size + 2 * 16 * <Py_ssize_t>left)
        start = PyBytes_AS_STRING(made)
        first = places = start + size
        memcpy(start + 4, b"\x04in\0", 4)
        out = start + 12
        while element < last:
            value = element + strlen(<const char*>element) + 1
            self._form._text_of(value, &found)
            if found == NULL:
                size = value + int32(value) - element
                memcpy(out, element, size)
                out += size
            else:
                out = self._without_text(element, value, found, out)
                places = number_item(places, number, place)
                number += 1
                left -= 1
                if left:
                    places = number_item(places, number, characters(found + 4, int32(found) - 1))
                    number += 1
            place += 1
            element = value + int32(value)
        out[0] = 0
        out += 1
        write_little(start + 8, <uint32_t>(out - start - 8))
        size = places - first
        memcpy(out, b"\x04at\0", 4)
        write_little(out + 4, <uint32_t>(size + 5))
        memmove(out + 8, first, size)
        out += 8 + size
        out[0] = out[1] = 0
        write_little(start, <uint32_t>(out + 2 - start))
        return PyBytes_FromStringAndSize(start, out + 2 - start)

    cdef char* _without_text(self, Bytes element, Bytes part, Bytes text, char* out) noexcept:
        """Write a part with null for its text; `element` is where its number begins."""
        cdef Py_ssize_t head = text - element
        cdef Py_ssize_t rest = part + int32(part) - (text + 4 + int32(text))
        cdef Py_ssize_t name = PyBytes_GET_SIZE(self._form._text_field) + 2  # with its type, and the end of the name
        memcpy(out, element, head)
        out[head - name] = NULL_VALUE
        write_little(out + (part - element), <uint32_t>(int32(part) - 4 - int32(text)))
        memcpy(out + head, text + 4 + int32(text), rest)
        return out + head + rest

    def equals(self, list value):
        """Return whether a list is the same BSON; None if the parts must be decoded to compare them."""
        cdef Bytes element = self._array + 4
        cdef Bytes part
        cdef int equal, index
        if len(value) != self.count:
            return False
        for index in range(self.count):
            part = element + strlen(<const char*>element) + 1
            if type(value[index]) is not dict:
                return False
            equal = equal_part(part, value[index])
            if equal != YES:
                return None if equal == UNKNOWN else False
            element = part + int32(part)
        return True


cdef int equal_part(Bytes part, dict other) except -1:
    """Compare a part with a dictionary. Only strings are compared here: other values make it `UNKNOWN`."""
    cdef Bytes last = part + int32(part) - 1
    cdef Bytes element = part + 4
    cdef Bytes value
    cdef Py_ssize_t place = 0, size
    cdef PyObject* name
    cdef PyObject* found
    cdef const char* text
    while element < last:
        value = element + strlen(<const char*>element + 1) + 2
        if not PyDict_Next(other, &place, &name, &found):
            return NO
        if type(<object>name) is not str or type(<object>found) is not str or element[0] != STRING:
            return UNKNOWN
        text = PyUnicode_AsUTF8AndSize(<object>name, &size)
        if size != value - element - 2 or memcmp(text, element + 1, size):
            return NO
        text = PyUnicode_AsUTF8AndSize(<object>found, &size)
        if size != int32(value) - 1 or memcmp(text, value + 4, size):
            return NO
        element = skip(STRING, value)
    return NO if PyDict_Next(other, &place, &name, &found) else YES


cdef inline char* number_item(char* out, int place, int number) noexcept nogil:
    """Write an item of an array, a 32-bit number. Return its end."""
    cdef int size
    out[0] = INT32
    size = decimal(out + 1, place)
    out[1 + size] = 0
    write_little(out + 2 + size, <uint32_t>number)
    return out + 6 + size


cdef inline int characters(Bytes text, Py_ssize_t size) noexcept nogil:
    """Return the number of code points of UTF-8."""
    cdef int count = 0
    cdef Py_ssize_t index
    for index in range(size):
        count += text[index] & 0xC0 != 0x80
    return count
