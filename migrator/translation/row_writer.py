"""The end of the translation of a document: its row, its row of the ledger with the residue, and their place in the
output.

`RowWriter` defines what is written. `native.RowWriter` does the same, compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from migrator.documents.codec import encode_embedded
from migrator.postgres import copy_format
from migrator.translation import native
from migrator.translation.encoder import Output
from migrator.translation.memo import Entry
from migrator.translation.projection import Projections
from migrator.translation.residue_fields import Names, Remainders, ResidueHeaderCache, VariantNumbers, pack_header
from migrator.translation.tuple_layout import Parts, TuplePacker


class AnyRowWriter(Protocol):
    """Adds translated documents to outputs."""

    def begin(self, projections: Projections, output: Output, first: int) -> Callable[..., None]:
        """Return the function that adds documents of a chunk to an output: `add` of `RowWriter.begin`."""
        ...


def row_writer_of(row: Parts, ledger: Parts) -> AnyRowWriter:
    """Return the fastest writer for the layouts of a row and of its row of the ledger."""
    if native.RowWriter is None or native.TuplePacker is None:
        return RowWriter(row, ledger)
    packers = (native.TuplePacker(each, shift=copy_format.EPOCH_SHIFT) for each in (row, ledger))
    return native.RowWriter(*packers, pack_header=pack_header, encode=encode_embedded)


class RowWriter:
    """Adds translated documents to outputs, in Python."""

    def __init__(self, row: Parts, ledger: Parts) -> None:
        self._pack_row, self._pack_ledger = TuplePacker(row), TuplePacker(ledger)
        self._pack_header = ResidueHeaderCache().pack

    def begin(self, projections: Projections, output: Output, first: int) -> Callable[..., None]:
        """Return the function that adds documents of a chunk to an output.

        Its arguments: the index of the document in the chunk, its ObjectId, the plain ID of the row, what the ledger
        stores of this ID, the number of fields that no rule restores, the entry of the memo, the names of the fields
        with another value than restored, and of those to unset, variants, remainders, the values of the row's layout.
        """

        def add(
            index: int,
            objectid: bytes,
            key: Any,
            target: Any,
            others: int,
            entry: Entry,
            changed: Names,
            unset: Names,
            variants: VariantNumbers,
            remainders: Remainders,
            values: tuple[Any, ...],
        ) -> None:
            output.rows.append(self._pack_row(*values))
            is_known = not others and changed is entry[0] and unset is entry[1] and entry[2] is not None
            if is_known and not variants and not remainders:
                residue = entry[2]  # the bytes that the memo has
            else:
                header = self._pack_header(unset, variants, remainders) if unset or variants or remainders else b""
                residue = projections.residue(index, changed, header)
            output.ledger.append(self._pack_ledger(objectid, target, residue))
            output.ids.append(key)
            output.indexes.append(first + index)

        return add
