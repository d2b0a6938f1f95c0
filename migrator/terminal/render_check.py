"""The preflight on a terminal."""

from __future__ import annotations

from migrator.formatting import format_count
from migrator.terminal.console import Console
from migrator.terminal.render import print_wrapped
from migrator.workflows.preflight import PreflightReport

MARKS = {"ok": "✓", "warning": "!", "blocker": "✗"}


def show_check(console: Console, report: PreflightReport) -> None:
    """Prints the addresses, then one line for each result, with the remedy below each problem."""
    show_direction(console, report)
    for each in report.findings:
        print_wrapped(console, f"{MARKS[each.level]} {each.check}: {each.text}")
        if each.remedy:
            print_wrapped(console, f"  {each.remedy}")
    blockers, warnings = (sum(each.level == level for each in report.findings) for level in ("blocker", "warning"))
    noted = format_count(warnings, "warnings")
    print_wrapped(console, f"{format_count(blockers, 'blockers')}, {noted}." if blockers else f"Can run; {noted}.")


def show_direction(console: Console, report: PreflightReport) -> None:
    """Prints where the data comes from and where it goes."""
    print_wrapped(console, f"{report.source} → {report.target}, tenant {report.tenant}")
