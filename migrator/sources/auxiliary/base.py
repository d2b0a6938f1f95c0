"""The interface of an auxiliary source, and `CompositeSource`, which adds auxiliary collections to a MongoDB source.

An auxiliary source yields BSON documents in a fixed order; a position is the number of documents before it. The
coordinator reads such a collection as a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from migrator.errors import UsageError
from migrator.sources.base import Batch, Partition, Source, SourceCollection, VectorSample
from migrator.sources.wrapped import WrappedSource

# Fields of documents that were not read as they are: the original text, and why the document cannot be read at all.
ORIGINAL, UNREADABLE = "original_json", "unreadable"
# The vector of a document, if it is to be loaded; else whether the source has one.
VECTOR, OMITTED = "embedding", "vector_omitted"


class Origin(NamedTuple):
    """The collection that an auxiliary source provides, and its section of migrate.toml."""

    collection: str
    section: str


class AuxiliarySource(Protocol):
    """One collection that is not in the MongoDB database. Raises: `SourceError`, `DamagedSourceError`."""

    name: str
    section: str  # of migrate.toml
    label: str  # no secrets

    def fingerprint(self) -> str:
        """Return a hex digest that changes when the documents change."""
        ...

    def read(self, skip: int) -> Iterator[bytes]:
        """Yield the documents in their order, as BSON, without the first `skip`."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class VectorSource(Protocol):
    """An auxiliary source whose documents may have vectors."""

    def sample_vectors(self, limit: int) -> VectorSample:
        """Return the first `limit` vectors, in no defined order."""
        ...


class CompositeSource(WrappedSource):
    """A MongoDB source with the collections of auxiliary sources.

    Raises: `UsageError` if a collection exists in both.
    """

    def __init__(self, main: Source, auxiliary: Sequence[AuxiliarySource]) -> None:
        super().__init__(main)
        self._auxiliary = {each.name: each for each in auxiliary}
        self._share_known = True
        duplicates = {each.name for each in main.collections()} & self._auxiliary.keys()
        if duplicates:
            name = min(duplicates)
            raise UsageError(
                f"the MongoDB database also has a collection {name}",
                hint=f"Remove the section [{self._auxiliary[name].section}] from migrate.toml,"
                " or rename that collection.",
            )

    def collections(self) -> list[SourceCollection]:
        others = [
            SourceCollection(name=each.name, documents=None, bytes=None, metadata=None, origin=each.label)
            for each in self._auxiliary.values()
        ]
        return sorted([*self._main.collections(), *others], key=lambda each: each.name)

    def sample_vectors(self, collection: str, limit: int) -> VectorSample:
        found = self._auxiliary.get(collection)
        return found.sample_vectors(limit) if isinstance(found, VectorSource) else VectorSample()

    def auxiliary_fingerprints(self) -> dict[str, str]:
        return {each.section: each.fingerprint() for each in self._auxiliary.values()}

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        main = {name: position for name, position in positions.items() if name not in self._auxiliary}
        self._share_known = bool(main)
        if main:
            yield from self._main.read(main, documents=documents, size=size)
        for name, position in positions.items():
            if name in self._auxiliary:
                found = self._auxiliary[name].read(int(position or 0))
                yield from make_batches(name, found, position, documents, size)

    def split(self, collection: str, size: int) -> list[Partition] | None:
        return None if collection in self._auxiliary else self._main.split(collection, size)

    def prefetch_partitions(self, sizes: Mapping[str, int]) -> None:
        main = {name: size for name, size in sizes.items() if name not in self._auxiliary}
        self._main.prefetch_partitions(main)

    def count(self, collection: str) -> int | None:
        return None if collection in self._auxiliary else self._main.count(collection)

    def reads_partitions(self, collection: str) -> bool:
        return collection not in self._auxiliary and self._main.reads_partitions(collection)

    def read_partition(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        return self._main.read_partition(part, position, documents=documents, size=size)

    def share_read(self) -> float | None:
        return self._main.share_read() if self._share_known else None

    def close(self) -> None:
        for each in self._auxiliary.values():
            each.close()
        self._main.close()


def make_batches(name: str, found: Iterator[bytes], start: str, documents: int, size: int) -> Iterator[Batch]:
    """Yield batches of at most `documents` documents and about `size` bytes. The last one is marked and may be
    empty."""
    end, data, data_size = int(start or 0), list[bytes](), 0
    for document in found:
        if data and (len(data) >= documents or data_size + len(document) > size):
            batch = _batch(name, data, start, end, last=False)
            yield batch
            start, data, data_size = batch.end, [], 0
        data.append(document)
        end, data_size = end + 1, data_size + len(document)
    yield _batch(name, data, start, end, last=True)


def _batch(name: str, data: list[bytes], start: str, end: int, *, last: bool) -> Batch:
    return Batch(collection=name, data=b"".join(data), count=len(data), start=start, end=str(end), last=last)
