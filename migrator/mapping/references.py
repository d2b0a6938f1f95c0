"""Rules about IDs: the ID that a document gives its row, and the fields that refer to rows of other collections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from bson import ObjectId

from migrator import ids
from migrator.documents.codec import Document
from migrator.documents.jsonb import Note, remove_nul
from migrator.findings import REASONS
from migrator.mapping.codecs import INDEXABLE_BYTES, UNREADABLE, Codec
from migrator.mapping.context import ABSENT, Context, Lookup, Match, Rejected, Row, type_name
from migrator.mapping.rules import FirstCause

MAX_REFERENCE_IDS = 50_000  # per key


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The ID of the row, derived from the field `path`.

    The ledger restores the field `_id`. The row restores any other field. The ID is a UUID that is derived from the
    value; with `text` it is the text itself, of at most `most` bytes; with a `codec` what that reads.
    """

    path: str
    collection: str
    text: bool = False
    codec: Codec | None = None
    column: str = "id"
    most: int = INDEXABLE_BYTES
    lookups: tuple[Lookup, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The names of the columns of the key."""
        return (self.column,)

    @property
    def source_paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return () if self.path == "_id" else (self.path,)

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        value = document.get(self.path, ABSENT)
        if value is ABSENT or value == "" or (value is None and self.path != "_id"):
            raise Rejected("missing_required", f"{self.path} ({type_name(value)})")
        if self.is_derived:
            row[self.column] = self.uuid(value)
        elif self.text:
            row[self.column] = self._read_text(value, context)
        else:
            row[self.column] = self._read(value, context)

    @property
    def is_derived(self) -> bool:
        """Whether IDs are UUIDs that are derived from the values: every value has one."""
        return not self.text and self.codec is None

    def uuid(self, value: Any) -> bytes:
        """Return the 16 bytes of the UUID that belongs to a value of the field."""
        return ids.uuid_of(self.collection, value, objectid=self.path == "_id")

    def identify(self, value: Any) -> Any:
        """Return the plain ID that belongs to a value of the field; None if no row can have it."""
        if value is None or value is ABSENT or value == "":
            return None
        if self.is_derived:
            return self.uuid(value)
        if self.text:
            return value.replace("\0", "") or None if type(value) is str else None
        assert self.codec is not None  # the other two kinds of keys
        plain = self.codec.read(value, _ignore, self.path)
        return None if plain is UNREADABLE else plain

    def _read(self, value: Any, context: Context) -> Any:
        assert self.codec is not None  # the caller has checked it
        cause = FirstCause(context.note)
        plain = self.codec.read(value, cause, self.path)
        if plain is UNREADABLE:
            raise Rejected(cause.code if cause.code in REASONS else "wrong_type", f"{self.path} ({type_name(value)})")
        return plain

    def _read_text(self, value: Any, context: Context) -> str:
        if type(value) is not str:
            raise Rejected("wrong_type", f"{self.path} ({type_name(value)})")
        if len(value.encode()) > self.most:
            raise Rejected("too_long", self.path)
        text = remove_nul(value, context.note, self.path)
        if not text:
            raise Rejected("missing_required", f"{self.path} (only U+0000)")
        return text

    def to_document(self, row: Row, document: Document) -> None:
        if self.path == "_id":
            return
        if self.codec is None:
            document[self.path] = row[self.column] if self.text else ids.uuid_text(row[self.column])
        elif (value := self.codec.write(row[self.column])) is not UNREADABLE:
            document[self.path] = value


def _ignore(code: str, detail: str) -> None:
    """Ignore a finding: it belongs to the document that has the key."""


def collect_keys(path: str, key: Key) -> Callable[[Iterable[Document]], set[Any]]:
    """Return a function that collects the IDs to which the field `path` of documents refers, without empty values."""
    known = reference_ids(key)

    def keys(documents: Iterable[Document]) -> set[Any]:
        return {known.of(value) for document in documents if (value := document.get(path)) is not None} - {None}

    return keys


class ReferenceIds(dict[Any, Any]):
    """The plain IDs of values of references. Equal values are converted once: many documents refer to few rows."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self._key = key

    def of(self, value: Any) -> Any:
        """Return the plain ID that a value names; None if no row can have it."""
        if type(value) is ObjectId:
            return self[value.binary]  # hashing an ObjectId takes longer
        return self[value] if type(value) is str else self._key.identify(value)

    def __missing__(self, value: str | bytes) -> Any:
        if len(self) >= MAX_REFERENCE_IDS:
            self.clear()
        self[value] = found = self._key.identify(ObjectId(value) if isinstance(value, bytes) else value)
        return found


@lru_cache(maxsize=64)
def reference_ids(key: Key) -> ReferenceIds:
    """Return the IDs of references by a key, of this process."""
    return ReferenceIds(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A column with the ID of a row of another collection. The field `path` names that row by the other's `key`.

    `resolve(context, document, candidates)` chooses one of several matches; without it the first one is used.
    `on_missing(context, document)` handles a missing row: it returns a `Match` or raises `Rejected`.
    The columns of `carry` are added to the row as `column.name`, for later rules and to rebuild documents.
    `write` restores the field from the ID. Without it the rule restores nothing.
    """

    path: str
    column: str
    key: Key
    carry: tuple[str, ...] = ()
    on_missing: Callable[[Context, Document], Match] = field(hash=False)
    resolve: Callable[[Context, Document, tuple[Match, ...]], Match] | None = field(default=None, hash=False)
    write: Callable[[Any], Any] | None = field(default=None, hash=False)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, *(f"{self.column}.{name}" for name in self.carry))

    @property
    def source_paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def lookup(self) -> Lookup:
        """The lookup that finds the row."""
        keys = collect_keys(self.path, self.key)
        return Lookup(self.key.collection, keys, by=self.key.column, carry=self.carry, fields=(self.path,))

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        return (self.lookup,)

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return (self.path,) if self.write else ()

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        lookup = self.lookup
        candidates = [match for key in lookup.keys((document,)) for match in context.find(lookup, key)]
        match = self._choose(context, document, tuple(candidates))
        row[self.column] = match.id
        for name in self.carry:
            row[f"{self.column}.{name}"] = match.carried[name]

    def _choose(self, context: Context, document: Document, candidates: tuple[Match, ...]) -> Match:
        if not candidates:
            return self.on_missing(context, document)
        if len(candidates) > 1 and self.resolve is not None:
            return self.resolve(context, document, candidates)
        return candidates[0]  # a row: matches without a row follow one

    def to_document(self, row: Row, document: Document) -> None:
        if self.write is None:
            return
        value = self.write(row[self.column])
        if value is not ABSENT and value is not UNREADABLE:
            document[self.path] = value


Restore = Callable[[Any], Any]  # key of a row → the value of a field that names the row


def reference_to(path: str, column: str, key: Key, restore: Restore, *, required: bool = False) -> Reference:
    """Return the rule of a field that names a document of another collection.

    If that document does not exist, the column is NULL, with a finding. If the column is `required`, the document is
    rejected instead.
    """

    def handle_missing(context: Context, document: Document) -> Match:
        if required:
            raise Rejected("orphan", path)
        if document.get(path) not in (None, ""):
            context.note("dangling_reference", path)
        return Match(None, {})

    def write(plain: Any) -> Any:
        return ABSENT if plain is None else restore(plain)

    return Reference(path=path, column=column, key=key, on_missing=handle_missing, write=write)


@dataclass(frozen=True, slots=True)
class IdCodec:
    """The key of a document of another collection, which need not exist ↔ its row's key."""

    key: Key
    restore: Restore

    def read(self, value: Any, note: Note, path: str) -> Any:
        plain = self.key.identify(value)
        return UNREADABLE if plain is None else plain

    def write(self, plain: Any) -> Any:
        return self.restore(plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class UncheckedReference:
    """A column with the ID of a row that a field names by `key`. The row need not exist yet: later stages check it.

    `null_values` are texts that mean "no reference", as an absent field and null do. NULL restores the first of them.
    """

    path: str
    column: str
    key: Key
    null_values: tuple[str, ...]
    lookups: tuple[Lookup, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def source_paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return (self.path,)

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        row[self.column] = self.referenced_id(document)

    def referenced_id(self, document: Document) -> Any:
        """Return the plain ID that a document names; None if it names none."""
        value = document.get(self.path)
        is_null = value is None or (isinstance(value, str) and value in self.null_values)
        return None if is_null else self.key.identify(value)

    def to_document(self, row: Row, document: Document) -> None:
        value = row[self.column]
        document[self.path] = self.null_values[0] if value is None else ids.uuid_text(value)


class _Unequal:
    """A value that equals no value of a document. It stands for a field whose value is not known yet."""


UNEQUAL: Final = _Unequal()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberList:
    """A field that lists the `_id`s of the rows of `collection` that refer to this row by `reference_column`.

    The list must be in the order of `_id`, and hold ObjectIds only. The members are known when `collection` is loaded.
    Until then the field is part of the residue; `reconciliation.membership` then removes it from the residue where the
    ledger can restore it.
    """

    path: str
    collection: str
    reference_column: str
    columns: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def source_paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def row_key(self) -> str:
        """The key under which a row that is read for a rebuild has its members."""
        return f"{self.path}.members"

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        """Do nothing: the field fills no column."""

    def to_document(self, row: Row, document: Document) -> None:
        document[self.path] = row.get(self.row_key, UNEQUAL)
