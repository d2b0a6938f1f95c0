"""Rules of fields that refer to rows whose key has several columns: a foreign key of several columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from migrator.documents.codec import Document, encode
from migrator.mapping.codecs import UNREADABLE
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.context import ABSENT, Context, Lookup, Match, Rejected, Row
from migrator.mapping.references import Key, Restore, reference_ids
from migrator.mapping.rules import CustomRule, Field


@dataclass(frozen=True, kw_only=True)
class KeyReference(CustomRule):
    """Columns with the key of the row that one field names.

    The field `path` has the `_id` of the document of that row; with `key`, a part of its key, the value from which this
    part follows. `filled`: each column here, with the column there. Without a row, the columns are NULL, with a
    finding; if they are `required`, the document is rejected.
    `restore` returns the value of the field from the column of `key`. Without it, residues keep the field.
    """

    path: str
    collection: str
    filled: tuple[tuple[str, str], ...]
    key: Key | None = None
    restore: Restore | None = field(default=None, hash=False)
    required: bool = False

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]  # a property here
        return tuple(here for here, _ in self.filled)

    @property
    def source_paths(self) -> tuple[str, ...]:  # type: ignore[override]  # a property here
        return (self.path,)

    @property
    def restored_fields(self) -> tuple[str, ...]:  # type: ignore[override]  # a property here
        return () if self.restore is None else (self.path,)

    @property
    def lookup(self) -> Lookup:
        """The lookup that finds the row."""
        by = "_id" if self.key is None else self.key.column
        return Lookup(
            self.collection, self._keys, by=by, carry=tuple(there for _, there in self.filled), fields=(self.path,)
        )

    @property
    def lookups(self) -> tuple[Lookup, ...]:  # type: ignore[override]  # a property here
        return (self.lookup,)

    def _keys(self, documents: Iterable[Document]) -> set[Any]:
        return {found for document in documents if (found := self._key_of(document)) is not None}

    def _key_of(self, document: Document) -> Any:
        value = document.get(self.path)
        if value is None or value == "":
            return None
        return encode({"_id": value}) if self.key is None else reference_ids(self.key).of(value)

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        wanted = self._key_of(document)
        found = () if wanted is None else context.find(self.lookup, wanted)
        if not found:
            handle_missing(self.path, document, context, required=self.required)
        row.update((here, found[0].carried[there] if found else None) for here, there in self.filled)

    def to_document(self, row: Row, document: Document) -> None:
        if self.restore is None or self.key is None:
            return
        column = next((here for here, there in self.filled if there == self.key.column), None)
        value = ABSENT if column is None or row[column] is None else self.restore(row[column])
        if value is not ABSENT and value is not UNREADABLE:
            document[self.path] = value


@dataclass(frozen=True, kw_only=True)
class FieldsReference(CustomRule):
    """Columns with the key of a row that has the values of several fields.

    `fields` fill the columns, in the order of the columns of `key`, which is the key of the other collection. Without
    such a row, the columns are NULL, with a finding; if they are `required`, the document is rejected.
    """

    collection: str
    key: CompositeKey
    fields: tuple[Field, ...]
    required: bool = False

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]  # a property here
        return tuple(each.column for each in self.fields)

    @property
    def source_paths(self) -> tuple[str, ...]:  # type: ignore[override]  # a property here
        return tuple(path for each in self.fields for path in each.source_paths)

    @property
    def restored_fields(self) -> tuple[str, ...]:  # type: ignore[override]  # a property here
        return tuple(dict.fromkeys(name for each in self.fields for name in each.restored_fields))

    @property
    def lookup(self) -> Lookup:
        """The lookup that finds the row."""
        return Lookup(self.collection, self._keys, by=self.key.column)

    @property
    def lookups(self) -> tuple[Lookup, ...]:  # type: ignore[override]  # a property here
        return (self.lookup,)

    def _keys(self, documents: Iterable[Document]) -> set[Any]:
        return set(self._texts(documents))

    def _texts(self, documents: Iterable[Document]) -> Iterator[str]:
        for document in documents:
            row: Row = {}
            try:
                for each in self.fields:
                    each.to_row(document, row, _SILENT)
            except Rejected:
                continue
            if (text := self._text_of(row)) is not None:
                yield text

    def _text_of(self, row: Row) -> str | None:
        return self.key.join(*(row[each.column] for each in self.fields))

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        for each in self.fields:
            each.to_row(document, row, context)
        text = self._text_of(row)
        if text is None or not context.find(self.lookup, text):
            path = self.fields[-1].paths[0]
            handle_missing(path, document, context, required=self.required)
            row.update(dict.fromkeys(self.columns))

    def to_document(self, row: Row, document: Document) -> None:
        for each in self.fields:
            each.to_document(row, document)


class _Silent:
    """A context in which fields are read to know their key only: nothing is recorded."""

    options: Any = None

    def note(self, code: str, detail: str) -> None:
        """Record nothing: the finding is recorded when the row is made."""

    def find(self, lookup: Lookup, key: Any) -> tuple[Match, ...]:
        return ()

    def listed(self, key: Any) -> tuple[tuple[Any, int], ...]:
        return ()


_SILENT = _Silent()


def handle_missing(path: str, document: Document, context: Context, *, required: bool) -> None:
    """Record that the row which a field names does not exist.

    Raises: `Rejected` if it is `required`.
    """
    if required:
        raise Rejected("orphan", path)
    if document.get(path) not in (None, ""):
        context.note("dangling_reference", path)
