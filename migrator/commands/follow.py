"""`follow`: applies the changes of a live source to the target after a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.context import Session, open_session
from migrator.commands.follow_options import StopAt, UntilCaughtUp, read_options
from migrator.commands.history import recorded
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, print_result
from migrator.formatting import format_count
from migrator.workflows.follow import follow as follow_source
from migrator.workflows.follower import FollowReport
from migrator.workflows.returning import ReturnReport

AcceptDrop = Annotated[
    bool,
    typer.Option("--accept-drop", help="Apply it if collections with more than a tenth of all documents were dropped."),
]
Metrics = Annotated[Path | None, typer.Option("--metrics", help="A text file for Prometheus, replaced every second.")]


def follow(
    until_caught_up: UntilCaughtUp = False, stop_at: StopAt = "", accept_drop: AcceptDrop = False,
    metrics: Metrics = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Apply the changes of a live source to the target, after a run, until Ctrl-C.

    Can be stopped and started at any time: changes in between are applied later.
    """
    options = replace(read_options(until_caught_up, stop_at), accept_drop=accept_drop, metrics=metrics)
    session = open_session(config, json, verbose, quiet)
    with recorded(session, "follow") as entry, session.source() as source, session.target() as target:
        entry |= {"source": source.label, "target": target.label}
        report = follow_source(session.migration(source), target, options)
        entry |= {"status": "done"}
    show(session, report)


def show(session: Session, report: FollowReport | ReturnReport) -> None:
    """Prints the result."""
    if isinstance(report, ReturnReport):
        summary = (
            f"{format_count(report.changes, 'changes')} returned to MongoDB in"
            f" {format_count(report.documents, 'documents')}, {report.waiting:,} rows waiting,"
            f" {report.conflicts:,} conflicts."
        )
    else:
        summary = f"{format_count(report.applied, 'changes')} applied, {report.waiting:,} waiting."
    print_result(session.console, report.as_json(), lambda: session.console.print(summary))
