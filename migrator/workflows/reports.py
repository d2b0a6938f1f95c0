"""What workflows report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from migrator.state.ledger import Counts


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
