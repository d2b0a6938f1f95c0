"""Frozen values that pass between the stages. No behaviour beyond what their names say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from migrator.translation.context import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that was repaired, changed or doubtful. `source_id` is BSON `{"_id": …}`; `detail` holds no values."""

    collection: str
    code: str
    source_id: bytes
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A document that became a row: plain column values, and what the row alone cannot give back (BSON, or None)."""

    row: Row
    residue: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A document that cannot become a row, and why (`findings.REASONS`)."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A document that has no home in the target, by rule."""


Result = Loaded | Reject | Archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The accounting identity of one collection: `source = loaded + rejected + archived`."""

    source: int
    loaded: int
    rejected: int
    archived: int

    @property
    def remainder(self) -> int:
        return self.source - self.loaded - self.rejected - self.archived

    def as_json(self) -> dict[str, int]:
        return {"source": self.source, "loaded": self.loaded, "rejected": self.rejected, "archived": self.archived}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedReport:
    """What became of `chunks` rows without a vector: those not filled, failed or empty still wait for one.

    `tokens` and `usd` are what this call has paid; None: nobody knows the price.
    """

    chunks: int = 0
    filled: int = 0
    failed: int = 0
    empty: int = 0
    tokens: int = 0
    usd: float | None = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "chunks": self.chunks,
            "filled": self.filled,
            "failed": self.failed,
            "empty": self.empty,
            "tokens": self.tokens,
            "usd": self.usd,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What `migrate run` prints: see contract.md, JSON shapes."""

    run: int
    status: str
    collections: dict[str, Counts]
    tables: dict[str, int]
    findings: dict[str, int]
    rejects: dict[str, int]
    seconds: float
    embedding: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "status": self.status,
            "collections": {name: counts.as_json() for name, counts in self.collections.items()},
            "tables": self.tables,
            "findings": self.findings,
            "rejects": self.rejects,
            "embedding": self.embedding,
            "seconds": round(self.seconds, 3),
        }
