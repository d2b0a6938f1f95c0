"""What `migrate revert` is about to do, and what it did, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.terminal.console import Console
from migrator.terminal.render import TIED, say
from migrator.workflows.revert import RevertReport, tell

OBJECTS = {
    "policy": ("policy", "policies"),
    "index": ("index", "indexes"),
    "unique_index": ("unique index", "unique indexes"),
    "vector_index": ("vector index", "vector indexes"),
    "row_security": ("switch of row security", "switches of row security"),
}


def show_intent(console: Console, report: RevertReport) -> None:
    """What a revert is about to do."""
    rows = [(name, count) for name, count in report.tables.items() if count]
    console.table(("table", "rows to remove"), rows, title=f"Run {report.run}, {report.status}, will be taken back:")
    for verb, kinds in (("Drops", report.objects), ("Makes again", report.restored)):
        if kinds:
            say(console, f"{verb}: {', '.join(_objects(kinds))}")
    if report.tenant:
        say(console, f"Removes the tenant that it made: {report.tenant}")
    kept = ", ".join(f"{count:,}{TIED}{outcome}" for outcome, count in report.records.items() if count)
    say(console, f"Removes its records (schema migrator): {kept or 'none'}")
    show_losses(console, report)


def show_losses(console: Console, report: RevertReport) -> None:
    """Rows that others wrote or changed, and that go with the migration."""
    if report.losses:
        console.print("Lost with it:")
        for line in tell(report.losses):
            say(console, f"  {line}", indent=4)


def _objects(kinds: Mapping[str, int]) -> Iterator[str]:
    for kind, count in kinds.items():
        if kind != "schema":  # the records' own
            one, many = OBJECTS.get(kind, (kind.replace("_", " "), kind.replace("_", " ") + "s"))
            yield f"{count:,} {one if count == 1 else many}".replace(" ", TIED)


def show_revert(console: Console, report: RevertReport) -> None:
    rows = [(name, count) for name, count in report.tables.items() if count]
    console.table(("table", "rows removed"), rows)
    for name, lines in report.saved.items():
        console.print(f"Saved: {lines:,} rows in {name}")
    console.print(f"Run {report.run} {report.status}: the target is as it was before.")
