"""Translates changed documents with the compiled function of a run, and compares them with their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.documents.residue import raw_document_of
from migrator.following.interests import wanting_lookups, wants_of_loaded
from migrator.mapping.collection import Collection
from migrator.postgres.copy_format import split_row
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.rows.encoded import Fields, RowFormat, read_fields
from migrator.rows.store import RowStore
from migrator.state.wants import Wanted
from migrator.translation.encoder import Output, format_target_id
from migrator.translation.interpreter import constants_of

Present = Mapping[bytes, tuple[Fields, bytes | None]]  # source_id → fields and residue of a row
LinkItem = tuple[str, str, int]  # collection and path of the list, listed target ID, position
_RESIDUE = 4  # its place in a tuple of the ledger
_CODE, _DETAIL = 1, 4  # their places in a tuple of the findings


class Columns:
    """The columns of a collection: all, those that documents fill, and those of the rows that are read."""

    def __init__(self, collection: Collection, constants: Mapping[str, Any]) -> None:
        names = [column.name for column in collection.columns]
        filled = {name for rule in (collection.key, *collection.rules) for name in rule.columns} | constants.keys()
        self.new = RowFormat(collection, names)
        self.filled = [name for name in names if name in filled]
        self.read = [name for name in names if name not in collection.filled_later]
        self.old = RowFormat(collection, self.read)
        self.compared = frozenset(self.filled) & frozenset(self.read)
        self.unknown = frozenset(self.filled) - self.compared  # a column that is not read may have changed


@dataclass(frozen=True, slots=True)
class Change:
    """A document that can be loaded, with its translation, and its present row and residue (None: it has no row).

    `row`, `ledger`, `findings` and `link_tuples` are encoded. `links`: what the document lists.
    """

    source_id: bytes
    target_id: str
    row: bytes
    ledger: bytes
    residue: bytes | None
    wants: frozenset[Wanted]
    columns: Columns = field(repr=False, compare=False)
    fields: Fields = field(repr=False)
    findings: tuple[bytes, ...] = ()
    link_tuples: tuple[bytes, ...] = ()
    links: frozenset[LinkItem] = frozenset()
    old_fields: Fields | None = field(default=None, repr=False)
    old_residue: bytes | None = None

    def value(self, column: str) -> Any:
        """Return the plain value of a column."""
        return self.columns.new.value(self.fields, column)

    def keeps(self, column: str) -> bool:
        """Return whether a column has the value of the present row. Columns that documents do not fill stay."""
        if column in self.columns.compared:
            return not self._differs(column)
        return column not in self.columns.unknown

    def _differs(self, column: str) -> bool:
        assert self.old_fields is not None  # called for updates
        new, old = self.columns.new, self.columns.old
        return new.differs(column, self.fields, self.old_fields[old.place(column)])

    @property
    def changes_row(self) -> bool:
        """Whether a column has another value than in the present row."""
        return bool(self.columns.unknown) or any(map(self._differs, self.columns.compared))

    @property
    def finding_keys(self) -> set[tuple[str, str]]:
        """Code and detail of the findings."""
        found = set()
        for each in self.findings:
            parts = split_row(each)
            found.add(((parts[_CODE] or b"").decode(), (parts[_DETAIL] or b"").decode()))
        return found


def read_present(rows: RowStore, collection: Collection, targets: list[str]) -> Present:
    """Return the fields and the residues of rows."""
    columns = [column.name for column in collection.columns if column.name not in collection.filled_later]
    found = read_fields(rows, collection, columns, targets) if targets else ()
    return {source_id: (fields, residue) for source_id, residue, fields in found}


def translate_changes(
    resolver: ConflictResolver, documents: Mapping[bytes, bytes], known: Container[bytes], present: Present
) -> Iterator[Change]:
    """Yield those documents (source_id → BSON) that can be loaded, and that have a row or had no outcome before.

    `known`: those that have an outcome. `present`: their rows, from `read_present`. Documents that only their own bytes
    can restore are not yielded.
    """
    collection, translator = resolver.collection, resolver.writer.translator
    columns = Columns(collection, constants_of(collection, resolver.writer.options))
    output, references, asking = translator.translate_with_lookups(b"".join(documents.values()))
    findings, links = _by_document(output.findings), _by_document(output.links)
    source_ids, wanting = list(documents), wanting_lookups(collection, references)
    asks = bool(wanting) or collection.listed_by is not None
    for row, entry, row_id, index in zip(output.rows, output.ledger, output.ids, output.indexes, strict=True):
        source_id, document = source_ids[index], asking[index]
        residue = split_row(entry)[_RESIDUE]
        if (source_id in known and source_id not in present) or raw_document_of(residue) is not None:
            continue
        assert document is not None  # it was translated
        wanted = wants_of_loaded(collection, document, wanting) if asks else ()
        old_fields, old_residue = present.get(source_id, (None, None))
        yield Change(
            source_id=source_id,
            target_id=format_target_id(row_id),
            row=row,
            ledger=entry,
            residue=residue,
            wants=frozenset(wanted),
            columns=columns,
            fields=split_row(row),
            findings=tuple(findings.get(index, ())),
            link_tuples=tuple(links.get(index, ())),
            links=frozenset(map(_link_item, links.get(index, ()))),
            old_fields=old_fields,
            old_residue=old_residue,
        )


def _by_document(tuples: list[tuple[int, bytes]]) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = defaultdict(list)
    for index, each in tuples:
        found[index].append(each)
    return found


def _link_item(encoded: bytes) -> LinkItem:
    path, _, listed, position = split_row(encoded)
    return (path or b"").decode(), (listed or b"").decode(), int.from_bytes(position or b"")


def output_of(changes: list[Change]) -> Output:
    """Return the tuples of changes, to be copied."""
    output = Output()
    for index, each in enumerate(changes):
        output.rows.append(each.row)
        output.ledger.append(each.ledger)
        output.findings += [(index, finding) for finding in each.findings]
        output.links += [(index, link) for link in each.link_tuples]
    return output
