"""The table of a `Memo`: what follows from the low-cardinality fields of a document, once for each combination.

Most fields of most documents have one of a few values: flags, versions, kinds, names of models. Rules over such fields,
and over columns of references, run when a combination of values occurs first. Later their columns and their part of
the residue come from the table, as bytes. Which rules these are is decided in optimizer.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from migrator.documents.codec import Document
from migrator.documents.residue import pack_residue, subtract
from migrator.mapping.context import Row
from migrator.postgres import copy_format
from migrator.postgres.native import write_row
from migrator.translation.interpreter import Translation
from migrator.translation.lowering import IMMUTABLE
from migrator.translation.operations import Memo
from migrator.translation.residue_fields import as_field
from migrator.translation.tuple_layout import Column

_MAX_ENTRIES = 10_000
_MAX_LENGTH = 1000  # of the texts of one combination together

Entry = tuple[Any, ...]
EMPTY_ENTRY: Entry = ((), (), copy_format.NULL)


@dataclass(slots=True)
class MemoTable:
    """The entries of one memo.

    An entry has: the fields with a changed value, the fields to unset, the residue field of the ledger for a document
    without other residue (None: not known), the plain values of the columns `used`, and the bytes of each of `runs`,
    which are neighbouring columns of the table. Its key has the projection's key of the low-cardinality fields, then
    the values of the inputs.
    """

    memo: Memo
    used: Sequence[str]
    runs: Sequence[Sequence[Column]]
    entries: dict[Any, Entry] = field(default_factory=dict)

    def learn(self, key: tuple[Any, ...], document: Document, context: Translation) -> Entry | None:
        """Return the entry of a new combination; None if there is a finding, which the interpreter must record.

        Raises: whatever the rules raise.
        """
        known = {name: document[name] for name in self.memo.fields if name in document}
        row = {**context.constants, **dict(zip(self.memo.inputs, key[1:], strict=True))}
        for rule in self.memo.rules:
            rule.to_row(known, row, context)
        if context.notes:
            return None
        parts = [write_row([row.get(name) for name, _ in run], [kind for _, kind in run])[2:] for run in self.runs]
        entry = (*self._residue(known, row), *(row[name] for name in self.used), *parts)
        self._store(key, known, entry)
        return entry

    def _residue(self, document: Document, row: Row) -> Entry:
        restored: Document = {}
        for rule in self.memo.rules:
            rule.to_document(row, restored)
        names = self.memo.restored_fields
        changed, unset = subtract({name: value for name, value in document.items() if name in names}, restored)
        # Several fields are in the order of the document, which is not known here.
        packed = as_field(pack_residue(changed, unset)) if len(changed) < 2 else None
        return tuple(changed), tuple(sorted(unset)), packed

    def _store(self, key: tuple[Any, ...], document: Document, entry: Entry) -> None:
        values = (*document.values(), *key[1:])
        if not IMMUTABLE.issuperset(map(type, values)):
            return
        if sum(len(value) for value in values if isinstance(value, str | bytes)) > _MAX_LENGTH:
            return
        if len(self.entries) >= _MAX_ENTRIES:
            self.entries.clear()
        self.entries[key] = entry
