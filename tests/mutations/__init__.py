"""Mutations of a migrated database or of its source, and the difference that `verify` must report for each."""

from __future__ import annotations

from tests.mutations.base import Expectation, Mutation, MutationContext
from tests.mutations.catalog import CATALOG
from tests.mutations.documents import DOCUMENTS
from tests.mutations.records import RECORDS
from tests.mutations.rows import ROWS

MUTATIONS: dict[str, Mutation] = {**ROWS, **RECORDS, **CATALOG, **DOCUMENTS}

__all__ = ["MUTATIONS", "Expectation", "Mutation", "MutationContext"]
