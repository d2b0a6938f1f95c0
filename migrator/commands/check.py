"""`check`: the preflight on its own."""

from __future__ import annotations

import typer

from migrator.commands.context import Session, open_session
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, print_result
from migrator.terminal.render_check import show_check
from migrator.workflows.preflight import PreflightReport, check_migration


def check(
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Check source, target and services in seconds. Writes nothing.

    Reads no documents, except to find the owner that a policy names for orphans, and vectors that are reused.
    """
    session = open_session(config, json, verbose, quiet)
    with session.source() as source, session.existing_target() as target:
        report = check_migration(session.migration(source), target, complete=True)
    print_result(session.console, report.as_json(), lambda: show_check(session.console, report))
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def show_warnings(session: Session, report: PreflightReport) -> None:
    """Prints the warnings of a preflight that is the beginning of another command."""
    for each in report.findings:
        if each.level == "warning":
            session.warn(f"{each.text}. {each.remedy}")
