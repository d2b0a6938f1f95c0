"""What a collection beside MongoDB is to the engine, and a source that has such collections with its own.

A reader hands out BSON documents in a fixed order; a position is how many it has handed out before. Such a collection
is read as a stream, by the coordinator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from migrator.errors import UsageError
from migrator.sources.base import Batch, Partition, Source, SourceCollection


class AuxiliarySource(Protocol):
    """One collection from elsewhere. Errors: `SourceError`, `DamagedSourceError`."""

    name: str
    section: str  # of migrate.toml
    label: str  # no secrets

    def fingerprint(self) -> str:
        """A hex digest that changes when the documents do."""
        ...

    def read(self, skip: int) -> Iterator[bytes]:
        """The documents in their order, as BSON, without the first `skip`."""
        ...

    def close(self) -> None: ...


class CompositeSource:
    """A `Source` with further collections beside its own."""

    def __init__(self, main: Source, beside: Sequence[AuxiliarySource]) -> None:
        self.main = main
        self.beside = {each.name: each for each in beside}
        self._share_known = True
        taken = {each.name for each in main.collections()} & self.beside.keys()
        if taken:
            name = min(taken)
            raise UsageError(
                f"the MongoDB database has a collection {name} of its own",
                hint=f"Take the section [{self.beside[name].section}] out of migrate.toml, or rename that collection.",
            )

    @property
    def label(self) -> str:
        return self.main.label

    @property
    def database(self) -> str:
        return self.main.database

    @property
    def left_out(self) -> Mapping[str, str]:
        return self.main.left_out

    def collections(self) -> list[SourceCollection]:
        others = [
            SourceCollection(name=each.name, documents=None, bytes=None, metadata=None, origin=each.label)
            for each in self.beside.values()
        ]
        return sorted([*self.main.collections(), *others], key=lambda each: each.name)

    def fingerprint(self) -> str:
        return self.main.fingerprint()

    def fingerprints(self) -> dict[str, str]:
        """Those of the collections beside, by their sections of migrate.toml."""
        return {each.section: each.fingerprint() for each in self.beside.values()}

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        own = {name: position for name, position in positions.items() if name not in self.beside}
        self._share_known = bool(own)
        if own:
            yield from self.main.read(own, documents=documents, size=size)
        for name, position in positions.items():
            if name in self.beside:
                yield from batches(name, self.beside[name].read(int(position or 0)), position, documents, size)

    def split(self, collection: str, size: int) -> list[Partition] | None:
        return None if collection in self.beside else self.main.split(collection, size)

    def reads_parts(self, collection: str) -> bool:
        return collection not in self.beside and self.main.reads_parts(collection)

    def read_part(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        return self.main.read_part(part, position, documents=documents, size=size)

    @property
    def smallest_part(self) -> int:
        return self.main.smallest_part

    def share_read(self) -> float | None:
        return self.main.share_read() if self._share_known else None

    def close(self) -> None:
        for each in self.beside.values():
            each.close()
        self.main.close()


def batches(name: str, found: Iterator[bytes], start: str, documents: int, size: int) -> Iterator[Batch]:
    """Documents in batches of at most `documents`, of about `size` bytes; the last one is marked, and may be empty."""
    place, held, weight = int(start or 0), list[bytes](), 0
    for document in found:
        if held and (len(held) >= documents or weight + len(document) > size):
            batch = _batch(name, held, start, place, last=False)
            yield batch
            start, held, weight = batch.end, [], 0
        held.append(document)
        place, weight = place + 1, weight + len(document)
    yield _batch(name, held, start, place, last=True)


def _batch(name: str, held: list[bytes], start: str, place: int, *, last: bool) -> Batch:
    return Batch(
        collection=name, data=b"".join(held), count=len(held), start=start, end=str(place), last=last
    )  # fmt: skip
