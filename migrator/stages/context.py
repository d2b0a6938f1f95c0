"""The values that the stages after `prepare` need, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from migrator.events import Emit
from migrator.rows.store import Connection, RowStore
from migrator.state.records import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """The rows and records of one run, its tenant, and the receiver of its events."""

    rows: RowStore
    tenant: UUID
    run: int
    emit: Emit

    @property
    def connection(self) -> Connection:
        return self.rows.connection

    @property
    def namespace(self) -> Namespace:
        return self.rows.namespace
