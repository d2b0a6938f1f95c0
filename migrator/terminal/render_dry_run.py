"""Prints the result of a dry run on a terminal: the reports of run and verify, and the downtime by stage."""

from __future__ import annotations

from migrator.formatting import format_duration
from migrator.terminal import render
from migrator.terminal.console import Console
from migrator.workflows.dry_run import DryRunReport

DATABASES = {
    "embedded": "an embedded PostgreSQL on this machine",
    "target": "a temporary database on the target server",
}


def show_dry_run(console: Console, report: DryRunReport) -> None:
    """Prints what `run` and `verify` would print, then the duration."""
    render.show_run(console, report.run)
    if report.verified is not None:
        render.show_verify(console, report.verified)
    rows = [(name, format_duration(seconds)) for name, seconds in report.stages.items()]
    console.table(("stage", "duration"), rows)
    others = f" {report.placeholders:,} placeholder rows represented the existing data." if report.placeholders else ""
    render.print_wrapped(console, f"Dry run in {DATABASES[report.where]}.{others} The target was not changed.")
    if report.where == "embedded" and report.round_trip is not None:
        render.print_wrapped(
            console,
            f"Network round trip to the real target: {report.round_trip * 1000:.1f} ms. To measure its write speed, use"
            " --rehearse-in target.",
        )
    render.print_wrapped(console, f"Downtime: about {format_duration(report.seconds)}, plus the duration of mongodump.")
