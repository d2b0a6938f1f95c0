"""Frozen values that pass between the stages. No behaviour beyond what their names say."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.mapping.context import Row


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
