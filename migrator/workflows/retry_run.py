"""`migrate rejects retry`: a retry of rejected documents (`retry_rejects.py`) that ends as a run does."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial

from migrator.errors import UsageError
from migrator.events import Emit, Notice, silent
from migrator.provenance.foreign_edits import remember_changes
from migrator.rows.refusals import UpdatesRefusedError
from migrator.stages.prepare import prepare
from migrator.state import journal, sync
from migrator.state.lock import exclusive
from migrator.state.suspension import suspend_in_run
from migrator.targets.base import Target
from migrator.workflows.embedding import check_embedding
from migrator.workflows.fingerprints import collect_fingerprints, require_retryable, with_settings
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.reports import RunReport, report_run
from migrator.workflows.retry_rejects import RetryReport, require_adopter, retry, try_out
from migrator.workflows.run import check_identity, complete
from migrator.workflows.switched import refuse_switched


def retry_rejects(context: MigrationContext, target: Target) -> tuple[RetryReport, RunReport]:
    """Retry the rejected documents with the current settings and source, which become those of the run.

    Raises: `UsageError` before anything is written, if no run has finished, or if the settings do not permit a retry.
    """
    started, namespace, definition = time.monotonic(), context.namespace, context.definition
    fingerprints = collect_fingerprints(context)
    with closing(target.connect()) as connection, exclusive(connection):
        pipeline = Pipeline(context=context, connection=connection, dsn=target.dsn)
        run, known = journal.require_retryable(connection, namespace)
        state = sync.read_state(connection, namespace)
        if state == sync.SWITCHED:
            refuse_switched(connection, namespace, "rejects retry")
        if state not in (None, sync.COMPLETE):  # a retry does not record what the documents wait for then
            raise UsageError(
                "this target follows its source, so rejected documents cannot be retried separately",
                hint="Correct the documents in the source: `migrate follow` applies them. Nothing was written.",
            )
        if journal.is_retrying(connection, namespace):
            context.emit(Notice(text="Resuming an interrupted retry."))
        require_retryable(known, fingerprints, context.config)
        if known.get("mappings") != fingerprints["mappings"]:
            text = "The mappings have changed since the run. Loaded rows keep the values of the previous mappings."
            context.emit(Notice(text=text, level="warning"))
        require_adopter(pipeline)
        check_embedding(context, send_request=True)

        def begin(emit: Emit) -> None:
            journal.begin_retry(connection, namespace, run)
            journal.renew_fingerprints(connection, namespace, run, with_settings(fingerprints, context.config))
            prepare(connection, definition.metadata, rls=context.config.target.rls == "all", emit=emit)
            suspend_in_run(connection, namespace, definition.metadata, run)

        try_out(pipeline, run, partial(begin, silent))
        with connection.transaction():  # if the target cannot be prepared, the run stays finished
            begin(context.emit)
        remember_changes(connection, namespace, definition)
        try:
            retried = retry(pipeline, run)
        except UpdatesRefusedError as error:  # a constraint is newer than the trial
            raise error.cause from error
        except UsageError:  # the new settings cannot be used: `migrate run` completes the run with the previous ones
            journal.renew_fingerprints(connection, namespace, run, known)
            raise
        check_identity(connection, namespace)
        complete(context, target, connection)
        journal.end_run(connection, namespace, run, "done")
        return retried, report_run(context, connection, started)
