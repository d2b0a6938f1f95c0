"""What a rehearsal came to, on a terminal: the report of the run, the verification, and the downtime by stage."""

from __future__ import annotations

from migrator.formatting import format_duration
from migrator.terminal import render
from migrator.terminal.console import Console
from migrator.workflows.dry_run import RehearsalReport

PLACES = {"embedded": "an embedded PostgreSQL on this machine", "target": "a database beside the target, now dropped"}


def show_dry_run(console: Console, report: RehearsalReport) -> None:
    """As `run` and `verify` would; what it would take last."""
    render.show_run(console, report.run)
    if report.verified is not None:
        render.show_verify(console, report.verified)
    console.table(("stage", "took"), [(name, format_duration(seconds)) for name, seconds in report.stages.items()])
    others = f", beside stand-ins for {report.stand_ins:,} rows of others" if report.stand_ins else ""
    render.say(console, f"Rehearsed in {PLACES[report.where]}{others}; the target is as it was.")
    if report.where == "embedded" and report.round_trip is not None:
        render.say(
            console,
            f"The real target answers in {report.round_trip * 1000:.1f} ms; how fast it writes,"
            " --rehearse-in target measures.",
        )
    render.say(console, f"Downtime: about {format_duration(report.seconds)}, and the time that mongodump takes.")
