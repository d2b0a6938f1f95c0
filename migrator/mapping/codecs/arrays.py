"""The codec of array columns. Plain values are lists of the plain values of the items, with None for NULL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migrator.documents.jsonb import Note
from migrator.mapping.codecs.base import UNREADABLE, Codec


@dataclass(frozen=True, slots=True)
class Array:
    """Array ↔ array of one dimension. If an item cannot be read, the whole field cannot."""

    item: Codec

    def read(self, value: Any, note: Note, path: str) -> Any:
        if not isinstance(value, list):
            return UNREADABLE
        items = [None if each is None else self.item.read(each, note, path) for each in value]
        return UNREADABLE if any(each is UNREADABLE for each in items) else items

    def write(self, plain: list[Any]) -> Any:
        items = [None if each is None else self.item.write(each) for each in plain]
        return UNREADABLE if any(each is UNREADABLE for each in items) else items
