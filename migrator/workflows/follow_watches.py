"""What `follow` watches: whether it keeps up, when it has caught up, and how large the record of transactions is."""

from __future__ import annotations

import time
from datetime import datetime

from migrator.events import Notice
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import tenancy_of
from migrator.sources.change_events import event_time
from migrator.state import own_transactions, sync
from migrator.state.records import Connection
from migrator.workflows.migration import MigrationContext

GROWTH_SECONDS = 60.0  # over which the number of waiting changes is compared
MANY_WAITING = 10_000  # changes; fewer are applied in seconds
MOST_TRANSACTIONS = 50_000  # recorded before those that no row needs are looked for
IDLE_STORES = 2  # positions stored without an event, after which no earlier event can be missing


class GrowthWatch:
    """Notices that the source changes faster than changes are applied."""

    def __init__(self) -> None:
        self._since, self._waiting, self._applied = time.monotonic(), 0, 0

    def observe(self, now: float, waiting: int, applied: int) -> Notice | None:
        """Return a warning, at most one per minute. `waiting`: dirty keys; `applied`: changes so far."""
        seconds = now - self._since
        if seconds < GROWTH_SECONDS:
            return None
        more, rate = waiting - self._waiting, (applied - self._applied) / seconds
        self._since, self._waiting, self._applied = now, waiting, applied
        if more <= 0 or waiting <= MANY_WAITING:
            return None
        text = f"The application writes faster than changes are applied ({rate:,.0f}/s): {waiting:,} changes wait"
        advice = "Check `migrate status`, the load of the target, and the limits of [engine]."
        return Notice(text=f"{text}, {more:,} more than {seconds:.0f} s ago. {advice}", level="warning")


class IdleWatch:
    """Decides whether everything that happened before a time has been received."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self.reset()

    def reset(self) -> None:
        self._received, self._stored, self._stores = -1, None, 0  # type: tuple[int, datetime | None, int]

    def is_caught_up(self, state: sync.SyncState | None) -> bool:
        """Return whether no earlier event can be missing. `state` was read before it was found that no key is left."""
        if state is None:
            return False
        time = None if state.last_event is None else event_time(state.last_event)
        if time is not None and time > self._since:
            return True
        if state.received != self._received:
            self._received, self._stored, self._stores = state.received, state.stored, 0
        elif state.stored != self._stored:
            self._stored, self._stores = state.stored, self._stores + 1
        return self._stores >= IDLE_STORES


class TransactionPruner:
    """Keeps the record of own transactions small: each batch adds one.

    What is left are the transactions that rows were last written in, so it is cleaned again when it has doubled.
    """

    def __init__(self, context: MigrationContext, connection: Connection) -> None:
        self._connection, self._namespace = connection, context.namespace
        self._tables = {name_of(mapping.table) for mapping in context.definition.mappings.values()}
        tenancy = tenancy_of(context.definition.metadata)
        self._tables |= set() if tenancy is None else {tenancy.table}
        self._recorded, self._most = own_transactions.count(connection, context.namespace), MOST_TRANSACTIONS

    def note(self) -> None:
        """Count one more transaction, and delete the unused ones if there are many."""
        self._recorded += 1
        if self._recorded >= self._most:
            self._recorded = own_transactions.forget_unused(self._connection, self._namespace, self._tables)
            self._most = max(MOST_TRANSACTIONS, 2 * self._recorded)
