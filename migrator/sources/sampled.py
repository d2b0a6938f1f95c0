"""A source with only the first documents of each collection, for `plan --sample`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from migrator.sources.base import Batch, Partition, Source, SourceCollection


class SampledSource(Source):
    """The first `documents` documents of each collection of `source`."""

    def __init__(self, source: Source, documents: int) -> None:
        self._source, self._documents = source, documents

    @property
    def label(self) -> str:
        return self._source.label

    @property
    def database(self) -> str:
        return self._source.database

    @property
    def left_out(self) -> Mapping[str, str]:
        return self._source.left_out

    @property
    def min_partition_bytes(self) -> int:
        return self._source.min_partition_bytes

    def collections(self) -> list[SourceCollection]:
        return self._source.collections()

    def fingerprint(self) -> str:
        return self._source.fingerprint()

    def share_read(self) -> float | None:
        return self._source.share_read()

    def split(self, collection: str, size: int) -> list[Partition] | None:
        return None

    def reads_partitions(self, collection: str) -> bool:
        return False

    def read_partition(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        raise NotImplementedError("a sample has no partitions")

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        """Yield the first batch of each collection, marked as its last."""
        for name, position in positions.items():
            for batch in self._source.read({name: position}, documents=self._documents, size=size):
                yield replace(batch, part=0, last=True)
                break

    def close(self) -> None:
        self._source.close()
