"""`cutover` and `complete`: switch the application to PostgreSQL, back, and end the reverse sync."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from migrator.commands.context import Session, open_session
from migrator.commands.history import recorded
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, confirm, print_result
from migrator.errors import UsageError
from migrator.events import Notice
from migrator.formatting import format_count, format_duration
from migrator.terminal import render_cutover
from migrator.workflows.cutover import CutoverOptions, CutoverReport
from migrator.workflows.cutover_check import Summary

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def cutover(
    max_downtime: Annotated[
        float | None,
        typer.Option(min=0.1, help="The most seconds without writes; default: cutover.max_downtime_seconds."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything but the switch: stop the writes, measure, resume them.")
    ] = False,
    back: Annotated[bool, typer.Option("--back", help="Switch the application back to MongoDB.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Undo a cutover that was interrupted, and do nothing else.")
    ] = False,
    yes: Yes = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Switch the application to PostgreSQL. Whatever fails before the switch is undone.

    An interrupted cutover is undone or completed by the same command. With --yes and stop_writes = "manual", the writes
    must have been stopped before.
    """
    from migrator.workflows import cutting  # imports pymongo, which other commands need not pay for

    session = open_session(config, json, verbose, quiet)
    options = CutoverOptions(
        decide=lambda summary: decide(session, summary, yes=yes, dry_run=dry_run),
        wait_for_operator=lambda: wait_for_operator(session, yes=yes, back=back),
        folder=session.folder,
        max_downtime=max_downtime or session.config.cutover.max_downtime_seconds,
        dry_run=dry_run,
    )
    with recorded(session, "cutover --back" if back else "cutover") as entry:
        with session.source() as source, session.target() as target:
            entry |= {"source": source.label, "target": target.label}
            act = cutting.undo if undo else cutting.cut_back if back else cutting.cut_over
            report = act(session.migration(source), target, options)
        entry |= {"status": report.status}
    print_result(session.console, report.as_json(), lambda: show(session, report))


def complete(
    yes: Yes = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """End the migration after the switch: changes are no longer brought back to MongoDB, and every trace is removed."""
    from migrator.workflows import complete as completing  # imports pymongo

    session = open_session(config, json, verbose, quiet)
    with recorded(session, "complete") as entry:
        with session.source() as source, session.target() as target:
            entry |= {"source": source.label, "target": target.label}
            context = session.migration(source)
            left = completing.describe_open(context, target)
            ask(session, f"{left} Afterwards the application cannot be switched back. Complete?".strip(), yes=yes)
            report = completing.complete(context, target)
        entry |= {"status": "done"}
    summary = (
        f"Complete: {format_count(report.discarded, 'changes')} not brought back,"
        f" {format_count(report.restored, 'indexes')} of MongoDB expire documents again."
    )
    print_result(session.console, report.as_json(), lambda: session.console.print(summary))


def decide(session: Session, summary: Summary, *, yes: bool, dry_run: bool) -> None:
    """Shows the summary and asks for confirmation. Raises: `StoppedError` if it is no-go or the answer is no."""
    if not session.console.json:
        session.console.close()
        render_cutover.show_summary(session.console, summary)
    summary.require_go()
    what = "Stop the writes and rehearse the cutover?" if dry_run else "Stop the writes and switch the application?"
    ask(session, what, yes=yes)


def ask(session: Session, question: str, *, yes: bool) -> None:
    """Asks for confirmation. Raises: `StoppedError` if the answer is no, `UsageError` without a terminal."""
    if yes:
        return
    if session.console.json or not sys.stdin.isatty():
        raise UsageError("no terminal for confirmation; use --yes", hint="Add --yes to go on without confirmation.")
    session.console.close()
    confirm(question)


def wait_for_operator(session: Session, *, yes: bool, back: bool) -> None:
    """Waits until the operator has stopped the writes. With --yes they were stopped before."""
    side = "PostgreSQL" if back else "MongoDB"
    if yes:
        text = f"With --yes, all writes to {side} must have been stopped already."
        session.console.emit(Notice(text=text))
        return
    session.console.close()
    confirm(f"Stop all writes of the application to {side} now. Have they stopped?")


def show(session: Session, report: CutoverReport) -> None:
    """Prints the result."""
    render_cutover.show_steps(session.console, report)
    downtime = "" if report.downtime is None else f" Time without writes: {format_duration(report.downtime)}."
    texts = {
        ("switched", "forward"): "The application was switched to PostgreSQL."
        " `migrate follow` brings its changes back to MongoDB, so that `migrate cutover --back` stays possible.",
        ("switched", "back"): "The application was switched back to MongoDB. `migrate follow` applies its changes.",
        ("rehearsed", "forward"): "Rehearsed; nothing was switched.",
        ("rehearsed", "back"): "Rehearsed; nothing was switched back.",
    }
    text = texts.get((report.status, report.direction), "The interrupted cutover was undone.")
    session.console.print(text + downtime)
