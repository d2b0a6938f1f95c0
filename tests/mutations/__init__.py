"""Corruptions to plant in a migrated database or in its source, one at a time, and what `verify` must say of each."""

from __future__ import annotations

from tests.mutations.base import Bench, Kind, Planted
from tests.mutations.catalog import CATALOG
from tests.mutations.documents import DOCUMENTS
from tests.mutations.records import RECORDS
from tests.mutations.rows import ROWS

KINDS: dict[str, Kind] = {**ROWS, **RECORDS, **CATALOG, **DOCUMENTS}

__all__ = ["KINDS", "Bench", "Kind", "Planted"]
