"""The objects whose fields become the columns of one table: documents of a collection, or elements of an array."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.scaffold.statistics import ARRAY, OBJECT, CollectionStatistics, FieldStatistics, Path

FEW = 20  # objects; fewer do not show that a field is in every one
_COMMON = 0.5  # of the objects have an array whose elements become rows
_MOST_FIELDS = 20  # of the elements
_FILLED = 0.5  # of the fields of the elements are in an element, on average
_DEEPEST = 2  # arrays in arrays whose elements become rows


@dataclass(frozen=True, slots=True)
class Scope:
    """`objects` objects at the path `prefix`. `is_whole`: none of them is damaged. `required`: by the validator."""

    objects: int
    prefix: Path
    is_whole: bool
    required: frozenset[str] = frozenset()

    def present(self, field: FieldStatistics) -> int:
        """Return the number of objects that have a field."""
        return field.occurrences if self.prefix else field.documents

    def relative(self, field: FieldStatistics) -> Path:
        """Return the path of a field within the objects."""
        return field.path[len(self.prefix) :]

    def can_require(self, field: FieldStatistics) -> bool:
        """Return whether a field that all objects have may become NOT NULL."""
        return self.is_whole and (self.objects >= FEW or field.path[0] in self.required)


def documents_of(collection: CollectionStatistics) -> Scope:
    """Return the scope of the documents of a collection."""
    return Scope(collection.documents, (), not collection.damaged, collection.validator.required)


def elements_of(field: FieldStatistics, scope: Scope) -> Scope:
    """Return the scope of the elements of an array."""
    assert field.elements is not None  # the caller has checked it
    return Scope(field.elements.count(OBJECT), field.elements.path, scope.is_whole)


def is_common_array(field: FieldStatistics, scope: Scope) -> bool:
    """Return whether most objects have the field, and it is always an array."""
    is_array = field.elements is not None and field.count(ARRAY) == field.filled
    return is_array and scope.present(field) >= _COMMON * scope.objects


def has_row_elements(field: FieldStatistics, scope: Scope) -> bool:
    """Return whether the elements of an array become rows: documents with the same fields, mostly."""
    elements = field.elements
    if elements is None or not is_common_array(field, scope) or scope.prefix.count("[]") >= _DEEPEST:
        return False
    objects = elements.count(OBJECT)
    if objects != elements.occurrences or elements.others is not None or not 0 < len(elements.fields) <= _MOST_FIELDS:
        return False
    values = sum(child.occurrences for child in elements.fields)
    return values >= _FILLED * objects * len(elements.fields)


def can_be_foreign_key(collection: CollectionStatistics, path: Path) -> bool:
    """Return whether a path is a column of a table: a field, an element of an array, or a field of such an element."""
    scope, fields = documents_of(collection), collection.fields
    while True:
        field = next((each for each in fields if each.name == path[0]), None)
        if field is None or len(path) == 1:
            return field is not None
        if path[1] != "[]":
            return False
        if len(path) == 2:
            return is_common_array(field, scope)
        if field.elements is None or not has_row_elements(field, scope):
            return False
        scope, fields, path = elements_of(field, scope), field.elements.fields, path[2:]
