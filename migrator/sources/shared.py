"""A source whose shared collections are divided: each mapping sees the documents that it takes as its own collection.

A shared collection is read once for each of its mappings that load at different times, and once for all of them where
the source is one stream (an archive).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from migrator.documents import raw_bson
from migrator.errors import UsageError
from migrator.mapping.collection import Collection
from migrator.mapping.shared_collections import SharedCollection, find_shared
from migrator.sources.base import Batch, ChangingSource, Partition, Position, Source, SourceCollection
from migrator.sources.wrapped import WrappedSource

_READ_DOCUMENTS: Final = 1000
_READ_BYTES: Final = 4 << 20


def with_shared(source: Source, mappings: Mapping[str, Collection]) -> Source:
    """Return the source with its shared collections divided; the source itself if no mappings share one."""
    shared = find_shared(each for each in mappings.values() if each.section is None)
    return SharedSource(source, shared) if shared else source


def name_documents(
    changing: ChangingSource | Shares, newest: Mapping[tuple[str, bytes], bytes | None]
) -> dict[tuple[str, bytes], bytes | None]:
    """Return the newest documents (collection of the source, source ID → BSON) by the names that they have in mappings.

    For a mapping that does not take a document it is gone (None): another one may have taken it before.
    """
    found: dict[tuple[str, bytes], bytes | None] = {}
    for (collection, source_id), raw in newest.items():
        taken = None if raw is None else changing.name_of(collection, raw)
        for name in changing.names_of(collection):
            found[name, source_id] = raw if name == taken else None
    return found


def name_keys(changing: ChangingSource, keys: Iterable[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
    """Return the keys of documents (collection of the source, source ID) by all names that they can have in
    mappings."""
    return {(name, source_id) for collection, source_id in keys for name in changing.names_of(collection)}


class Shares:
    """The shared collections of the source, by their own name and by the names of their mappings."""

    def __init__(self, shared: Mapping[str, SharedCollection]) -> None:
        self.shared = shared
        self._by_share = {name: each for each in shared.values() for name in each.names}

    def names_of(self, collection: str) -> tuple[str, ...]:
        """Return the mappings of a collection of the source; any other name stays."""
        return self.shared[collection].names if collection in self.shared else (collection,)

    def name_of(self, collection: str, raw: bytes) -> str:
        """Return the mapping that takes a document of a collection of the source; the name of any other stays."""
        return self.shared[collection].choose(raw) if collection in self.shared else collection

    def real(self, name: str) -> str:
        """Return the collection of the source whose documents a mapping takes; any other name stays."""
        return self._by_share[name].name if name in self._by_share else name

    def is_share(self, name: str) -> bool:
        return name in self._by_share

    def takes(self, name: str, raw: bytes) -> bool:
        """Return whether a mapping takes a document of its collection. All of any other collection are taken."""
        return name not in self._by_share or self._by_share[name].choose(raw) == name

    def divide(self, batch: Batch, names: Sequence[str]) -> Iterator[Batch]:
        """Yield one batch for each of the mappings `names` of a collection, also if it has no documents."""
        shared, found = self.shared[batch.collection], defaultdict[str, list[bytes]](list)
        for raw in raw_bson.split_documents(batch.data):
            found[shared.choose(raw)].append(raw)
        for name in names:
            yield replace(batch, collection=name, data=b"".join(found[name]), count=len(found[name]))

    def describe(self, name: str, found: SourceCollection) -> SourceCollection:
        """Return the description of a share. Its size is an estimate, the number of its documents is unknown."""
        size = None if found.bytes is None else found.bytes // len(self._by_share[name].shares)
        return replace(found, name=name, documents=None, bytes=size)


class SharedSource(WrappedSource):
    """A source with the shared collections `shared`.

    Raises: `UsageError` if a mapping has the name of another collection of the source.
    """

    def __init__(self, main: Source, shared: Mapping[str, SharedCollection]) -> None:
        super().__init__(main)
        self._shares = Shares(shared)

    @property
    def changing(self) -> ChangingSource | None:
        found = self._main.changing
        return None if found is None else SharedChanging(found, self._main, self._shares)

    def collections(self) -> list[SourceCollection]:
        found: list[SourceCollection] = []
        for each in self._main.collections():
            if each.name in self._shares.shared:
                found += [self._shares.describe(name, each) for name in self._shares.names_of(each.name)]
            elif self._shares.is_share(each.name):
                raise UsageError(
                    f"the source has a collection {each.name}, but the mapping of this name reads the collection"
                    f" {self._shares.real(each.name)}",
                    hint="Give the mapping another name.",
                )
            else:
                found.append(each)
        return sorted(found, key=lambda each: each.name)

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        """Yield the batches. Shares that begin at the same position are read together, with all other collections."""
        first: dict[str, str] = {}
        together: dict[str, list[str]] = defaultdict(list)
        later: dict[str, str] = {}
        for name, position in positions.items():
            real = self._shares.real(name)
            if first.setdefault(real, position) == position:
                together[real].append(name)
            else:
                later[name] = position
        for batch in self._main.read(first, documents=documents, size=size):
            if batch.collection in self._shares.shared:
                yield from self._shares.divide(batch, together[batch.collection])
            else:
                yield batch
        if later:
            yield from self.read(later, documents=documents, size=size)

    def split(self, collection: str, size: int) -> list[Partition] | None:
        found = self._main.split(self._shares.real(collection), size)
        return None if found is None else [replace(each, collection=collection) for each in found]

    def prefetch_partitions(self, sizes: Mapping[str, int]) -> None:
        self._main.prefetch_partitions({self._shares.real(name): size for name, size in sizes.items()})

    def count(self, collection: str) -> int | None:
        return None if self._shares.is_share(collection) else self._main.count(collection)

    def reads_partitions(self, collection: str) -> bool:
        return self._main.reads_partitions(self._shares.real(collection))

    def read_partition(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        own = replace(part, collection=self._shares.real(part.collection))
        batches = self._main.read_partition(own, position, documents=documents, size=size)
        if not self._shares.is_share(part.collection):
            return batches
        return (share for batch in batches for share in self._shares.divide(batch, [part.collection]))


class SharedChanging(ChangingSource):
    """The changes of a live source. Names of shares and of collections of the source are both understood."""

    def __init__(self, changing: ChangingSource, source: Source, shares: Shares) -> None:
        self._changing, self._source, self._shares = changing, source, shares

    def names_of(self, collection: str) -> tuple[str, ...]:
        return self._shares.names_of(collection)

    def name_of(self, collection: str, raw: bytes) -> str:
        return self._shares.name_of(collection, raw)

    def find_documents(self, collection: str, source_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        found = self._changing.find_documents(self._shares.real(collection), source_ids)
        return {source_id: raw for source_id, raw in found.items() if self._shares.takes(collection, raw)}

    def read_ids(self, collection: str) -> Iterator[bytes]:
        """Yield the source IDs. Which documents belong to a share follows from the whole documents."""
        if not self._shares.is_share(collection):
            yield from self._changing.read_ids(collection)
            return
        part = Partition(collection=self._shares.real(collection), number=0, start="", stop="")
        for batch in self._source.read_partition(part, "", documents=_READ_DOCUMENTS, size=_READ_BYTES):
            raws = raw_bson.split_documents(batch.data)
            yield from (raw_bson.source_id(raw) for raw in raws if self._shares.takes(collection, raw))

    def list_collections(self) -> list[str]:
        return sorted(name for real in self._changing.list_collections() for name in self.names_of(real))

    def describe_collection(self, name: str) -> SourceCollection | None:
        found = self._changing.describe_collection(self._shares.real(name))
        return found if found is None or not self._shares.is_share(name) else self._shares.describe(name, found)

    def current_position(self) -> Position:
        return self._changing.current_position()

    def server_time(self) -> datetime:
        return self._changing.server_time()
