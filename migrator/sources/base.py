"""What a source is to the engine: collections, and batches of raw BSON in a fixed order. Nothing is decoded here."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCollection:
    """One collection. `documents` and `bytes` (uncompressed BSON) are None where only a full read can tell."""

    name: str
    documents: int | None
    bytes: int | None
    metadata: builtins.bytes | None  # mongodump's <collection>.metadata.json as it is; None where absent
    origin: str | None = None  # where it comes from, if not from the database: a label


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Whole documents of one collection, in the source's order.

    `data` is their BSON, back to back; `count` how many; `start` and `end` are positions in the collection, opaque to
    the engine: a read that begins at a batch's `end` continues right after it. `last` says that the collection (or the
    part that is read) ended here, whole and checked; only then may it count as done (`data` may be empty then).
    Documents, and positions, which may be ids of persons, stay out of its repr: it may end up in somebody's log.
    """

    collection: str
    data: bytes = field(repr=False)
    count: int
    start: str = field(repr=False)
    end: str = field(repr=False)
    last: bool
    part: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A piece of a collection that can be read by itself: from position `start` ('' the collection's begin) up to, and
    without, position `stop` ('' its end). Parts of a collection are numbered from 0, cover it whole, and never overlap.
    """

    collection: str
    number: int
    start: str = field(repr=False)
    stop: str = field(repr=False)


class Source(Protocol):
    """A database to migrate from. Errors: `SourceError`, `DamagedSourceError`."""

    @property
    def label(self) -> str:
        """How to name it in output: no secrets."""

    @property
    def database(self) -> str:
        """The database's name."""

    @property
    def left_out(self) -> Mapping[str, str]:
        """What is in the source but is no collection to migrate: name → reason."""

    @property
    def smallest_part(self) -> int:
        """Bytes of a part: what is smaller is sooner read with its neighbour than by itself."""

    def collections(self) -> list[SourceCollection]:
        """All collections, sorted by name; views and `system.*` left out."""

    def fingerprint(self) -> str:
        """A hex digest that changes when the source does; cheap, so not over every byte."""

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        """The documents of the collections named in `positions`, each from its position ('' is the start).

        A batch holds at most `documents` documents and about `size` bytes (one larger document still goes whole).
        Batches of several collections may be interleaved; of one collection they come in order, the last one marked.
        """
        ...

    def split(self, collection: str, size: int) -> list[Partition] | None:
        """Parts of about `size` bytes, or None where the collection can only be read as a stream (`read`).

        The engine keeps the parts in its journal: they are asked for once, and read later, perhaps in other processes.
        """
        ...

    def reads_parts(self, collection: str) -> bool:
        """Whether `read_part` can read any part of it, though `split` may not know where to split."""
        ...

    def read_part(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        """The documents of a part from `position` on: its `start`, or the `end` of one of its batches.

        Batches as from `read`, with the part's number; the last of the part is marked `last`, and may be empty.
        """
        ...

    def share_read(self) -> float | None:
        """How much of the latest `read` is done, from 0 to 1, as far as that can be told: for progress."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class LiveProbe(Protocol):
    """A source that is a server with other work to do, too."""

    def begin(self) -> None:
        """Begins to ask for what `collections` says, beside whatever else is to be done."""
        ...

    def latency(self) -> float:
        """Seconds that it takes to answer a small question now."""
        ...
