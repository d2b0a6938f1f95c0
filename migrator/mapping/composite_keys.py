"""The key of a table whose primary key has several columns.

All columns together identify the row of a document. The engine handles them as one value, the text of the key
(`key_texts`), so that a row has one ID in the ledger, in lookups and in records, whatever its key consists of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from migrator.documents.codec import Document
from migrator.mapping.codecs import INDEXABLE_BYTES
from migrator.mapping.context import Context, Lookup, Rejected, Row
from migrator.mapping.key_texts import formatter, join_key, parser, split_key
from migrator.mapping.references import Key
from migrator.postgres.column_kinds import kind_of_column


@dataclass(frozen=True, kw_only=True)
class CompositeKey:
    """The primary key of `table`, of several columns.

    `parts` fill some of the columns from fields, as a `Key` of one column does. Rules, constants and the tenant fill
    the others: each must have a value.
    """

    table: sa.Table = field(hash=False)
    parts: tuple[Key, ...] = ()

    # What the engine asks of every key. The text of the key has no field, and follows from none alone.
    collection = ""
    path = ""
    text = True
    codec = None
    is_derived = False
    lookups: tuple[Lookup, ...] = ()

    @cached_property
    def key_columns(self) -> tuple[str, ...]:
        """The names of the columns of the key, in their order."""
        return tuple(column.name for column in self.table.primary_key.columns)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the columns of the key."""
        return tuple(kind_of_column(self.table.c[name]) for name in self.key_columns)

    @cached_property
    def column(self) -> str:
        """The name under which a row has the text of its key. No column has it."""
        return f"({', '.join(self.key_columns)})"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.columns)

    @property
    def source_paths(self) -> tuple[str, ...]:
        return tuple(path for part in self.parts for path in part.source_paths)

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.restored_fields)

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        for part in self.parts:
            part.to_row(document, row, context)

    def to_document(self, row: Row, document: Document) -> None:
        for part in self.parts:
            part.to_document(row, document)

    def complete(self, row: Row) -> None:
        """Set the text of the key in a row whose columns have been filled.

        Raises: `Rejected` if a column has no value, or if all together are too long for an index.
        """
        values = [row.get(name) for name in self.key_columns]
        text = self.join(*values)
        if text is None:
            missing = next((name for name, value in zip(self.key_columns, values, strict=True) if value is None), None)
            raise Rejected("too_long", self.column) if missing is None else Rejected("missing_required", missing)
        row[self.column] = text

    @cached_property
    def join(self) -> Callable[..., str | None]:
        """The function that returns the text of the key from the values of its columns; None if no row can have it."""
        formats = [self._formatter(name, kind) for name, kind in zip(self.key_columns, self.kinds, strict=True)]

        def join(*values: Any) -> str | None:
            if None in values:
                return None
            text = join_key([write(value) for write, value in zip(formats, values, strict=True)])
            return None if len(text) > INDEXABLE_BYTES // 4 and len(text.encode()) > INDEXABLE_BYTES else text

        return join

    def _formatter(self, name: str, kind: str) -> Callable[[Any], str]:
        if isinstance(self.table.c[name].type, sa.CHAR):
            return lambda plain: str(plain).rstrip(" ")  # as PostgreSQL casts it to text
        return formatter(kind)

    def split(self, text: str) -> tuple[Any, ...]:
        """Return the plain values of the columns of a key, given as text. Raises: `ValueError` if it is none."""
        texts = split_key(text, len(self.kinds))
        return tuple(parser(kind)(each) for kind, each in zip(self.kinds, texts, strict=True))

    def uuid(self, value: Any) -> bytes:
        """Raises: always. The key is no UUID; `mapping.validation` refuses what needs one."""
        raise TypeError(f"the key {self.column} is no UUID")

    def identify(self, value: Any) -> Any:
        """Return None: no value of one field names a row."""
        return None


AnyKey = Key | CompositeKey
