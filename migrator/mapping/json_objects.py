"""The rule of jsonb columns that hold several fields of a document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.documents.codec import Document
from migrator.documents.jsonb import normalize
from migrator.mapping.codecs import JSON, UNREADABLE, Codec
from migrator.mapping.context import ABSENT, Context, Lookup, Row, first_at
from migrator.mapping.rules import FirstCause, set_path


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a `JsonObject`: the paths that are tried in order, and the codec.

    The row restores `paths[0]`, or `restore_path`. `restore_paths` overrides this by the values of the columns
    `JsonObject.restore_by`.
    """

    key: str
    paths: tuple[str, ...]
    codec: Codec = JSON
    restore_path: str | None = None
    restore_paths: Mapping[tuple[Any, ...], str] = field(default_factory=dict, hash=False)

    @property
    def restored_path(self) -> str:
        return self.restore_path or self.paths[0]

    @property
    def restored_paths(self) -> tuple[str, ...]:
        """All paths that the row may restore."""
        return (self.restored_path, *self.restore_paths.values())


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A jsonb column with an object of several fields. Absent and unreadable values are left out; empty is NULL.

    `restore_by` are earlier columns that determine which paths the row restores (`Entry.restore_paths`).
    """

    column: str
    entries: tuple[Entry, ...]
    restore_by: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def source_paths(self) -> tuple[str, ...]:
        return tuple(path for entry in self.entries for path in entry.paths)

    @property
    def restored_fields(self) -> tuple[str, ...]:
        paths = (path for entry in self.entries for path in entry.restored_paths)
        return tuple(dict.fromkeys(path.split(".")[0] for path in paths))

    @property
    def fields(self) -> tuple[str, ...]:
        """The top-level fields that determine the result in both directions."""
        return tuple(dict.fromkeys([*(path.split(".")[0] for path in self.source_paths), *self.restored_fields]))

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        found = {}
        for entry in self.entries:
            value, path = first_at(document, entry.paths)
            if value is ABSENT:
                continue
            cause = FirstCause(context.note)
            plain = entry.codec.read(value, cause, path)
            if plain is UNREADABLE:
                cause.explain(path, value)
            else:
                found[entry.key] = plain
        row[self.column] = normalize(found) if found else None

    def to_document(self, row: Row, document: Document) -> None:
        found = row[self.column] or {}
        values = tuple(row[name] for name in self.restore_by) if found else ()
        for entry in self.entries:
            if entry.key in found:
                path = entry.restore_paths.get(values, entry.restored_path)
                set_path(document, path, entry.codec.write(found[entry.key]))
