"""Predicts which changes of rows cannot be returned: each column of some rows is changed once, and merged.

Nothing is written. Which values an application will write is unknown, so each column gets another value of its type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from migrator.documents.codec import Document
from migrator.documents.residue import raw_document_of
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.tenancy import tenant_column
from migrator.reconciliation.document_writer import DocumentWriter
from migrator.reversing import merge
from migrator.reversing.capture import captured
from migrator.reversing.column_values import change_value
from migrator.reversing.documents import add_elements, find_lost, is_encodable, translate_row
from migrator.reversing.element_changes import change_elements, number_elements
from migrator.rows.rebuild import read_loaded, rebuild_document
from migrator.translation.outcomes import Loaded

SAMPLE = 150  # rows of a collection


@dataclass(slots=True, kw_only=True)
class Returnable:
    """How many changes of a column were tried, and how many of them a document could not hold."""

    collection: str
    tried: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "tried": self.tried.total(),
            "lost": self.lost.total(),
            "columns": {name: [count, self.tried[name]] for name, count in sorted(self.lost.items())},
        }


def rehearse(writer: DocumentWriter, sample: int = SAMPLE) -> Returnable:
    """Change each column of some rows of a collection, and return what could not be returned."""
    collection, rows = writer.collection, writer.rows
    found = Returnable(collection=collection.name)
    if not captured([collection]):
        return found
    query = rows.namespace.sql(
        "SELECT target_id FROM {ledger} WHERE collection = %s AND outcome = 'loaded' ORDER BY md5(target_id) LIMIT %s"
    )
    chosen = [row[0] for row in rows.connection.execute(query, (collection.name, sample))]
    loaded = list(read_loaded(rows, collection, chosen))
    others = [row for _, row, _ in loaded]
    for row in others:
        number_elements(collection.children, row)
    for source_id, row, residue in loaded:
        document = rebuild_document(collection, source_id, row, residue)
        form = None if raw_document_of(residue) is not None else residue
        baseline = partial(translate_row, writer, document, row)
        for name, value in chain(change_columns(collection, row, others), change_elements(collection, row)):
            changed = {**row, **value}
            found.tried[name] += 1
            if not _is_returned(
                writer, merge.propose(collection, document, form, row, changed), row, changed, baseline
            ):
                found.lost[name] += 1
    return found


def _is_returned(
    writer: DocumentWriter, proposals: Iterator[Document], old: Row, row: Row, baseline: Callable[[], Row]
) -> bool:
    kinds = writer.collection.kinds
    for proposal in proposals:
        if not is_encodable(proposal):
            continue
        result, _ = writer.translation([proposal]).translate(proposal, row[writer.collection.key.column])
        if isinstance(result, Loaded):
            losses = find_lost(kinds, old, row, result.row, baseline)
            if not add_elements(losses, writer.collection, old, row, proposal, result.row).columns:
                return True
    return False


def change_columns(collection: Collection, row: Row, others: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    """Yield (column, changes of the row) for each column of a row that an application can change.

    `others`: rows whose references can be used, with the values that they carry.
    """
    constant = {tenant_column(collection.table), collection.key.column}
    for column in collection.columns:
        if column.name in constant or column.name in collection.filled_later:
            continue
        if column.foreign_keys:
            carried = [name for name, here, _, _ in collection.carried_columns if here == column.name]
            choices = (each for each in others if each[column.name] not in (None, row[column.name]))
            donor = next(choices, None)
            if donor is not None:
                yield column.name, {name: donor[name] for name in (column.name, *carried)}
        else:
            value = change_value(column, row[column.name])
            if value is not None:
                yield column.name, {column.name: value}
