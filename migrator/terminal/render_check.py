"""The preflight on a terminal."""

from __future__ import annotations

from migrator.terminal.console import Console
from migrator.terminal.render import say
from migrator.workflows.preflight import PreflightReport

MARKS = {"ok": "✓", "warning": "!", "blocker": "✗"}


def show_check(console: Console, report: PreflightReport) -> None:
    """Prints the addresses, then one line for each result, with the remedy below each problem."""
    show_direction(console, report.source, report.target, report.tenant)
    for each in report.findings:
        say(console, f"{MARKS[each.level]} {each.check}: {each.text}", indent=2)
        if each.remedy:
            say(console, f"  {each.remedy}", indent=2)
    blockers, warnings = (sum(each.level == level for each in report.findings) for level in ("blocker", "warning"))
    say(console, f"{blockers} blockers, {warnings} warnings." if blockers else f"Can run; {warnings} warnings.")


def show_direction(console: Console, source: str, target: str, tenant: str) -> None:
    """Prints where the data comes from and where it goes."""
    say(console, f"{source} → {target}, tenant {tenant}", indent=2)
