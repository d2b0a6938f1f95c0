"""What becomes of one document: a row, a reject or an archived document, and its findings."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.mapping.context import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A correction, change or doubt about a document. `source_id` is BSON `{"_id": …}`; `detail` contains no values."""

    collection: str
    code: str
    source_id: bytes
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A document that became a row: plain values by row key, and the residue as BSON (None: no residue)."""

    row: Row
    residue: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A document that cannot become a row, and the reason (`findings.REASONS`)."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A document that a rule archives instead of loading it."""


Result = Loaded | Reject | Archive
