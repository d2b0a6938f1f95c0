"""Opens what a cutover works with, decides what is to be done, and executes it: for `migrate cutover`."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace

from migrator.errors import StoppedError, UsageError
from migrator.following.source_watch import SourceWatch, watching
from migrator.sources.base import Position
from migrator.state import journal, sync
from migrator.state.cutover_steps import BACK, FORWARD
from migrator.state.follow_lock import cutting_over
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows import cutover
from migrator.workflows.cutover import CutoverOptions, CutoverReport, Downtime, Switch
from migrator.workflows.cutover_application import ApplicationControl
from migrator.workflows.cutover_back import BackSwitch
from migrator.workflows.cutover_check import Summary, check_back, check_forward, require_followed, require_switched
from migrator.workflows.cutover_forward import ForwardSwitch
from migrator.workflows.cutover_journal import CutoverJournal
from migrator.workflows.cutover_recheck import Recheck
from migrator.workflows.cutover_switch import SwitchParts
from migrator.workflows.follow_at_work import FollowAtWork, follow_at_work
from migrator.workflows.migration import MigrationContext
from migrator.workflows.receiving import require_changing
from migrator.workflows.verify import VerifyOptions, make_scope


def cut_over(context: MigrationContext, target: Target, options: CutoverOptions) -> CutoverReport:
    """Switch the application from MongoDB to PostgreSQL, or complete or undo an interrupted attempt first.

    Raises: all errors of `migrator.errors`; nothing is switched then, unless the message says so.
    """
    return _in_direction(context, target, options, FORWARD)


def cut_back(context: MigrationContext, target: Target, options: CutoverOptions) -> CutoverReport:
    """Switch the application back to MongoDB. Otherwise as `cut_over`."""
    return _in_direction(context, target, options, BACK)


def undo(context: MigrationContext, target: Target, options: CutoverOptions) -> CutoverReport:
    """Undo an attempt that was interrupted. Raises: `UsageError` if there is none."""
    require_changing(context)
    with closing(target.connect()) as connection, cutting_over(connection):
        journal.require_finished(connection, context.namespace)
        direction = _Opened(context, target, connection, options).recover()
        if direction is None:
            raise UsageError("no interrupted cutover to undo", hint="`migrate status` shows the last one.")
        return CutoverReport(status="undone", direction=direction)


def _in_direction(context: MigrationContext, target: Target, options: CutoverOptions, direction: str) -> CutoverReport:
    require_changing(context)
    with closing(target.connect()) as connection, cutting_over(connection):
        journal.require_finished(connection, context.namespace)
        opened = _Opened(context, target, connection, options)
        if (record := cutover.needs_completion(connection, context, direction)) is not None:
            switch, steps, _ = opened.parts(direction, attempt=record.attempt)
            cutover.complete(switch, steps)
            return CutoverReport(status="switched", direction=direction, seconds=steps.seconds)
        opened.recover()
        if direction == FORWARD:
            require_followed(connection, context)
        else:
            require_switched(connection, context)
        with follow_at_work(context, target, connection) as at_work:
            return opened.attempt(direction, at_work)


@dataclass(frozen=True)
class _Opened:
    context: MigrationContext
    target: Target
    connection: Connection
    options: CutoverOptions

    def attempt(self, direction: str, at_work: FollowAtWork) -> CutoverReport:
        """Make a new attempt."""
        with ExitStack() as opened:
            decide = self._decide_forward if direction == FORWARD else self._decide_back
            summary, watch = decide(at_work, opened)
            archives = self.context.config.policies.unmapped_collections == "archive"
            scope = make_scope(self.context, self.connection, VerifyOptions(level="roundtrip"))
            recheck = Recheck(
                scope=scope,
                source=require_changing(self.context),
                watch=watch,
                keeps=lambda name: archives or name in scope.known,
                is_back=direction == BACK,
            )
            parts = SwitchParts(at_work=at_work, watch=watch, recheck=recheck)
            switch, steps, downtime = self.parts(direction, parts)
            return replace(cutover.execute(switch, steps, downtime), summary=summary)

    def _decide_forward(self, at_work: FollowAtWork, opened: ExitStack) -> tuple[Summary, SourceWatch]:
        """Show the summary, and return a watch from the last full verification on. Raises: as `decide`."""
        summary, verification = check_forward(self.context, self.connection, self.target, at_work.check)
        self.options.decide(summary)
        assert verification is not None  # otherwise it was no-go
        return summary, opened.enter_context(self._watching(verification.position))

    def _decide_back(self, at_work: FollowAtWork, opened: ExitStack) -> tuple[Summary, SourceWatch]:
        """Show the summary, and return a watch from the switch on. If its position is lost, all documents changed."""
        summary = check_back(self.context, self.connection, self.target.label, at_work.check)
        self.options.decide(summary)
        state = sync.read(self.connection, self.context.namespace)
        assert state is not None  # it is switched
        try:
            return summary, opened.enter_context(self._watching(state.position))
        except StoppedError:
            changing = require_changing(self.context)
            watch = opened.enter_context(self._watching(changing.current_position()))
            for name in changing.list_collections():
                watch.changed |= {(name, source_id): None for source_id in changing.read_ids(name)}
            return summary, watch

    def _watching(self, position: Position) -> AbstractContextManager[SourceWatch]:
        return watching(self.context.config.source.url, self.context.source.database, position)

    def recover(self) -> str | None:
        """Undo an attempt that was interrupted, and return its direction; None if there was none."""
        records = cutover.find_unfinished(self.connection, self.context)
        if not records:
            return None
        switch, steps, _ = self.parts(records[0].direction, attempt=records[0].attempt)
        return records[0].direction if cutover.recover(switch, steps, records) else None

    def parts(
        self, direction: str, own: SwitchParts | None = None, attempt: int | None = None
    ) -> tuple[Switch, CutoverJournal, Downtime]:
        """Return the steps of a direction, with their journal. `attempt`: one that was interrupted."""
        downtime = Downtime(self.options.max_downtime)
        steps = cutover.open_journal(
            self.context, self.target, self.connection, direction, dry_run=self.options.dry_run, attempt=attempt
        )
        application = ApplicationControl(
            context=self.context,
            target=self.target.label,
            options=self.options,
            journal=steps,
            downtime=downtime,
        )
        kind = ForwardSwitch if direction == FORWARD else BackSwitch
        switch = kind(
            context=self.context,
            connection=self.connection,
            application=application,
            journal=steps,
            downtime=downtime,
            parts=own,
        )
        return switch, steps, downtime
