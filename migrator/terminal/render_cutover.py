"""Prints the decision about a cutover and its steps on a terminal."""

from __future__ import annotations

from migrator.formatting import format_duration
from migrator.terminal.console import Console
from migrator.terminal.render import print_wrapped
from migrator.workflows.cutover import CutoverReport
from migrator.workflows.cutover_check import Summary


def show_summary(console: Console, summary: Summary) -> None:
    """Prints one line per criterion, with the remedy below each that is not met, and go or no-go."""
    print_wrapped(console, f"Cutover {summary.title}")
    for each in summary.criteria:
        print_wrapped(console, f"{'✓' if each.go else '✗'} {each.name}: {each.text}")
        if not each.go and each.remedy:
            print_wrapped(console, f"  {each.remedy}")
    print_wrapped(console, "Go." if summary.go else "No-go.")


def show_steps(console: Console, report: CutoverReport) -> None:
    """Prints the duration of each step."""
    rows = [(name, format_duration(seconds)) for name, seconds in report.seconds.items()]
    if rows:
        console.table(("step", "duration"), rows)
