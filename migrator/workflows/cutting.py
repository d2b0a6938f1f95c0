"""Opens what a cutover works with, decides what is to be done, and executes it: for `migrate cutover`."""

from __future__ import annotations

from contextlib import closing

from migrator.errors import UsageError
from migrator.following.source_watch import watching
from migrator.state import sync
from migrator.state.cutover_steps import FORWARD
from migrator.state.follow_lock import cutting_over
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows import cutover
from migrator.workflows.cutover import CutoverOptions, CutoverReport, Downtime
from migrator.workflows.cutover_check import check_forward, require_followed
from migrator.workflows.cutover_forward import ForwardParts, ForwardSwitch
from migrator.workflows.cutover_journal import CutoverJournal
from migrator.workflows.cutover_recheck import Recheck
from migrator.workflows.follow_at_work import FollowAtWork, follow_at_work
from migrator.workflows.migration import MigrationContext
from migrator.workflows.receiving import require_changing
from migrator.workflows.verify import VerifyOptions, make_scope


def cut_over(context: MigrationContext, target: Target, options: CutoverOptions) -> CutoverReport:
    """Switch the application from MongoDB to PostgreSQL, or complete or undo an interrupted attempt first.

    Raises: all errors of `migrator.errors`; nothing is switched then, unless the message says so.
    """
    require_changing(context)
    with closing(target.connect()) as connection, cutting_over(connection):
        if cutover.needs_completion(connection, context, FORWARD) is not None:
            return _complete(context, target, connection, options)
        _recover(context, target, connection, options)
        require_followed(connection, context)
        with follow_at_work(context, target, connection) as at_work:
            return _attempt(context, target, connection, options, at_work)


def undo(context: MigrationContext, target: Target, options: CutoverOptions) -> CutoverReport:
    """Undo an attempt that was interrupted. Raises: `UsageError` if there is none."""
    require_changing(context)
    with closing(target.connect()) as connection, cutting_over(connection):
        if not _recover(context, target, connection, options):
            raise UsageError("no interrupted cutover to undo", hint="`migrate status` shows the last one.")
        return CutoverReport(status="undone", direction=FORWARD)


def _attempt(
    context: MigrationContext, target: Target, connection: Connection, options: CutoverOptions, at_work: FollowAtWork
) -> CutoverReport:
    summary, verification = check_forward(context, connection, target.label, at_work.check)
    options.decide(summary)
    assert verification is not None  # otherwise `decide` has refused it
    url, database = context.config.source.url, context.source.database
    with watching(url, database, verification.position) as watch:
        scope = make_scope(context, connection, VerifyOptions(level="roundtrip"))
        archives = context.config.policies.unmapped_collections == "archive"
        recheck = Recheck(
            scope=scope,
            source=require_changing(context),
            watch=watch,
            keeps=lambda name: archives or name in scope.known,
        )
        journal = cutover.open_journal(context, target, connection, FORWARD, dry_run=options.dry_run)
        downtime = Downtime(options.max_downtime)
        switch = ForwardSwitch(
            context=context,
            connection=connection,
            target=target.label,
            options=options,
            journal=journal,
            downtime=downtime,
            parts=ForwardParts(at_work=at_work, watch=watch, recheck=recheck),
        )
        return cutover.execute(switch, journal, downtime)


def _complete(
    context: MigrationContext, target: Target, connection: Connection, options: CutoverOptions
) -> CutoverReport:
    """Execute the steps after the switch of an attempt that was interrupted."""
    found = cutover.needs_completion(connection, context, FORWARD)
    assert found is not None  # the caller has asked
    switch, journal = _without_parts(context, target, connection, options, found.attempt)
    cutover.complete(switch, journal)
    return CutoverReport(status="switched", direction=FORWARD, seconds=journal.seconds)


def _recover(context: MigrationContext, target: Target, connection: Connection, options: CutoverOptions) -> bool:
    if sync.is_switched(connection, context.namespace):
        return False
    records = cutover.find_unfinished(connection, context)
    if not records:
        return False
    switch, journal = _without_parts(context, target, connection, options, records[0].attempt)
    return cutover.recover(switch, journal, records)


def _without_parts(
    context: MigrationContext, target: Target, connection: Connection, options: CutoverOptions, attempt: int
) -> tuple[ForwardSwitch, CutoverJournal]:
    journal = cutover.open_journal(context, target, connection, FORWARD, attempt=attempt)
    switch = ForwardSwitch(
        context=context,
        connection=connection,
        target=target.label,
        options=options,
        journal=journal,
        downtime=Downtime(options.max_downtime),
    )
    return switch, journal
