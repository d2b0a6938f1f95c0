"""What a batch of documents becomes, as bytes for binary COPY: rows, ledger, rejects, archive, findings, links.

Row and ledger row of a loaded document stand at the same place of `rows` and `ledger`, so that a document that turns
out to claim what another has can still be taken out. No SQL here.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from migrator.documents.codec import Document
from migrator.findings import severity_of
from migrator.ids import uuid_text
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.references import Key
from migrator.postgres import copy_format
from migrator.translation.outcomes import Archive, Finding, Loaded, Reject

LEDGER_KINDS = ("text", "bytea", "text", "text", "bytea")
REJECT_KINDS = ("text", "bytea", "text", "text", "bytea")
ARCHIVE_KINDS = ("text", "bytea", "bytea")
FINDING_KINDS = ("text", "text", "text", "bytea", "text")
LINK_KINDS = ("text", "text", "text", "integer")
MEMBER_KINDS = ("text", "text", "bytea")

# A text shorter than this cannot overflow a tsvector (1 MiB): a lexeme takes at most eight bytes for each of its own.
PROBED_BYTES = 100_000


@dataclass(slots=True)
class Output:
    """Encoded tuples of one batch. `ids`, `places` (the document's place in the batch), `uniques` and `members` go with
    `rows`; the latter two only where a collection has them."""

    rows: list[bytes] = field(default_factory=list)
    ledger: list[bytes] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    uniques: list[tuple[Any, ...]] = field(default_factory=list)
    members: list[tuple[Any, bytes | None]] = field(default_factory=list)  # (plain id of the lister, ObjectId or None)
    probes: list[tuple[int, str, str]] = field(default_factory=list)  # (index into rows, column, text)
    outcomes: list[bytes] = field(default_factory=list)  # ledger tuples of what was not loaded
    rejects: list[bytes] = field(default_factory=list)
    archive: list[bytes] = field(default_factory=list)
    findings: list[tuple[int, bytes]] = field(default_factory=list)  # (place, tuple)
    links: list[tuple[int, bytes]] = field(default_factory=list)  # (place, tuple)


def format_target_id(plain: Any) -> str:
    """A plain id as the ledger spells it."""
    return uuid_text(plain) if isinstance(plain, bytes) else str(plain)


def objectid_in(source_id: bytes) -> bytes | None:
    """The 12 bytes of an ObjectId in BSON `{"_id": …}`; None for an `_id` of another type."""
    return source_id[9:21] if len(source_id) == 22 and source_id[4] == 7 else None


def member_tuples(collection: str, members: Iterable[tuple[Any, bytes | None]]) -> list[bytes]:
    """What a batch's rows tell of the lists they stand in: one tuple for every row that lists some of them."""
    listed: dict[Any, list[bytes]] = {}
    for lister, objectid in members:
        if objectid is not None:
            listed.setdefault(lister, []).append(objectid)
    return [
        copy_format.write_row((collection, format_target_id(who), b"".join(ids)), MEMBER_KINDS)
        for who, ids in listed.items()
    ]


def ledger_tuple(
    collection: str, source_id: bytes, target_id: str | None, outcome: str, residue: bytes | None
) -> bytes:
    return copy_format.write_row((collection, source_id, target_id, outcome, residue), LEDGER_KINDS)


class Encoder:
    """Puts results of the translation into an `Output`. `lister`: the column with the row that lists a row's `_id`."""

    def __init__(self, collection: Collection, lister: str | None = None) -> None:
        self.collection = collection
        self._lister = lister
        kinds = copy_format.kinds_of_table(collection.table)
        self.columns = [name for name, _ in kinds]
        self.kinds = [kind for _, kind in kinds]

    def row_tuple(self, row: Row) -> bytes:
        """A row as binary COPY wants it, columns in the table's order; columns no rule fills are NULL."""
        return copy_format.write_row([row.get(name) for name in self.columns], self.kinds)

    def add(self, output: Output, place: int, source_id: bytes, raw: bytes, result: Any, document: Document) -> None:
        """One translated document. `raw` is its BSON, `place` its place in the batch."""
        if isinstance(result, Loaded):
            self._add_row(output, place, source_id, result)
            output.links += [(place, link) for link in self.link_tuples(document, result.row)]
        elif isinstance(result, Reject):
            self.add_reject(output, source_id, raw, result)
        else:
            assert isinstance(result, Archive)  # the three outcomes there are
            self.add_archive(output, source_id, raw)

    def _add_row(self, output: Output, place: int, source_id: bytes, loaded: Loaded) -> None:
        row = loaded.row
        row_id = row[self.collection.key.column]
        output.ids.append(row_id)
        output.places.append(place)
        output.rows.append(self.row_tuple(row))
        output.ledger.append(
            ledger_tuple(self.collection.name, source_id, format_target_id(row_id), "loaded", loaded.residue)
        )
        if self.collection.unique:
            output.uniques.append(tuple(row[column] for column in self.collection.unique))
        if self._lister is not None:
            output.members.append((row[self._lister], objectid_in(source_id)))
        for column in self.collection.probes:
            text = row[column]
            if text is not None and len(text) * 4 > PROBED_BYTES and len(text.encode()) > PROBED_BYTES:
                output.probes.append((len(output.rows) - 1, column, text))

    def add_reject(self, output: Output, source_id: bytes, raw: bytes, reject: Reject) -> None:
        name = self.collection.name
        output.outcomes.append(ledger_tuple(name, source_id, None, "rejected", None))
        output.rejects.append(copy_format.write_row((name, source_id, reject.reason, reject.detail, raw), REJECT_KINDS))

    def add_archive(self, output: Output, source_id: bytes, raw: bytes) -> None:
        add_archived(output, self.collection.name, source_id, raw)

    def add_findings(self, output: Output, place: int, findings: Iterable[Finding]) -> None:
        output.findings += [(place, finding_tuple(finding)) for finding in findings]

    def link_tuples(self, document: Document, row: Row) -> list[bytes]:
        """The document's `Link` arrays: who lists whom, at which place."""
        lister = format_target_id(row[self.collection.key.column])
        return [
            copy_format.write_row(
                (f"{self.collection.name}.{link.path}", lister, format_target_id(listed), position), LINK_KINDS
            )
            for link in self.collection.links
            for position, listed in listed_ids(link.key, document.get(link.path))
        ]


def listed_ids(to: Key, value: Any) -> list[tuple[int, Any]]:
    """(position, plain id) of what an array lists; what is no id is passed over (it stays in the residue)."""
    if not isinstance(value, list):
        return []
    return [(position, to.uuid(item)) for position, item in enumerate(value) if item is not None and item != ""]


def drop(output: Output, indexes: AbstractSet[int]) -> None:
    """Takes loaded documents out: their rows, ledger rows, findings and links."""
    places = {output.places[index] for index in indexes}
    output.findings = [each for each in output.findings if each[0] not in places]
    output.links = [each for each in output.links if each[0] not in places]
    keep = [index for index in range(len(output.rows)) if index not in indexes]
    for name in ("rows", "ledger", "ids", "places", "uniques", "members"):
        values = getattr(output, name)
        if values:
            setattr(output, name, [values[index] for index in keep])


def add_archived(output: Output, collection: str, source_id: bytes, raw: bytes) -> None:
    output.outcomes.append(ledger_tuple(collection, source_id, None, "archived", None))
    output.archive.append(copy_format.write_row((collection, source_id, raw), ARCHIVE_KINDS))


def finding_tuple(finding: Finding) -> bytes:
    values = (finding.collection, finding.code, severity_of(finding.code), finding.source_id, finding.detail)
    return copy_format.write_row(values, FINDING_KINDS)
