"""The shapes of objects and arrays: stable sub-documents, objects whose keys are data, arrays of documents or IDs."""

from __future__ import annotations

import re

from migrator.scaffold.kinds import decide_kind
from migrator.scaffold.statistics import ARRAY, OBJECT, FieldStatistics

_FEW_OBJECTS = 20  # fewer do not show that they have the same fields
_MOST_FLAT = 6  # fields of a sub-document that becomes columns
_STABLE = 0.9  # of the objects have each of the fields
_FEW_KEYS = 8  # an object with fewer distinct names is not a map
_SPARSE = 0.25  # of the distinct names are in one object, on average
_MANY_KEYS = 64  # of these, keys are certainly data
_PLAIN_ID = re.compile(r"[0-9a-f]{24}|[0-9a-fA-F-]{36}|\d+")
_NAME = re.compile(r"[^\W\d]\w{0,63}")  # how programmers name fields; e-mail addresses, dates and sentences are values
_ID_KEY = re.compile(r"[0-9a-f]{24}|[0-9a-f-]{36}|\d+|.*\d{4}.*|(?=.*\d)[\w-]{12,}")


def is_flat(field: FieldStatistics) -> bool:
    """Return whether a field is a small sub-document with the same plain fields in nearly all documents."""
    objects = field.count(OBJECT)
    if objects < _FEW_OBJECTS or objects != field.filled or field.others is not None or field.parent is not None:
        return False
    return 0 < len(field.fields) <= _MOST_FLAT and all(
        not child.count(OBJECT, ARRAY)
        and not decide_kind(child).note
        and child.filled >= _STABLE * objects
        and child.name
        and "." not in child.name
        for child in field.fields
    )


def is_map(field: FieldStatistics) -> bool:
    """Return whether the keys of an object are data: many distinct ones, few in each object, or IDs."""
    objects = field.count(OBJECT)
    names = [child.name for child in field.fields]
    if objects and 2 * sum(_PLAIN_ID.fullmatch(name) is not None for name in names) > len(names):
        return True
    distinct = len(names) + (field.others.keys.distinct if field.others is not None else 0)
    if not objects or distinct < _FEW_KEYS:
        return False
    values = sum(child.occurrences for child in (*field.fields, *filter(None, [field.others])))
    is_sparse = values <= _SPARSE * distinct * objects
    ids = sum(_ID_KEY.fullmatch(name) is not None for name in names)
    return is_sparse and (distinct > _MANY_KEYS or 2 * ids > len(names))


def is_plain_name(name: str) -> bool:
    """Return whether a name is one that programmers choose, and not a value."""
    return _NAME.fullmatch(name) is not None and _PLAIN_ID.fullmatch(name) is None


def describe_shape(field: FieldStatistics) -> str:
    """Return what a field is: 'an array of documents (1.8 on average, 12 at most; 5 fields)'."""
    if field.count(ARRAY) > field.count(OBJECT):
        return _describe_array(field)
    if is_map(field):
        distinct = len(field.fields) + (field.others.keys.distinct if field.others is not None else 0)
        return f"an object whose keys are data ({distinct:,} distinct keys)"
    return f"a sub-document with {len(field.fields)} fields"


def _describe_array(field: FieldStatistics) -> str:
    elements = field.elements
    if elements is None:
        return "an array without elements"
    average = elements.occurrences / max(1, field.count(ARRAY))
    size = f"{average:.1f} elements on average, {field.most_items:,} at most"
    if elements.count(OBJECT) * 2 > elements.occurrences:
        return f"an array of documents ({size}; {len(elements.fields)} fields)"
    return f"an array of {decide_kind(elements).kind} values ({size})"
