"""A source that passes everything on to another source. Its subclasses change some of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.sources.base import (
    Batch,
    ChangingSource,
    CollectionState,
    Partition,
    Source,
    SourceCollection,
    VectorSample,
)


class WrappedSource(Source):
    """Passes everything on to `main`."""

    def __init__(self, main: Source) -> None:
        self._main = main

    @property
    def label(self) -> str:
        return self._main.label

    @property
    def database(self) -> str:
        return self._main.database

    @property
    def left_out(self) -> Mapping[str, str]:
        return self._main.left_out

    @property
    def min_partition_bytes(self) -> int:
        return self._main.min_partition_bytes

    @property
    def is_live(self) -> bool:
        return self._main.is_live

    @property
    def changing(self) -> ChangingSource | None:
        return self._main.changing

    def prefetch_collections(self) -> None:
        self._main.prefetch_collections()

    def latency(self) -> float:
        return self._main.latency()

    def measure(self) -> Mapping[str, CollectionState]:
        return self._main.measure()

    def collections(self) -> list[SourceCollection]:
        return self._main.collections()

    def fingerprint(self) -> str:
        return self._main.fingerprint()

    def auxiliary_fingerprints(self) -> dict[str, str]:
        return self._main.auxiliary_fingerprints()

    def sample_vectors(self, collection: str, limit: int) -> VectorSample:
        return self._main.sample_vectors(collection, limit)

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        return self._main.read(positions, documents=documents, size=size)

    def count(self, collection: str) -> int | None:
        return self._main.count(collection)

    def split(self, collection: str, size: int) -> list[Partition] | None:
        return self._main.split(collection, size)

    def prefetch_partitions(self, sizes: Mapping[str, int]) -> None:
        self._main.prefetch_partitions(sizes)

    def reads_partitions(self, collection: str) -> bool:
        return self._main.reads_partitions(collection)

    def read_partition(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        return self._main.read_partition(part, position, documents=documents, size=size)

    def share_read(self) -> float | None:
        return self._main.share_read()

    def close(self) -> None:
        self._main.close()
