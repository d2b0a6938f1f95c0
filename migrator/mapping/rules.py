"""The rules of mappings: each knows both directions, fields to columns (`forward`) and back (`back`).

A rule need not be right about what it gives back: whatever differs from the document goes to the residue. Rules are
data; `translate` interprets them, `compile` makes one function of them. Ids and references: references.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from migrator.documents.codec import Document, same
from migrator.documents.jsonb import Note, normalize
from migrator.findings import REASONS
from migrator.mapping.codecs import JSON, MOMENT, UNREADABLE, Codec
from migrator.mapping.context import ABSENT, Context, Lookup, Rejected, Row, first_at, kind_of


def _put(document: Document, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value


class FirstCause:
    """A `Note` that remembers what a codec said, so that `wrong_type` is said only where that was nothing."""

    def __init__(self, note: Note) -> None:
        self._note, self.code = note, ""

    def __call__(self, code: str, detail: str) -> None:
        self.code = code
        self._note(code, detail)

    def explain(self, path: str, value: Any) -> None:
        """Says why a value was not read, unless that has been said."""
        if not self.code:
            self("wrong_type", f"{path} ({kind_of(value)})")


Otherwise = Callable[[Document, Row, Context], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The first of `paths` feeds a column through a codec; the way back writes `paths[0]`, or `back_to`.

    `default` is what the column gets where there is no readable value (the column's own default in the target);
    `otherwise` computes it instead. Without either the column gets NULL, or the document is rejected where the column
    is `required`. `null_back`: NULL gives null back, not an absent field.
    """

    paths: tuple[str, ...]
    column: str
    codec: Codec
    default: Any = None
    otherwise: Otherwise | None = field(default=None, hash=False)
    required: bool = False
    null_back: bool = False
    back_to: str | None = None
    lookups: tuple[Lookup, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def back_path(self) -> str:
        return self.back_to or self.paths[0]

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.back_path.split(".")[0],)

    def forward(self, document: Document, row: Row, context: Context) -> None:
        value, path = first_at(document, self.paths)
        if value is ABSENT:
            row[self.column] = self._instead(document, row, context, "missing_required", value)
            return
        why = FirstCause(context.note)
        plain = self.codec.read(value, why, path)
        if plain is UNREADABLE:
            why.explain(path, value)
            plain = self._instead(document, row, context, why.code, value)
        row[self.column] = plain

    def _instead(self, document: Document, row: Row, context: Context, reason: str, value: Any) -> Any:
        if self.otherwise is not None:
            return self.otherwise(document, row, context)
        if self.required:
            raise Rejected(reason if reason in REASONS else "wrong_type", f"{self.paths[0]} ({kind_of(value)})")
        return self.default

    def back(self, row: Row, document: Document) -> None:
        plain = row[self.column]
        if plain is None:
            if self.null_back:
                _put(document, self.back_path, None)
            return
        value = self.codec.write(plain)
        if value is not UNREADABLE:
            _put(document, self.back_path, value)


def take(path: str | tuple[str, ...], column: str, codec: Codec, **options: Any) -> Field:
    """A `Field`; several paths are tried in order."""
    return Field(paths=(path,) if isinstance(path, str) else path, column=column, codec=codec, **options)


@dataclass(frozen=True, slots=True)
class Implied:
    """A field whose value follows from the row: a constant, or a function of plain columns (ABSENT: not there)."""

    path: str
    value: Any = field(hash=False)
    of: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.path,)

    def forward(self, document: Document, row: Row, context: Context) -> None:
        """Nothing goes this way."""

    def back(self, row: Row, document: Document) -> None:
        value = self.value(*(row[name] for name in self.of)) if self.of else self.value
        if value is not ABSENT and value is not UNREADABLE:
            document[self.path] = value


def imply(path: str, value: Any, *of: str) -> Implied:
    """`path` is `value`, or `value(*columns)` where columns are named."""
    return Implied(path, value, of)


@dataclass(frozen=True, slots=True)
class Variants:
    """A field that has one of a few forms, all of which follow from the row: functions of plain columns.

    The first form is given back by the row; where the document has another one, the residue tells its number. A value
    of no form may still hold what the row gives: `cut(value, *columns)` takes that out (None: it cannot), and
    `mend(rest, *columns)` puts it in again, exactly.
    """

    path: str
    forms: tuple[Callable[..., Any], ...] = field(hash=False)
    of: tuple[str, ...]
    cut: Callable[..., Document | None] | None = field(default=None, hash=False)
    mend: Callable[..., Any] | None = field(default=None, hash=False)
    columns: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.path,)

    def forward(self, document: Document, row: Row, context: Context) -> None:
        """Nothing goes this way."""

    def back(self, row: Row, document: Document) -> None:
        self.put(0, row, document)

    def put_cut(self, rest: Document, row: Row, document: Document) -> None:
        """Gives the field what `cut` left of it and what the row has."""
        assert self.mend is not None  # what was cut can be mended
        document[self.path] = self.mend(rest, *(row[name] for name in self.of))

    def put(self, number: int, row: Row, document: Document) -> None:
        """Gives the field its form of this number."""
        value = self.forms[number](*(row[name] for name in self.of))
        document.pop(self.path, None)
        if value is not ABSENT:
            document[self.path] = value

    def find(self, value: Any, *columns: Any) -> int:
        """The number of the form, other than the first, that a document's value (or ABSENT) has; 0 for none."""
        for number in range(1, len(self.forms)):
            form = self.forms[number](*columns)
            if form is value or (form is not ABSENT and value is not ABSENT and same(form, value)):
                return number
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Columns computed from fields and earlier columns; and, where `reverse` is given, a field from columns.

    `function(context, *fields, *columns)` returns the plain value, or a tuple for several columns; fields that are not
    there come as ABSENT. `reverse(*columns)` returns the value of the field `to`, or ABSENT.
    """

    columns: tuple[str, ...]
    function: Callable[..., Any] = field(hash=False)
    fields: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    to: str | None = None
    reverse: Callable[..., Any] | None = field(default=None, hash=False)
    reverse_of: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.to,) if self.to is not None else ()

    def forward(self, document: Document, row: Row, context: Context) -> None:
        values = [document.get(name, ABSENT) for name in self.fields]
        result = self.function(context, *values, *(row[name] for name in self.after))
        row.update(zip(self.columns, result if len(self.columns) > 1 else (result,), strict=True))

    def back(self, row: Row, document: Document) -> None:
        if self.to is None or self.reverse is None:
            return
        value = self.reverse(*(row[name] for name in self.reverse_of))
        if value is not ABSENT:
            document[self.to] = value


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a `JsonObject`: its paths in order, the path that the way back writes (the first, if None), its codec.

    `back_by` has other paths to write, by the values of the columns that the `JsonObject` names.
    """

    key: str
    paths: tuple[str, ...]
    codec: Codec = JSON
    back_to: str | None = None
    back_by: Mapping[tuple[Any, ...], str] = field(default_factory=dict, hash=False)

    @property
    def back_path(self) -> str:
        return self.back_to or self.paths[0]

    @property
    def back_paths(self) -> tuple[str, ...]:
        """All that the way back may write."""
        return (self.back_path, *self.back_by.values())


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Fields gathered into one jsonb object; absent and unreadable ones are left out, an empty object is NULL.

    `by` are earlier columns on which the fields' names depend (`Entry.back_by`).
    """

    column: str
    entries: tuple[Entry, ...]
    by: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def gives(self) -> tuple[str, ...]:
        paths = (path for entry in self.entries for path in entry.back_paths)
        return tuple(dict.fromkeys(path.split(".")[0] for path in paths))

    @property
    def reads(self) -> tuple[str, ...]:
        """The top-level fields that tell all about its outcome, both ways."""
        paths = (path for entry in self.entries for path in entry.paths)
        return tuple(dict.fromkeys([*(path.split(".")[0] for path in paths), *self.gives]))

    def forward(self, document: Document, row: Row, context: Context) -> None:
        packed = {}
        for entry in self.entries:
            value, path = first_at(document, entry.paths)
            if value is ABSENT:
                continue
            why = FirstCause(context.note)
            plain = entry.codec.read(value, why, path)
            if plain is UNREADABLE:
                why.explain(path, value)
            else:
                packed[entry.key] = plain
        row[self.column] = normalize(packed) if packed else None

    def back(self, row: Row, document: Document) -> None:
        packed = row[self.column] or {}
        by = tuple(row[name] for name in self.by) if packed else ()
        for entry in self.entries:
            if entry.key in packed:
                _put(document, entry.back_by.get(by, entry.back_path), entry.codec.write(packed[entry.key]))


@dataclass(frozen=True, slots=True)
class Filter:
    """Raises `Archived` or `Rejected` for documents that are none of this mapping's: `function(context, *fields)`."""

    function: Callable[..., None] = field(hash=False)
    fields: tuple[str, ...]
    columns: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    def forward(self, document: Document, row: Row, context: Context) -> None:
        self.function(context, *(document.get(name, ABSENT) for name in self.fields))

    def back(self, row: Row, document: Document) -> None:
        """Nothing comes this way."""


def created_at(document: Document, row: Row, context: Context) -> int:
    """The fallback for a creation date: the ObjectId's own second; else the change date; else 1970, with a finding."""
    context.note("defaulted", "createdAt")
    oid = document.get("_id")
    if isinstance(oid, ObjectId):
        return int.from_bytes(oid.binary[:4], "big") * 1_000_000
    value = document.get("updatedAt")
    plain = UNREADABLE if value is None else MOMENT.read(value, lambda code, detail: None, "updatedAt")
    return plain if isinstance(plain, int) else 0


def updated_at(document: Document, row: Row, context: Context) -> Any:
    """The fallback for a change date: the creation date."""
    return row["created_at"]
