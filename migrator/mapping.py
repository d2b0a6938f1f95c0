"""The vocabulary of mappings: for one collection, a list of rules that know both directions.

A rule turns values of a document into plain column values (`forward`) and gives document fields back from the row
(`back`). It need not be right about what it gives back: whatever differs from the document goes to the residue. Rules
are data; `translate` interprets them, `compile` makes one function of them. This file knows no concrete migration.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import sqlalchemy as sa
from bson import ObjectId

from migrator import ids
from migrator.codecs import JSON, MOMENT, UNREADABLE, Codec
from migrator.exact import Document, same
from migrator.findings import REASONS
from migrator.jsonb import Note, normalize, remove_nul

Row = dict[str, Any]


class Absent:
    """The value of a field that is not there; null is another thing."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Rejected(Exception):
    """A document cannot become a row. Never leaves the translation: there it becomes a value."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Archived(Exception):
    """A document has no home in the target, by rule; `code` is the finding that says why."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Found:
    """A row that a reference leads to: its id as a plain value, and the columns that were asked for.

    `owner` is set where the row has another id than the one asked for, because it is another owner's: as the aliases
    spell what `Collection.owner` says.
    """

    id: Any
    carried: Mapping[str, Any]
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A question that documents of one collection ask about rows of another, put once for a whole batch.

    `keys(documents)` gives the plain values asked for; they are compared with column `by` (aliases included where it is
    the id), or with the document's own `_id` where `by` is "_id" (the key is then the ledger's source_id).
    """

    collection: str
    keys: Callable[[Iterable[Document]], set[Any]] = field(hash=False)
    by: str = "id"
    carry: tuple[str, ...] = ()

    @property
    def name(self) -> tuple[str, str]:
        return self.collection, self.by


class Context(Protocol):
    """What rules may ask for while one document is translated."""

    options: Any

    def note(self, code: str, detail: str) -> None: ...

    def find(self, lookup: Lookup, key: Any) -> tuple[Found, ...]: ...

    def listed(self, key: Any) -> tuple[tuple[Any, int], ...]:
        """Who lists the row `key` in a `Link` array, and at which place: (target id of the lister, position)."""
        ...


class Rule(Protocol):
    """`columns` it fills, `gives` the top-level fields it gives back, `lookups` it needs."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def gives(self) -> tuple[str, ...]: ...

    @property
    def lookups(self) -> tuple[Lookup, ...]: ...

    def forward(self, document: Document, row: Row, context: Context) -> None: ...

    def back(self, row: Row, document: Document) -> None: ...


def value_at(document: Any, path: str) -> Any:
    """The value at a dotted path of sub-documents, or ABSENT."""
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return ABSENT
        document = document[name]
    return document


def first_at(document: Document, paths: Iterable[str]) -> tuple[Any, str]:
    """The first value that is there and not null among `paths`, and its path; (ABSENT, '') where there is none."""
    for path in paths:
        value = value_at(document, path)
        if value is not ABSENT and value is not None:
            return value, path
    return ABSENT, ""


def _put(document: Document, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value


class Why:
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
class Take:
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
        why = Why(context.note)
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


def kind_of(value: Any) -> str:
    """The name of a BSON type, for details of findings: never the value itself, which may be personal."""
    return "missing" if value is ABSENT else "null" if value is None else type(value).__name__


def take(path: str | tuple[str, ...], column: str, codec: Codec, **options: Any) -> Take:
    """A `Take`; several paths are tried in order."""
    return Take(paths=(path,) if isinstance(path, str) else path, column=column, codec=codec, **options)


@dataclass(frozen=True, slots=True)
class Imply:
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


def imply(path: str, value: Any, *of: str) -> Imply:
    """`path` is `value`, or `value(*columns)` where columns are named."""
    return Imply(path, value, of)


@dataclass(frozen=True, slots=True)
class OneOf:
    """A field that has one of a few forms, all of which follow from the row: functions of plain columns.

    The first form is given back by the row; where the document has another one, the residue tells its number.
    """

    path: str
    forms: tuple[Callable[..., Any], ...] = field(hash=False)
    of: tuple[str, ...]
    columns: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.path,)

    def forward(self, document: Document, row: Row, context: Context) -> None:
        """Nothing goes this way."""

    def back(self, row: Row, document: Document) -> None:
        self.put(0, row, document)

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
    """One key of a `Pack`: its paths in order, the path that the way back writes (the first, if None), its codec."""

    key: str
    paths: tuple[str, ...]
    codec: Codec = JSON
    back_to: str | None = None

    @property
    def back_path(self) -> str:
        return self.back_to or self.paths[0]


@dataclass(frozen=True, slots=True)
class Pack:
    """Fields gathered into one jsonb object; absent and unreadable ones are left out, an empty object is NULL."""

    column: str
    entries: tuple[Entry, ...]
    lookups: tuple[Lookup, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def gives(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.back_path.split(".")[0] for entry in self.entries))

    def forward(self, document: Document, row: Row, context: Context) -> None:
        packed = {}
        for entry in self.entries:
            value, path = first_at(document, entry.paths)
            if value is ABSENT:
                continue
            why = Why(context.note)
            plain = entry.codec.read(value, why, path)
            if plain is UNREADABLE:
                why.explain(path, value)
            else:
                packed[entry.key] = plain
        row[self.column] = normalize(packed) if packed else None

    def back(self, row: Row, document: Document) -> None:
        packed = row[self.column] or {}
        for entry in self.entries:
            if entry.key in packed:
                _put(document, entry.back_path, entry.codec.write(packed[entry.key]))


@dataclass(frozen=True, slots=True)
class Guard:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The row's id: from `_id` (the ledger gives it back) or from a field of its own that claims it."""

    path: str
    collection: str
    text: bool = False
    column: str = "id"
    most: int = 2600
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
class Refer:
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
        return Lookup(self.key.collection, asks(self.path, self.key), carry=self.carry)

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
class Name:
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


@dataclass(frozen=True, slots=True)
class Link:
    """An array in which a document lists others; kept aside while loading, for what only all documents tell."""

    path: str
    to: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Rows that name a parent in their own table: a reconciliation after all are loaded.

    `parent` is the column; `within` a column that parent and child must share; `order` a column that tells the oldest.
    """

    parent: str
    within: str
    order: str
    field: str  # the document's field that names the parent
    link: str | None = None  # the Link path whose arrays name children


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """A column of another table that holds the newest value of a column here, set after the load."""

    table: str
    column: str
    of: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """How documents of `name` become rows of `table` and come back.

    `owner(document, row)` tells whether two documents with the same id belong to different owners, so that the later
    one gets an id of its own; without it any later duplicate is rejected. `unique` maps columns to the reason of
    rejection where two documents have the same value. `probes` are SQL expressions over a column, `{}` being its value,
    that must not fail for long texts (an index will compute them). `few` names fields that hold few distinct values:
    what rules without lookups make of them alone is computed once for every combination. It changes the speed only.
    """

    name: str
    table: sa.Table
    key: Key
    rules: tuple[Rule, ...]
    owner: Callable[[Document, Row], tuple[Hashable, ...]] | None = field(default=None, hash=False)
    unique: Mapping[str, str] = field(default_factory=dict, hash=False)
    constants: Callable[[Any], Row] = field(default=lambda options: {}, hash=False)
    links: tuple[Link, ...] = ()
    listed_by: str | None = None  # "collection.path" of the Link whose arrays list documents of this collection
    tree: Tree | None = None
    newest: tuple[Newest, ...] = ()
    probes: Mapping[str, str] = field(default_factory=dict, hash=False)
    few: frozenset[str] = frozenset()
    after: tuple[str, ...] = ()

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        return tuple({lookup.name: lookup for rule in self.rules for lookup in rule.lookups}.values())

    @property
    def choices(self) -> tuple[OneOf, ...]:
        """The rules whose fields have several forms."""
        return tuple(rule for rule in self.rules if isinstance(rule, OneOf))

    @property
    def needs(self) -> frozenset[str]:
        """Collections that must be loaded before this one."""
        return frozenset(lookup.collection for lookup in self.lookups) | frozenset(self.after)

    @property
    def gives(self) -> frozenset[str]:
        return frozenset(name for rule in (self.key, *self.rules) for name in rule.gives)

    @property
    def carried(self) -> tuple[tuple[str, str, str, str], ...]:
        """What the way back needs from other tables: (row key, column here, collection there, column there)."""
        return tuple(
            (f"{rule.column}.{name}", rule.column, rule.key.collection, name)
            for rule in self.rules
            if isinstance(rule, Refer)
            for name in rule.carry
        )


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
