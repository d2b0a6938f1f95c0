"""What all codecs have in common."""

from __future__ import annotations

from typing import Any, Final, Protocol

from migrator.documents.jsonb import Note


class Unreadable:
    """The result of `read` for a value that it cannot convert."""


UNREADABLE: Final = Unreadable()


class Codec(Protocol):
    """A pair of conversions. `write(read(v))` is v for the usual values of the source; others need a residue."""

    def read(self, value: Any, note: Note, path: str) -> Any: ...

    def write(self, plain: Any) -> Any: ...
