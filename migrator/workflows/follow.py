"""`migrate follow`: applies the changes of a live source to the rows of a finished run, until it is stopped."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import psycopg

from migrator.errors import TargetError
from migrator.monitoring.monitor import monitored
from migrator.monitoring.throttle import LagMeter
from migrator.state import dirty, journal, sync
from migrator.state.follow_lock import following
from migrator.state.lock import exclusive
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows.fingerprints import collect_main_fingerprints, require_unchanged
from migrator.workflows.follower import FollowCounts, Follower, FollowReport
from migrator.workflows.migration import MigrationContext
from migrator.workflows.receiving import Receiving
from migrator.workflows.retry import retry_transient
from migrator.workflows.returning import ReturnCounts, ReturnOptions, ReturnReport, return_changes
from migrator.workflows.run_options import FollowOptions
from migrator.workflows.switched import refuse_complete

# State at the start → states in which the application uses the other database.
_FORWARD = (sync.LOADING, sync.FOLLOWING, sync.STOPPED)
_OTHER = {sync.SWITCHED: _FORWARD, **dict.fromkeys((*_FORWARD, None), (sync.SWITCHED,))}


def follow(
    context: MigrationContext, target: Target, options: FollowOptions, receiving: Receiving | None = None
) -> FollowReport | ReturnReport:
    """Apply changes until the options say to stop, and return what was applied. Transient errors are retried.

    After the switch of the application, its changes are returned to the source instead.

    Raises: all errors of `migrator.errors`. The same call continues afterwards.
    """
    fingerprints = collect_main_fingerprints(context)  # changes of auxiliary sources are applied
    receiving = receiving or Receiving(context, target)
    meter = LagMeter(context.config.engine, context.source.latency)
    counts, returned = FollowCounts(), ReturnCounts()

    def attempt(number: int) -> FollowReport | ReturnReport:
        with closing(target.connect()) as connection, exclusive(connection):
            journal.require_finished(connection, context.namespace)
            refuse_complete(connection, context.namespace)
            require_unchanged(connection, context.namespace, fingerprints, context.config)
            with monitored(target.connect, context.namespace, meter, context.emit), following(connection):
                while True:
                    state = sync.read_state(connection, context.namespace)
                    report = follow_in_direction(connection, is_forward=state != sync.SWITCHED)
                    if sync.read_state(connection, context.namespace) not in _OTHER.get(state, ()):
                        return report

    def follow_in_direction(connection: Connection, *, is_forward: bool) -> FollowReport | ReturnReport:
        """Follow until the options say to stop, or until a cutover changes the direction."""
        if is_forward:
            Follower(context, target, connection, receiving).run(options, counts)
            return counts.report(dirty.count(connection, context.namespace))
        receiving.stop()
        back = ReturnOptions(until_caught_up=options.until_caught_up, stop_at=options.stop_at, stopped=options.stopped)
        return return_changes(context, target, connection, back, returned)

    try:
        return retry_transient(attempt, partial(_count_applied, target, context), context.emit)
    finally:
        receiving.stop()


def _count_applied(target: Target, context: MigrationContext) -> int | None:
    """Return a number that grows with progress; None if it is unknown."""
    try:
        with closing(target.connect()) as connection:
            state = sync.read(connection, context.namespace)
            return None if state is None else state.applied + state.received
    except (TargetError, psycopg.Error):
        return None
