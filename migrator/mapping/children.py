"""The rule of fields whose elements become rows of another table: arrays, one embedded document, maps.

The rows belong to the row of their document: they are loaded, compared, rebuilt and deleted with it. Each has the key
of that row, and its place in the field. What the columns of an element cannot restore is part of the residue of the
document, element by element. An element that cannot become a row is kept there whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

import sqlalchemy as sa

from migrator.documents.codec import Document, same
from migrator.documents.residue import subtract
from migrator.mapping.context import ABSENT, Context, Lookup, Rejected, Row, type_name
from migrator.mapping.json_objects import JsonObject
from migrator.mapping.references import Reference
from migrator.mapping.rules import Compute, Field, Implied
from migrator.postgres.column_kinds import kind_of_column

_MOST_SMALLINT = 2**15 - 1
VALUE = "value"  # the path by which the rules of elements that are no documents read the element


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """A field whose elements become rows of `table`.

    `parent` is the column with the key of the document's row (its columns, if that key has several), and `position` the
    one with the place of an element, from 0. `shape`: the field is an array, one embedded document (without
    `position`), or a map, whose keys are in the column `name`. With `values`, the elements are no documents: rules read
    them at the path "value". `key` is a column for a UUID that follows from the document's row and the place of the
    element; nested `Children` need it.
    """

    path: str
    table: sa.Table = field(hash=False)
    parent: str | tuple[str, ...]
    rules: tuple[Field | Implied | Compute | JsonObject | Reference | Children, ...]
    position: str | None = "position"
    shape: Literal["array", "document", "map"] = "array"
    name: str | None = None
    values: bool = False
    key: str | None = None

    @property
    def parent_columns(self) -> tuple[str, ...]:
        """The columns with the key of the document's row."""
        return (self.parent,) if isinstance(self.parent, str) else self.parent

    @property
    def row_key(self) -> str:
        """The key under which a row has the rows of the elements."""
        return f"{self.path}.rows"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.row_key,)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.row_key,)

    @property
    def source_paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def nested(self) -> tuple[Children, ...]:
        """The rules of elements whose own elements become rows."""
        return tuple(rule for rule in self.rules if isinstance(rule, Children))

    def with_nested(self) -> Iterator[Children]:
        """Yield this rule, and all below it."""
        yield self
        for rule in self.nested:
            yield from rule.with_nested()

    @property
    def element_columns(self) -> tuple[str, ...]:
        """The columns that a row of an element has, except the key of the document's row and its own key."""
        ruled = [name for rule in self.rules for name in rule.columns if "." not in name]
        own = [name for name in (self.position, self.name) if name is not None]
        return tuple(dict.fromkeys([*own, *ruled]))

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        return tuple(
            replace(lookup, keys=self._keys_of(lookup.keys), fields=(self.path,))
            for rule in self.rules
            for lookup in rule.lookups
        )

    def _keys_of(self, keys: Callable[[Iterable[Document]], set[Any]]) -> Callable[[Iterable[Document]], set[Any]]:
        def of_elements(documents: Iterable[Document]) -> set[Any]:
            return keys([element for document in documents for element in self._documents_in(document)])

        return of_elements

    def _documents_in(self, document: Document) -> Iterator[Document]:
        for _, _, element in self.elements_of(document.get(self.path)):
            if (found := self._document_of(element)) is not None:
                yield found

    def elements_of(self, value: Any) -> Iterator[tuple[int, str, Any]]:
        """Yield the place, the name in a map, and the element."""
        if self.shape == "array" and isinstance(value, list):
            yield from ((place, "", element) for place, element in enumerate(value))
        elif self.shape == "document" and type(value) is dict:
            yield 0, "", value
        elif self.shape == "map" and type(value) is dict:
            yield from ((place, name, element) for place, (name, element) in enumerate(value.items()))

    def _document_of(self, element: Any) -> Document | None:
        if self.values:
            return {VALUE: element}
        return element if type(element) is dict else None

    # --- to rows -----------------------------------------------------------------------------------------------------

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        row[self.row_key] = self.rows_of(document.get(self.path, ABSENT), context)

    def rows_of(self, value: Any, context: Context) -> list[Row]:
        """Return the rows of the elements of a field, without the key of the document's row."""
        found = (self.row_of(place, name, element, context) for place, name, element in self.elements_of(value))
        return [row for row in found if row is not None]

    def row_of(self, place: int, name: str, element: Any, context: Context) -> Row | None:
        """Return the row of an element; None, with a finding, if it cannot become one."""
        document = self._document_of(element)
        where = f"{self.path}[{place}]"
        if document is None or (self.name is not None and "\0" in name) or not self._has_place(place):
            context.note("element_not_loaded", f"{where} ({type_name(element)})")
            return None
        row: Row = {}
        if self.position is not None:
            row[self.position] = place
        if self.name is not None:
            row[self.name] = name
        try:
            for rule in self.rules:
                rule.to_row(document, row, context)
        except Rejected as rejected:
            context.note("element_not_loaded", f"{where}: {rejected.reason} {rejected.detail}".rstrip())
            return None
        return row

    def _has_place(self, place: int) -> bool:
        """Return whether the column of the place can hold it: smallint holds no more than 32,767."""
        return place <= _MOST_SMALLINT or kind_of_column(self.table.c[self.position or ""]) != "smallint"

    # --- back --------------------------------------------------------------------------------------------------------

    def to_document(self, row: Row, document: Document) -> None:
        restored = self.restore(row.get(self.row_key) or ())
        if restored is not ABSENT:
            document[self.path] = restored

    def restore(self, rows: Iterable[Row]) -> Any:
        """Return the field that rows restore; ABSENT if they restore none."""
        return self._compose({place: self.restore_element(each) for place, each in self.placed(rows).items()})

    def placed(self, rows: Iterable[Row]) -> dict[int, Row]:
        """Return place → row. An application may give rows the same place, or none: then each follows the last one."""
        if self.position is None:
            return dict(enumerate(islice(rows, 1)))
        places: dict[int, Row] = {}
        last = -1
        for row in sorted(rows, key=self.order_of):
            place = row[self.position]
            last = place if place is not None and (place > last or not places) else last + 1
            places[last] = row
        return places

    def order_of(self, row: Row) -> tuple[bool, int]:
        """Return by what rows are ordered: those without a place come last."""
        place = None if self.position is None else row[self.position]
        return place is None, place or 0

    def label(self, count: int, places: Iterable[int]) -> list[int]:
        """Return the places of the elements of a field with `count` elements, of which rows have some places.

        These are 0, 1, 2 … If a row has another place, elements without a row follow all rows.
        """
        taken = sorted(places)
        if not taken or 0 <= taken[0] <= taken[-1] < count:
            return list(range(count))
        return [*taken, *range(taken[-1] + 1, taken[-1] + 1 + count - len(taken))]

    def restore_element(self, row: Row) -> tuple[str, Any]:
        """Return the name in a map, and the element that a row restores."""
        document: Document = {}
        for rule in self.rules:
            rule.to_document(row, document)
        name = "" if self.name is None else row[self.name]
        return name, document.get(VALUE) if self.values else document

    def _compose(self, elements: Mapping[int, tuple[str, Any]]) -> Any:
        """Return the field with these elements; an empty array if there are none."""
        ordered = [elements[place] for place in sorted(elements)]
        if self.shape == "array":
            return [element for _, element in ordered]
        if self.shape == "map":
            return dict(ordered) if ordered else ABSENT
        return ordered[0][1] if ordered else ABSENT

    # --- the residue of elements: the same methods as those of `Variants` --------------------------------------------

    def find_variant(self, value: Any, rows: Sequence[Row]) -> int:
        """Return 0: there are no variants."""
        return 0

    def subtract(self, value: Any, rows: Sequence[Row]) -> Document | None:
        """Return what the rows cannot restore of a field, by the place of the element; None: they restore nothing."""
        if not isinstance(value, list if self.shape == "array" else dict) or not rows:
            return None
        placed = self.placed(rows)
        remainder: Document = {}
        elements = list(self.elements_of(value))
        for place, (_, name, element) in zip(self.label(len(elements), placed), elements, strict=True):
            parts = self.part_of(name, element, placed.get(place))
            if parts is not None:
                remainder[str(place)] = parts
        return remainder

    def part_of(self, name: str, element: Any, row: Row | None) -> Document | None:
        """Return what the row of an element cannot restore; None: it restores the element. `row` None: all of it."""
        if row is None:
            return {"is": element, "name": name} if self.shape == "map" else {"is": element}
        restored = self.restore_element(row)[1]
        return None if same(restored, element) else self._subtract_element(element, row, restored)

    def _subtract_element(self, element: Any, row: Row, restored: Any) -> Document:
        if self.values:
            return {"is": element}
        changed, unset = subtract(element, restored)
        cut: Document = {}
        for rule in self.nested:
            if rule.path in changed and (found := rule.subtract(element[rule.path], row[rule.row_key])):
                del changed[rule.path]
                cut[rule.path] = found
        order = [name for name in restored if name not in unset]
        order += [name for name in changed if name not in restored]
        parts: Document = {"cut": cut, "unset": unset, "order": [] if order == list(element) else list(element)}
        # A list, because a document with the fields $ref and $id would be decoded as a reference.
        parts["set"] = [part for pair in changed.items() for part in pair]
        return {name: found for name, found in parts.items() if found}

    def set_remainder(self, remainder: Document, row: Row, document: Document) -> None:
        """Set the field to the value of which `subtract` returned this remainder."""
        rows = self.placed(row.get(self.row_key) or ())
        elements = {place: self.restore_element(each) for place, each in rows.items()}
        for text, parts in remainder.items():
            place = int(text)
            name, restored = elements.get(place, ("", {}))
            added = parts["is"] if "is" in parts else self._add_parts(restored, rows.get(place, {}), parts)
            elements[place] = parts.get("name", name), added
        document[self.path] = self._compose(elements)

    def _add_parts(self, restored: Document, row: Row, parts: Document) -> Document:
        for rule in self.nested:
            if rule.path in parts.get("cut", {}):
                rule.set_remainder(parts["cut"][rule.path], row, restored)
        for name in parts.get("unset", ()):
            restored.pop(name, None)  # the row no longer restores it if another application has changed the row
        pairs = iter(parts.get("set", ()))
        restored.update(zip(pairs, pairs, strict=True))
        order = [name for name in parts.get("order", ()) if name in restored]
        return {name: restored[name] for name in dict.fromkeys([*order, *restored])} if order else restored

    def set_variant(self, number: int, row: Row, document: Document) -> None:
        """Do nothing: there are no variants."""


def junction(path: str, table: sa.Table, *, parent: str, reference: Reference, position: str = "position") -> Children:
    """Return the rule of an array of IDs: each becomes a row of a table between two others.

    `reference` reads the ID at the path "value".
    """
    return Children(path=path, table=table, parent=parent, position=position, rules=(reference,), values=True)


def child_columns(rule: Children) -> tuple[sa.Column[Any], ...]:
    """Return the columns that the migration writes to the table of elements, in the order of the table."""
    filled = {*rule.parent_columns, rule.key, *rule.element_columns}
    return tuple(column for column in rule.table.columns if column.name in filled)
