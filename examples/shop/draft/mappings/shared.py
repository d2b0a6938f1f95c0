"""Definitions that several mappings share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migrator.documents.codec import Document
from migrator.documents.jsonb import Note
from migrator.mapping.codecs import UNREADABLE, ObjectIdText
from migrator.mapping.context import ABSENT, Context, Match, Rejected
from migrator.mapping.references import Key, Reference

CATEGORIES = Key(path="_id", collection="categories")
CUSTOMERS = Key(path="_id", collection="customers")
PRODUCTS = Key(path="_id", collection="products")

Restore = Callable[[Any], Any]
AS_HEX = ObjectIdText(as_text=True).write
AS_OBJECTID = ObjectIdText().write


@dataclass(frozen=True, slots=True)
class Id:
    """The key of a document of another collection, which need not exist ↔ its row's key."""

    key: Key
    restore: Restore

    def read(self, value: Any, note: Note, path: str) -> Any:
        plain = self.key.identify(value)
        return UNREADABLE if plain is None else plain

    def write(self, plain: Any) -> Any:
        return self.restore(plain)


def reference(
    path: str,
    column: str,
    key: Key,
    restore: Restore,
    *,
    required: bool = False,
) -> Reference:
    """Return the rule of a field that names a document of another collection.

    If that document does not exist, the column is NULL, with a finding. If the column is
    required, the document is rejected instead.
    """

    def handle_missing(context: Context, document: Document) -> Match:
        if required:
            raise Rejected("orphan", path)
        if document.get(path) not in (None, ""):
            context.note("dangling_reference", path)
        return Match(None, {})

    def write(plain: Any) -> Any:
        return ABSENT if plain is None else restore(plain)

    return Reference(
        path=path,
        column=column,
        key=key,
        on_missing=handle_missing,
        write=write,
    )
