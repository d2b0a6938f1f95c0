"""Prints what `migrate revert` will delete, and what it has deleted, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.formatting import format_count
from migrator.terminal.console import Console
from migrator.terminal.render import NO_BREAK, print_wrapped
from migrator.workflows.revert import RevertReport, describe_losses

# Kinds of schema objects whose name or plural is not regular.
OBJECTS = {
    "index": ("index", "indexes"),
    "key": ("primary key", "primary keys"),
    "policy": ("policy", "policies"),
    "row_security": ("row-level-security setting", "row-level-security settings"),
    "unique": ("unique constraint", "unique constraints"),
    "unique_index": ("unique index", "unique indexes"),
    "vector_index": ("vector index", "vector indexes"),
}


def show_intent(console: Console, report: RevertReport) -> None:
    """Prints what a revert will delete and restore."""
    rows = [(name, count) for name, count in report.tables.items() if count]
    console.table(("table", "rows to delete"), rows, title=f"Run {report.run} ({report.status}) will be reverted:")
    for verb, kinds in (("Drops", report.objects), ("Recreates", report.restored)):
        if kinds:
            print_wrapped(console, f"{verb}: {', '.join(_objects(kinds))}")
    if report.tenant:
        print_wrapped(console, f"Deletes the tenant that the migration created: {report.tenant}")
    records = ", ".join(f"{count:,}{NO_BREAK}{outcome}" for outcome, count in report.records.items() if count)
    print_wrapped(console, f"Deletes the records of the migration (schema migrator): {records or 'none'}")
    show_losses(console, report)


def show_losses(console: Console, report: RevertReport) -> None:
    """Prints the rows of other applications that a revert deletes, too."""
    if report.losses:
        console.print("Also deletes rows that other applications added or changed:")
        for line in describe_losses(report.losses):
            print_wrapped(console, f"  {line}", indent=4)


def _objects(kinds: Mapping[str, int]) -> Iterator[str]:
    for kind, count in kinds.items():
        if kind != "schema":  # contains the records only
            one, many = OBJECTS.get(kind, (kind.replace("_", " "), kind.replace("_", " ") + "s"))
            yield f"{count:,} {one if count == 1 else many}".replace(" ", NO_BREAK)


def show_revert(console: Console, report: RevertReport) -> None:
    """Prints what a revert has deleted."""
    rows = [(name, count) for name, count in report.tables.items() if count]
    console.table(("table", "rows deleted"), rows)
    for name, lines in report.saved.items():
        console.print(f"Saved: {format_count(lines, 'rows')} in {name}")
    console.print(f"Run {report.run} {report.status}: the target is restored to its previous state.")
