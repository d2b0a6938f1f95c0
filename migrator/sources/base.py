"""The interface of a source: collections, and batches of raw BSON in a fixed order. Nothing is decoded here."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

# What changes when a collection is written to: `documents`, `bytes`, `last_id` (hex), and `writes` that the server
# `process` counted. None: unknown. It is stored as JSON.
CollectionState = Mapping[str, int | str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCollection:
    """One collection. `documents` and `bytes` (uncompressed BSON) are None where only a full read determines them."""

    name: str
    documents: int | None
    bytes: int | None
    metadata: builtins.bytes | None  # mongodump's <collection>.metadata.json, unchanged; None if it does not exist
    origin: str | None = None  # label of the auxiliary source; None for a collection of the MongoDB database


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Complete documents of one collection, in the order of the source.

    `data` is their concatenated BSON, `count` their number. `start` and `end` are positions in the collection, opaque
    to the engine: a read from `end` continues with the next document. `last` is true if the collection (or the
    partition) ends here and was read and checked completely; `data` may be empty then. Documents and positions can
    contain personal data, so the repr, which may be logged, leaves them out.
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
    """A range of a collection that can be read independently: from `start` (inclusive, '' the first document) to `stop`
    (exclusive, '' the end). Partitions are numbered from 0, cover the collection and do not overlap.
    """

    collection: str
    number: int
    start: str = field(repr=False)
    stop: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSample:
    """Vectors as documents hold them, and the type of their column; "" if they are not in a database."""

    values: tuple[Any, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a change stream continues. `token`: BSON of the resume token; `after_invalidate`: whether of an
    invalidate event."""

    token: bytes
    after_invalidate: bool = False


class ChangingSource(Protocol):
    """A live database whose documents change while it is read. Raises: `SourceError`."""

    def find_documents(self, collection: str, source_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the newest documents with these source IDs: source ID → BSON; without those that do not exist."""
        ...

    def read_ids(self, collection: str) -> Iterator[bytes]:
        """Yield the source IDs of all documents of a collection."""
        ...

    def list_collections(self) -> list[str]:
        """Return the names of the collections that exist now."""
        ...

    def names_of(self, collection: str) -> tuple[str, ...]:
        """Return the names that a collection of the database has in the mappings: its own, if no mappings share it."""
        return (collection,)

    def name_of(self, collection: str, raw: bytes) -> str:
        """Return that of the names under which a document (BSON) is migrated."""
        return collection

    def current_position(self) -> Position:
        """Return the position in the change stream from which all later changes are received."""
        ...

    def server_time(self) -> datetime:
        """Return the time of the server, in UTC."""
        ...

    def describe_collection(self, name: str) -> SourceCollection | None:
        """Return the description of a collection; None if it does not exist."""
        ...


class Source(Protocol):
    """A database to migrate from. Implementations inherit from this class; the methods with a body are defaults.

    Raises: `SourceError`, `DamagedSourceError`.
    """

    @property
    def label(self) -> str:
        """Return the name for messages, without secrets."""
        ...

    @property
    def database(self) -> str:
        """Return the name of the database."""
        ...

    @property
    def left_out(self) -> Mapping[str, str]:
        """Return what the source contains but the migration does not read: name → reason."""
        ...

    @property
    def min_partition_bytes(self) -> int:
        """Return the minimum size of a partition in bytes; smaller partitions cost more than they save."""
        ...

    @property
    def is_live(self) -> bool:
        """Return whether the source is a server that other clients use at the same time."""
        return False

    @property
    def changing(self) -> ChangingSource | None:
        """Return the access to documents that change; None if the source is not live."""
        return None

    def prefetch_collections(self) -> None:
        """Start to read what `collections` returns, in the background. Sources that read it at once do nothing."""
        return  # a default, not an abstract method

    def latency(self) -> float:
        """Return the seconds that a live source needs now to answer a small query; 0 for a source that is not live."""
        return 0.0

    def measure(self) -> Mapping[str, CollectionState]:
        """Return the state of each collection of a live source now, for comparisons; no error if it is unknown."""
        return {}

    def collections(self) -> list[SourceCollection]:
        """Return all collections, sorted by name, without views and `system.*`."""
        ...

    def fingerprint(self) -> str:
        """Return a hex digest that changes when the source changes. It does not cover every byte, so it is fast."""
        ...

    def auxiliary_fingerprints(self) -> dict[str, str]:
        """Return the fingerprints of the auxiliary sources, by section of migrate.toml."""
        return {}

    def sample_vectors(self, collection: str, limit: int) -> VectorSample:
        """Return at most `limit` vectors of a collection of an auxiliary source that is configured to be read with
        them."""
        return VectorSample()

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        """Yield the documents of the collections in `positions`, each from its position ('' is the start).

        A batch has at most `documents` documents and about `size` bytes; a larger document is one batch. Batches of
        several collections can be interleaved; those of one collection are in order, and the final one is marked
        `last`.
        """
        ...

    def count(self, collection: str) -> int | None:
        """Return the number of documents of a collection, counted now; None if they must be read for it."""
        return None

    def split(self, collection: str, size: int) -> list[Partition] | None:
        """Return partitions of about `size` bytes; None if the collection can only be read as a stream (`read`).

        The engine stores the partitions in its journal. It calls `split` once and reads the partitions later, perhaps
        in other processes.
        """
        ...

    def prefetch_partitions(self, sizes: Mapping[str, int]) -> None:
        """Start to find what `split` returns for these collections and sizes, in this order, in the background.

        Sources that do not read for it do nothing.
        """
        return  # a default, not an abstract method

    def reads_partitions(self, collection: str) -> bool:
        """Return whether `read_partition` can read any range of the collection, even if `split` cannot find
        boundaries."""
        ...

    def read_partition(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        """Yield the documents of a partition from `position`: its `start`, or the `end` of one of its batches.

        Batches are as from `read`, with the partition's number; the final one is marked `last` and may be empty.
        """
        ...

    def share_read(self) -> float | None:
        """Return the progress of the latest `read` from 0 to 1, or None if it is unknown."""
        ...

    def close(self) -> None: ...
