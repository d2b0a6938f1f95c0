"""How much disk space the target will need, estimated from the source, and whether that much is free if it is known.

`migrate plan` predicts the size from a complete rehearsal; this is what can be estimated in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from migrator.formatting import format_count, format_size
from migrator.postgres.server_checks import Problem
from migrator.postgres.storage import Storage, measure_planned, read_storage
from migrator.sources.base import SourceCollection
from migrator.state.records import Connection
from migrator.workflows.migration import MigrationContext

# Bytes of tables, indexes and records per byte of BSON: 1.0 to 1.2 with messages of 1.2 KB, 2.8 with messages of 360 B.
LEAST, MOST = 1, 3
EMPTY = 3_000_000  # bytes of empty tables, indexes and records
EMBEDDED = "embedded:"
PREDICT = "`migrate plan` predicts the size."


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskEstimate:
    """The storage of the target; the bytes of BSON in collections of known size, and the number of the others."""

    storage: Storage
    known: int
    unknown: int

    @property
    def most(self) -> int:
        """The upper end of the estimate in bytes, without the write-ahead log."""
        return EMPTY + MOST * self.known

    @property
    def wal(self) -> int:
        """The bytes of the write-ahead log: its configured size, or less if less is written."""
        return min(self.storage.wal, self.most)

    @property
    def text(self) -> str:
        """What is estimated, and what is known of the free space."""
        if not self.known and self.unknown:
            size = f"size not known before the source is read ({PREDICT[:-1]})"
        else:
            more = f", and {format_count(self.unknown, 'collections')} of unknown size" if self.unknown else ""
            size = (
                f"estimated size {format_size(EMPTY + LEAST * self.known)} to {format_size(self.most)} for"
                f" {format_size(self.known)} of BSON{more}"
            )
        return f"{size}; {self._describe_place()}"

    def _describe_place(self) -> str:
        storage = self.storage
        wal = f", and up to {format_size(self.wal)} of write-ahead log" if self.wal else ""
        if storage.free is None:
            return f"tablespace {storage.tablespace}{wal}; free space unknown (the server does not report it)"
        return f"tablespace {storage.tablespace}{wal}; {format_size(storage.free)} free in {storage.folder}"

    def check(self) -> Iterator[Problem]:
        """Yield a warning if less is free than the estimate."""
        free = self.storage.free
        if free is not None and free < self.most + self.wal:
            yield Problem(
                level="warning",
                text=f"the disk of the target may be too small (an estimate): {self.text}",
                remedy=f"{PREDICT} Free space, or use another disk.",
            )


def estimate_disk(context: MigrationContext, connection: Connection | None) -> DiskEstimate:
    """Return the estimate. `connection`: to the target, None if an embedded one does not exist yet."""
    if connection is None:
        folder = Path(context.config.target.url.removeprefix(EMBEDDED))
        storage = Storage(tablespace="pg_default", wal=0, folder=str(folder), free=measure_planned(folder))
    else:
        storage = read_storage(connection)
    return _estimate(storage, context.source.collections())


def _estimate(storage: Storage, collections: Sequence[SourceCollection]) -> DiskEstimate:
    sizes = [each.bytes for each in collections]
    return DiskEstimate(
        storage=storage, known=sum(size for size in sizes if size is not None), unknown=sizes.count(None)
    )
