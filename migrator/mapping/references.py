"""Rules about ids: the one a document claims for its row, and those by which it names rows of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from migrator import ids
from migrator.documents.codec import Document
from migrator.documents.jsonb import remove_nul
from migrator.mapping.codecs import INDEXABLE_BYTES, UNREADABLE
from migrator.mapping.context import ABSENT, Context, Found, Lookup, Rejected, Row, kind_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The row's id: from `_id` (the ledger gives it back) or from a field of its own that claims it."""

    path: str
    collection: str
    text: bool = False
    column: str = "id"
    most: int = INDEXABLE_BYTES
    lookups: tuple[Lookup, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def gives(self) -> tuple[str, ...]:
        return () if self.path == "_id" else (self.path,)

    def forward(self, document: Document, row: Row, context: Context) -> None:
        value = document.get(self.path, ABSENT)
        if value is ABSENT or (self.path != "_id" and (value is None or value == "")):
            raise Rejected("missing_required", f"{self.path} ({kind_of(value)})")
        row[self.column] = self._text(value, context) if self.text else self.uuid(value)

    def uuid(self, value: Any) -> bytes:
        return ids.uuid_of(self.collection, value, objectid=self.path == "_id")

    def _text(self, value: Any, context: Context) -> str:
        if type(value) is not str:
            raise Rejected("wrong_type", f"{self.path} ({kind_of(value)})")
        if len(value.encode()) > self.most:
            raise Rejected("too_long", self.path)
        return remove_nul(value, context.note, self.path)

    def back(self, row: Row, document: Document) -> None:
        if self.path != "_id":
            document[self.path] = row[self.column] if self.text else ids.uuid_text(row[self.column])


def asks(path: str, key: Key) -> Callable[[Iterable[Document]], set[Any]]:
    """The ids that a field of documents claims; none where it is empty. Many documents name few others."""

    def keys(documents: Iterable[Document]) -> set[Any]:
        values = [value for document in documents if (value := document.get(path)) is not None and value != ""]
        texts = {value for value in values if type(value) is str}  # bson.Code is a str without a hash
        return {key.uuid(text) for text in texts} | {key.uuid(v) for v in values if type(v) is not str}

    return keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A column that holds the id of a row of another collection, which the field `path` names by the other's `key`.

    `resolve(context, document, candidates)` chooses where there are several; by default the first. Where there is none,
    `gone(context, document)` decides: it returns a `Found`, or raises `Rejected`. Columns to `carry` are put into the
    row as `column.name`, for rules that follow and for the way back. `write` gives the field back; without it this rule
    gives nothing back.
    """

    path: str
    column: str
    key: Key
    carry: tuple[str, ...] = ()
    gone: Callable[[Context, Document], Found] = field(hash=False)
    resolve: Callable[[Context, Document, tuple[Found, ...]], Found] | None = field(default=None, hash=False)
    write: Callable[[Any], Any] | None = field(default=None, hash=False)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, *(f"{self.column}.{name}" for name in self.carry))

    @property
    def lookup(self) -> Lookup:
        return Lookup(self.key.collection, asks(self.path, self.key), carry=self.carry, fields=(self.path,))

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        return (self.lookup,)

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.path,) if self.write else ()

    def forward(self, document: Document, row: Row, context: Context) -> None:
        lookup = self.lookup
        candidates = [found for key in lookup.keys((document,)) for found in context.find(lookup, key)]
        found = self._choose(context, document, tuple(candidates))
        row[self.column] = found.id
        for name in self.carry:
            row[f"{self.column}.{name}"] = found.carried[name]

    def _choose(self, context: Context, document: Document, candidates: tuple[Found, ...]) -> Found:
        if not candidates:
            return self.gone(context, document)
        several = len(candidates) > 1 and self.resolve is not None
        return self.resolve(context, document, candidates) if several else candidates[0]  # type: ignore[misc]

    def back(self, row: Row, document: Document) -> None:
        if self.write is None:
            return
        value = self.write(row[self.column])
        if value is not ABSENT and value is not UNREADABLE:
            document[self.path] = value


@dataclass(frozen=True, slots=True, kw_only=True)
class UncheckedReference:
    """A column with the id of a row that a field names by `key`; whether that row exists is seen after the load.

    `nobody` are values that name none (as absent and null do); NULL gives the first of them back.
    """

    path: str
    column: str
    key: Key
    nobody: tuple[str, ...]
    lookups: tuple[Lookup, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.path,)

    def forward(self, document: Document, row: Row, context: Context) -> None:
        value = document.get(self.path)
        named = value is not None and not (isinstance(value, str) and value in self.nobody)
        row[self.column] = self.key.uuid(value) if named else None

    def back(self, row: Row, document: Document) -> None:
        value = row[self.column]
        document[self.path] = self.nobody[0] if value is None else ids.uuid_text(value)


class _Unequal:
    """Equal to no value of a document: what a field gets whose value is not known yet."""


UNEQUAL: Final = _Unequal()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberList:
    """A field that lists the `_id`s of a row's own rows: those of `collection` whose column `by` names it.

    In the order of `_id`, and ObjectIds all. What they are is known when these are loaded; until then the field stays
    in the residue, and `members.settle` takes it out where the ledger can give it back.
    """

    path: str
    collection: str
    by: str
    columns: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def row_key(self) -> str:
        """Where a row that was read back has its members."""
        return f"{self.path}.members"

    def forward(self, document: Document, row: Row, context: Context) -> None:
        """Nothing goes this way."""

    def back(self, row: Row, document: Document) -> None:
        document[self.path] = row.get(self.row_key, UNEQUAL)
