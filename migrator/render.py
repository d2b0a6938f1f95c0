"""Reports in words and tables, for a terminal. What they say is decided elsewhere; how it looks, by the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrator.checks.base import Check
from migrator.console import Console
from migrator.findings import FINDINGS, REASONS
from migrator.handover import Counts, RunReport
from migrator.progress import format_duration
from migrator.stages.plan import PlanReport
from migrator.stages.revert import RevertReport
from migrator.stages.verify import VerifyReport


def show_run(console: Console, report: RunReport) -> None:
    """What became of the source, collection by collection, and what the engineer should look at."""
    show_counts(console, report.collections, report.tables)
    show_codes(console, "Rejected, by reason (migrate rejects list)", report.rejects, REASONS)
    show_codes(console, "Findings", report.findings, {code: text for code, (_, text) in FINDINGS.items()})
    total = sum(counts.source for counts in report.collections.values())
    lost = sum(abs(counts.remainder) for counts in report.collections.values())
    console.print(
        f"Run {report.run} {report.status}: {total:,} documents in {format_duration(report.seconds)}, {lost} lost."
    )


def show_counts(console: Console, collections: Mapping[str, Counts], tables: Mapping[str, int]) -> None:
    """Mapped collections line by line; what is only archived in one line."""
    archived = {n: c for n, c in collections.items() if c.archived == c.source and c.remainder == 0}
    rows: list[tuple[object, ...]] = [
        (name, c.source, c.loaded, c.rejected, c.archived, c.remainder)
        for name, c in collections.items()
        if name not in archived
    ]
    if archived:
        documents = sum(c.source for c in archived.values())
        rows.append((f"{len(archived)} archived whole", documents, 0, 0, documents, 0))
    console.table(("collection", "source", "loaded", "rejected", "archived", "remainder"), rows)
    loaded = ", ".join(f"{name} {count:,}" for name, count in tables.items() if count)
    console.print(f"Rows: {loaded or 'none'}")


def show_codes(console: Console, title: str, counted: Mapping[str, int], meanings: Mapping[str, str]) -> None:
    if counted:
        rows = [(code, count, meanings.get(code, "")) for code, count in counted.items()]
        console.table(("code", "count", "meaning"), rows, title=title)


def show_verify(console: Console, report: VerifyReport) -> None:
    """Failed checks with examples; how many passed."""
    failed = [check for check in report.checks if not check.ok]
    for check in failed:
        console.print(f"✗ {_name(check)}: expected {check.expected}, found {check.actual}")
        for example in check.examples:
            console.print(f"    {example}")
    passed = len(report.checks) - len(failed)
    verdict = "no difference" if report.ok else f"{len(failed)} checks found differences"
    console.print(
        f"Verified at level {report.level}: {verdict}; {passed} of {len(report.checks)} checks passed"
        f" in {format_duration(report.seconds)}."
    )


def _name(check: Check) -> str:
    return f"{check.check} ({check.table})" if check.table else check.check


def show_plan(console: Console, report: PlanReport) -> None:
    """The forecast on one screen."""
    rows: list[tuple[object, ...]] = []
    whole = [each for each in report.collections if each["mapping"] is None]
    for each in report.collections:
        if each["mapping"] is not None:
            told = each["predicted"]
            figures = (each["documents"], told["loaded"], told["rejected"], told["archived"])
            rows.append((f"{each['name']} → {each['mapping']}", *figures, _codes(each)))
    if whole:
        documents = sum(each["documents"] for each in whole)
        rows.append((f"{len(whole)} others → archive", documents, 0, 0, documents, ""))
    console.table(("collection", "documents", "loaded", "rejected", "archived", "findings"), rows, title="Forecast")
    for name, reason in report.left_out.items():
        console.print(f"Not read: {name} ({reason})")
    for blocker in report.blockers:
        console.print(f"✗ Blocker: {blocker}")
    console.print(
        f"About {format_duration(report.seconds)} and {report.target_bytes / 1e6:,.0f} MB in the target;"
        f" {len(report.blockers)} blockers."
    )


def _codes(collection: Mapping[str, Any]) -> str:
    return ", ".join(f"{each['code']} {each['count']:,}" for each in collection["findings"])


def show_revert(console: Console, report: RevertReport) -> None:
    rows = [(name, count) for name, count in report.tables.items()]
    console.table(("table", "rows"), rows, title=f"Run {report.run}: {report.status}")


def show_status(console: Console, found: Mapping[str, Any]) -> None:
    """Where a run stands."""
    if found["run"] is None:
        console.print("There is no migration in this target yet.")
        return
    rows = [
        (
            each["name"],
            each["documents"],
            f"{each['bytes'] / 1e6:,.1f} MB",
            "complete" if each["complete"] else "reading",
        )
        for each in found["collections"]
    ]
    console.table(("collection", "documents", "read", ""), rows)
    rate = found["documents_per_second"]
    pace = f", {rate:,} documents a second in the last minute" if rate and found["status"] == "running" else ""
    console.print(f"Run {found['run']}: {found['status']}{pace}.")
