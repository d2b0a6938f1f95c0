"""Translated documents as bytes of binary COPY: rows, ledger, rejects, archive, findings and links.

The row and the ledger row of a loaded document have the same index in `rows` and `ledger`. So a document whose ID or
unique value turns out to be taken can still be removed. No SQL here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, assert_never

from migrator.documents.codec import Document
from migrator.errors import UsageError
from migrator.findings import FINDINGS, REASONS, severity_of
from migrator.ids import element_uuid, uuid_text
from migrator.mapping.children import Children, child_columns
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.key_texts import parser, split_key
from migrator.mapping.references import Key
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.native import write_row
from migrator.postgres.table_names import name_of
from migrator.translation.outcomes import Archive, Finding, Loaded, Reject, Result

LEDGER_KINDS = ("text", "bytea", "text", "text", "bytea")
REJECT_KINDS = ("text", "bytea", "text", "text", "bytea")
ARCHIVE_KINDS = ("text", "bytea", "bytea")
FINDING_KINDS = ("text", "text", "text", "bytea", "text")
LINK_KINDS = ("text", "text", "text", "integer")
MEMBER_KINDS = ("text", "text", "bytea")

UUID_BYTES = 16
# A shorter text cannot exceed the size of a tsvector (1 MiB): a lexeme takes at most eight bytes per byte of text.
PROBED_BYTES = 100_000


@dataclass(slots=True)
class Output:
    """The encoded tuples of one batch.

    `ids`, `indexes` (of the document in the batch), `uniques` and `members` belong to `rows`. The last two are filled
    only for collections that need them.
    """

    rows: list[bytes] = field(default_factory=list)
    ledger: list[bytes] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    uniques: list[tuple[Any, ...]] = field(default_factory=list)
    members: list[tuple[Any, bytes | None]] = field(default_factory=list)  # (plain ID of the lister, ObjectId or None)
    probes: list[tuple[int, str, str]] = field(default_factory=list)  # (index into rows, column, text)
    outcomes: list[bytes] = field(default_factory=list)  # ledger tuples of documents that were not loaded
    rejects: list[bytes] = field(default_factory=list)
    archive: list[bytes] = field(default_factory=list)
    findings: list[tuple[int, bytes]] = field(default_factory=list)  # (index of the document, tuple)
    links: list[tuple[int, bytes]] = field(default_factory=list)  # (index of the document, tuple)
    # Rows that belong to rows, by table: (index into rows, tuple)
    children: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document of a batch: its index there, its `source_id`, its BSON, and its decoded fields."""

    index: int
    source_id: bytes
    raw: bytes
    fields: Document


def format_target_id(plain: Any) -> str:
    """Return a plain ID as the ledger stores it."""
    if isinstance(plain, bytes):  # a UUID, or an ObjectId in a column of type bytea
        return uuid_text(plain) if len(plain) == UUID_BYTES else f"\\x{plain.hex()}"
    return str(plain)


def objectid_in(source_id: bytes) -> bytes | None:
    """Return the 12 bytes of an ObjectId in BSON `{"_id": …}`; None for an `_id` of another type."""
    return source_id[9:21] if len(source_id) == 22 and source_id[4] == 7 else None


def member_tuples(collection: str, members: Iterable[tuple[Any, bytes | None]]) -> list[bytes]:
    """Return which rows of a batch are members of which lists: one tuple for each listing row."""
    listed: dict[Any, list[bytes]] = {}
    for lister, objectid in members:
        if objectid is not None:
            listed.setdefault(lister, []).append(objectid)
    return [
        write_row((collection, format_target_id(lister), b"".join(ids)), MEMBER_KINDS) for lister, ids in listed.items()
    ]


def ledger_tuple(
    collection: str, source_id: bytes, target_id: str | None, outcome: str, residue: bytes | None
) -> bytes:
    """Return a row of the ledger."""
    return write_row((collection, source_id, target_id, outcome, residue), LEDGER_KINDS)


class Encoder:
    """Adds translated documents to an `Output`. `lister` is the column with the row whose member list has this row."""

    def __init__(self, collection: Collection, lister: str | None = None) -> None:
        self.collection = collection
        self._lister = lister
        self._fields = collection.children
        self.children = {name_of(rule.table): ChildEncoder(rule) for rule in collection.child_rules}
        self.columns = [name for name, _ in collection.kinds]
        self.kinds = [kind for _, kind in collection.kinds]

    def row_tuple(self, row: Row) -> bytes:
        """Return a row with the columns in the order of the table. Columns that no rule fills are NULL."""
        return write_row([row.get(name) for name in self.columns], self.kinds)

    def add(self, output: Output, source: SourceDocument, result: Result) -> None:
        """Add one translated document."""
        match result:
            case Loaded():
                self._add_row(output, source, result)
                output.links += [(source.index, link) for link in self.link_tuples(source.fields, result.row)]
            case Reject():
                self.add_reject(output, source.source_id, source.raw, result)
            case Archive():
                add_archived(output, self.collection.name, source.source_id, source.raw)
            case _:
                assert_never(result)

    def _add_row(self, output: Output, source: SourceDocument, loaded: Loaded) -> None:
        row = loaded.row
        row_id = row[self.collection.key.column]
        output.ids.append(row_id)
        output.indexes.append(source.index)
        output.rows.append(self.row_tuple(row))
        for rule in self._fields:
            self.add_children(output, rule, row[rule.row_key], row_id)
        target_id = format_target_id(row_id)
        output.ledger.append(ledger_tuple(self.collection.name, source.source_id, target_id, "loaded", loaded.residue))
        if self.collection.unique:
            output.uniques.append(tuple(row[column] for column in self.collection.unique))
        if self._lister is not None:
            output.members.append((row[self._lister], objectid_in(source.source_id)))
        for column in self.collection.probes:
            text = row[column]
            if text is not None and len(text) * 4 > PROBED_BYTES and len(text.encode()) > PROBED_BYTES:
                output.probes.append((len(output.rows) - 1, column, text))

    def add_children(self, output: Output, rule: Children, rows: Iterable[Row], parent_id: Any) -> None:
        """Add the rows of the elements of a field to the row that was added last, with the rows of their elements."""
        add_child_tuples(output, child_tuples(self.children, rule, rows, parent_id))

    def add_reject(self, output: Output, source_id: bytes, raw: bytes, reject: Reject) -> None:
        """Add a rejected document."""
        name = self.collection.name
        if reject.reason not in REASONS:
            raise UsageError(
                f"the mapping of {name} rejects a document for the reason {reject.reason!r}, which is not declared",
                hint="Declare it in the package of the mappings: migrator.findings.declare.",
            )
        output.outcomes.append(ledger_tuple(name, source_id, None, "rejected", None))
        output.rejects.append(write_row((name, source_id, reject.reason, reject.detail, raw), REJECT_KINDS))

    def add_findings(self, output: Output, index: int, findings: Iterable[Finding]) -> None:
        """Add the findings of the document with this index."""
        output.findings += [(index, finding_tuple(finding)) for finding in findings]

    def link_tuples(self, document: Document, row: Row) -> list[bytes]:
        """Return the `Link` arrays of a document: which row lists which, and at which position."""
        lister = format_target_id(row[self.collection.key.column])
        return [
            write_row((name, lister, format_target_id(listed), position), LINK_KINDS)
            for name, link in zip(self.collection.link_names, self.collection.links, strict=True)
            for position, listed in listed_ids(link.key, document.get(link.path))
        ]


def add_child_tuples(output: Output, tuples: Iterable[tuple[str, bytes]]) -> None:
    """Add the rows of elements, each with its table, to the row that was added last."""
    index = len(output.rows) - 1
    for table, data in tuples:
        output.children.setdefault(table, []).append((index, data))


def child_tuples(
    encoders: Mapping[str, ChildEncoder], rule: Children, rows: Iterable[Row], parent_id: Any
) -> Iterator[tuple[str, bytes]]:
    """Yield the table and the encoded row of elements, each followed by the rows of its own elements."""
    table = name_of(rule.table)
    encoder = encoders[table]
    for row in rows:
        row_id = encoder.id_of(parent_id, row)
        yield table, encoder.row_tuple(row, parent_id, row_id)
        for nested in rule.nested:
            yield from child_tuples(encoders, nested, row[nested.row_key], row_id)


class ChildEncoder:
    """Encodes the rows of one table whose rows belong to the rows of documents."""

    def __init__(self, rule: Children) -> None:
        self._rule, self._path = rule, rule.path.encode()
        self.kinds = [(column.name, kind_of_column(column)) for column in child_columns(rule)]
        self.columns, self._kinds = [name for name, _ in self.kinds], [kind for _, kind in self.kinds]

    def id_of(self, parent_id: Any, row: Row) -> bytes | None:
        """Return the UUID of a row of an element; None if its table has no such key."""
        if self._rule.key is None:
            return None
        return self.id_at(parent_id, 0 if self._rule.position is None else row[self._rule.position])

    def id_at(self, parent_id: Any, place: int) -> bytes:
        """Return the UUID of the element at a place."""
        parent = parent_id if isinstance(parent_id, bytes) else str(parent_id).encode()
        return element_uuid(parent, self._path, place)

    def row_tuple(self, row: Row, parent_id: Any, row_id: bytes | None) -> bytes:
        """Return a row with the columns in the order of `columns`."""
        own = self._parent_values(parent_id) | {self._rule.key: row_id}
        values = [own[name] if name in own else row.get(name) for name in self.columns]
        return write_row(values, self._kinds)

    def _parent_values(self, parent_id: Any) -> dict[str | None, Any]:
        columns = self._rule.parent_columns
        if len(columns) == 1:
            return {columns[0]: parent_id}
        texts = split_key(parent_id, len(columns))
        kinds = (kind_of_column(self._rule.table.c[name]) for name in columns)
        return {name: parser(kind)(text) for name, kind, text in zip(columns, kinds, texts, strict=True)}


def listed_ids(key: Key, value: Any) -> list[tuple[int, Any]]:
    """Return (position, plain ID) of the items of an array. Empty items are skipped; the residue keeps them."""
    if not isinstance(value, list):
        return []
    return [(position, key.uuid(item)) for position, item in enumerate(value) if item is not None and item != ""]


def remove_loaded(output: Output, rows: AbstractSet[int]) -> None:
    """Remove loaded documents by their index in `rows`: their rows, ledger rows, findings and links."""
    documents = {output.indexes[row] for row in rows}
    output.findings = [each for each in output.findings if each[0] not in documents]
    output.links = [each for each in output.links if each[0] not in documents]
    kept = [row for row in range(len(output.rows)) if row not in rows]
    for name in ("rows", "ledger", "ids", "indexes", "uniques", "members"):
        values = getattr(output, name)
        if values:
            setattr(output, name, [values[row] for row in kept])
    places = {row: place for place, row in enumerate(kept)}
    for table, tuples in output.children.items():
        output.children[table] = [(places[row], each) for row, each in tuples if row in places]


def add_archived(output: Output, collection: str, source_id: bytes, raw: bytes) -> None:
    """Add an archived document."""
    output.outcomes.append(ledger_tuple(collection, source_id, None, "archived", None))
    output.archive.append(write_row((collection, source_id, raw), ARCHIVE_KINDS))


def finding_tuple(finding: Finding) -> bytes:
    """Return a row of the findings."""
    if finding.code not in FINDINGS:
        raise UsageError(
            f"the mapping of {finding.collection} records the finding {finding.code!r}, which is not declared",
            hint="Declare it in the package of the mappings: migrator.findings.declare.",
        )
    values = (finding.collection, finding.code, severity_of(finding.code), finding.source_id, finding.detail)
    return write_row(values, FINDING_KINDS)
