"""Prints the reports of run, plan and verify on a terminal, as sentences and tables.

Not here: the content of a page (report), and colours and widths (console.py).
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from migrator.findings import FINDINGS, INFO, REASONS, SETTINGS
from migrator.formatting import format_count, format_duration
from migrator.report.content import CollectionSummary, Content, describe_fate, meaning_of
from migrator.report.plan_content import content_of_plan
from migrator.terminal.console import Console

if TYPE_CHECKING:  # a command imports the reports that it has
    from migrator.reversing.rehearsal import Returnable
    from migrator.state.ledger import Counts
    from migrator.verification.model import Check
    from migrator.workflows.plan_report import PlanReport
    from migrator.workflows.reports import RunReport
    from migrator.workflows.verify import VerifyReport

CodeCount = tuple[str, int, str]  # code, count, meaning
MAX_CODES = 8  # codes in one line, if the screen is too small for their meanings
# What happens to vectors of the source.
VECTORS = {
    "reused": "reused",
    "unusable": "unusable (computed like missing ones)",
    "not_used": 'not used (vectors = "reembed")',
}
NO_BREAK = "\xa0"  # a space at which lines are not broken; printed as an ordinary space


def show_run(console: Console, report: RunReport) -> None:
    """Prints the outcome by reason, finding, collection and table. The summary is last, above the prompt."""
    tables = [f"{name}{NO_BREAK}{count:,}" for name, count in report.tables.items() if count]
    rejects = [(code, count, _with_setting(code, REASONS.get(code, ""))) for code, count in report.rejects.items()]
    findings = sorted(report.findings.items(), key=lambda item: (_is_info(item[0]), -item[1]))
    others = [(code, count, FINDINGS.get(code, ("", ""))[1]) for code, count in findings]
    columns, rows = _count_columns(report.collections)
    show_codes(console, "Rejected (original documents kept; see: migrate rejects list):", rejects)
    show_findings(console, others, len(rows) + len(rejects) + 10)
    console.table(columns, rows)
    print_wrapped(console, f"Rows: {', '.join(tables) or 'none'}")
    total = format_count(sum(counts.source for counts in report.collections.values()), "documents")
    console.print(
        f"Run {report.run} {report.status}: {total} in {format_duration(report.seconds)},"
        f" {describe_accounting(report.collections)}."
    )


def _with_setting(reason: str, meaning: str) -> str:
    """Adds the setting that loads documents with this reject reason, if there is one."""
    return f"{meaning}; see {SETTINGS[reason]}" if reason in SETTINGS else meaning


def describe_accounting(collections: Mapping[str, Counts]) -> str:
    """Says whether every document is loaded, rejected or archived."""
    missing = sum(abs(counts.remainder) for counts in collections.values())
    if missing:
        return f"{format_count(missing, 'documents')} not accounted for"
    return f"all documents accounted for ({sum(counts.rejected for counts in collections.values()):,} rejected)"


def _count_columns(collections: Mapping[str, Counts]) -> tuple[Sequence[str], list[Sequence[object]]]:
    """Returns one row per mapped collection and one for all archived ones; the remainder only if there is one."""
    archived = {n: c for n, c in collections.items() if c.archived == c.source and c.remainder == 0}
    rows: list[tuple[object, ...]] = [
        (name, c.source, c.loaded, c.rejected, c.archived, c.remainder)
        for name, c in collections.items()
        if name not in archived
    ]
    if archived:
        documents = sum(c.source for c in archived.values())
        rows.append((f"{format_count(len(archived), 'collections')} archived", documents, 0, 0, documents, 0))
    columns = ("collection", "documents", "loaded", "rejected", "archived", "remainder")
    kept = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
    return columns[:kept], [row[:kept] for row in rows]


def show_codes(console: Console, title: str, codes: Sequence[CodeCount]) -> None:
    """Prints one line per code: count, code, meaning."""
    if codes:
        console.print(title)
        wide = max(len(code) for code, _, _ in codes)
        for code, count, meaning in codes:
            print_wrapped(console, f"{count:>7,}  {code:<{wide}}  {meaning}", indent=wide + 11)


def show_findings(console: Console, codes: Sequence[CodeCount], used: int) -> None:
    """Prints findings with their meanings; only their codes, if the screen has not enough lines besides `used`."""
    warnings, infos = (sum(count for code, count, _ in codes if _is_info(code) is wanted) for wanted in (False, True))
    title = f"Warnings and automatic corrections: {format_count(warnings, 'warnings')}, {infos:,} info"
    if not sys.stdout.isatty() or used + len(codes) < shutil.get_terminal_size().lines:
        show_codes(console, f"{title}:", codes)
    elif codes:
        named = [f"{code}{NO_BREAK}{count:,}" for code, count, _ in codes[:MAX_CODES]]
        print_wrapped(console, f"{title}: {', '.join(named)}{', …' if len(codes) > MAX_CODES else ''}", indent=4)


def _is_info(code: str) -> bool:
    return FINDINGS.get(code, ("",))[0] == INFO


def print_wrapped(console: Console, text: str, indent: int = 2) -> None:
    """Prints a long line, broken between words on a terminal. Elsewhere it stays one line, for text search."""
    if not sys.stdout.isatty():
        console.print(text.replace(NO_BREAK, " "))
        return
    width = max(shutil.get_terminal_size().columns - 1, indent + 20)
    for line in textwrap.wrap(text, width, subsequent_indent=" " * indent):
        console.print(line.replace(NO_BREAK, " "))


def show_verify(console: Console, report: VerifyReport) -> None:
    """Prints the failed checks with examples, and the number of passed ones."""
    failed = [check for check in report.checks if not check.ok]
    for check in failed:
        console.print(f"✗ {_name(check)}: {check.summary}")
        for example in check.examples:
            console.print(f"    {example}")
    passed = len(report.checks) - len(failed)
    verdict = "no difference" if report.ok else f"{format_count(len(failed), 'checks')} found differences"
    console.print(
        f"Verified at level {report.level}: {verdict}; {passed} of {format_count(len(report.checks), 'checks')}"
        f" passed in {format_duration(report.seconds)}."
    )
    if report.not_applied:
        changed = format_count(report.not_applied, "changed documents")
        console.print(f"{changed} not yet applied by `migrate follow`; not compared.")


def _name(check: Check) -> str:
    return f"{check.title} ({check.table})" if check.table else check.title


def show_plan(console: Console, report: PlanReport) -> None:
    """Prints the plan on one screen: blockers, rejected documents by reason, findings, counts, estimate."""
    content = content_of_plan(report.as_json())
    show_verdict(console, content)
    for blocker in content["blockers"]:
        print_wrapped(console, f"✗ Blocker: {blocker}", indent=11)
    rejects = [
        (each["code"], each["count"], _with_setting(each["code"], each["meaning"])) for each in content["rejects"]
    ]
    findings = [(each["code"], each["count"], each["meaning"]) for each in content["findings"]]
    rows = list(_predicted_rows(content["collections"]))
    show_codes(console, "Rejected (original documents kept):", rejects)
    show_findings(console, findings, len(content["blockers"]) + len(rejects) + len(rows) + 10)
    console.table(("collection", "documents", "loaded", "rejected", "archived"), rows)
    for name, reason in content["left_out"].items():
        print_wrapped(console, f"Not read: {name} ({reason})")
    show_returnable(console, report.returnable)
    show_estimate(console, content)


def show_returnable(console: Console, returnable: Sequence[Returnable]) -> None:
    """Prints which columns cannot be returned to MongoDB after a switch of the application."""
    tried, lost = (sum(getattr(each, name).total() for each in returnable) for name in ("tried", "lost"))
    if not tried:
        return
    print_wrapped(
        console,
        f"After a switch to PostgreSQL, {lost:,} of {format_count(tried, 'tried changes')} of single columns could not"
        f" be returned to MongoDB{':' if lost else '.'}",
    )
    for each in returnable:
        if each.lost:
            columns = ", ".join(f"{name} {count}/{each.tried[name]}" for name, count in sorted(each.lost.items()))
            print_wrapped(console, f"  {each.collection}: {columns}", indent=4)


def show_verdict(console: Console, content: Content) -> None:
    figures, blockers = content["figures"], len(content["blockers"])
    verdict = f"✗ Cannot run ({format_count(blockers, 'blockers')})" if blockers else "✓ Can run"
    loaded = f"{figures['loaded']:,} of {format_count(int(figures['documents']), 'documents')} will be loaded"
    print_wrapped(console, f"{verdict}: {loaded}, {figures['rejected']:,} rejected, {figures['archived']:,} archived.")


def show_estimate(console: Console, content: Content) -> None:
    """Prints the estimated duration, size and cost, the number of blockers, and the command that shows details."""
    figures = content["figures"]
    cost = f"About {format_duration(figures['seconds'])}, {figures['target_bytes'] / 1e6:,.0f} MB"
    if figures.get("embedding_chunks"):
        usd = figures.get("embedding_usd")
        price = f", about ${usd:,.4f}" if usd else ""
        chunks = format_count(int(figures["embedding_chunks"]), "chunks")
        texts = f"{chunks}, about {figures['embedding_tokens']:,} tokens{price}"
        print_wrapped(console, f"To embed: {texts}")
    vectors = [
        f"{figures[f'embedding_{name}']:,} {text}" for name, text in VECTORS.items() if figures.get(f"embedding_{name}")
    ]
    if vectors:
        print_wrapped(console, f"Vectors of the source: {', '.join(vectors)}")
    names = [each["collection"] for code in (*content["rejects"], *content["findings"]) for each in code["occurrences"]]
    more = f" For details: migrate plan --details {names[0]}" if names else ""
    blockers = len(content["blockers"])
    print_wrapped(console, f"{cost}. {format_count(blockers, 'blockers') if blockers else 'No blockers'}.{more}")


def _predicted_rows(entries: Sequence[CollectionSummary]) -> Iterator[tuple[object, ...]]:
    """Yields one row per collection with a table, and one for all others."""
    others = [each for each in entries if each["table"] is None]
    for each in entries:
        if each["table"] is not None:
            name = each["name"] if each["table"] == each["name"] else f"{each['name']} → {each['table']}"
            yield name, each["documents"], each["loaded"], each["rejected"], each["archived"]
    if others:
        documents, archived = sum(each["documents"] for each in others), sum(each["archived"] for each in others)
        yield f"{format_count(len(others), 'others')} → archive", documents, 0, 0, archived


def show_details(console: Console, report: PlanReport, name: str) -> None:
    """Prints one collection: its fields with types and columns, its reject reasons and findings with `_id`s."""
    found = next(each for each in report.collections if each["name"] == name)
    fields = [
        (
            each["path"],
            ", ".join(f"{kind} {n:,}" for kind, n in each["types"].items()),
            each["present"],
            describe_fate(each["fate"]),
        )
        for each in found["fields"]
    ]
    console.table(("path", "types", "present", "mapped to"), fields)
    if found["fields_beyond"]:
        print_wrapped(console, f"and {found['fields_beyond']:,} values of further paths")
    predicted = found["predicted"]
    outcome = ", ".join(f"{count:,} {outcome}" for outcome, count in predicted.items())
    documents = format_count(found["documents"], "documents")
    print_wrapped(console, f"{name} → {found['mapping'] or 'archive'}: {documents}, {outcome}.")
    for each in found["findings"]:
        print_wrapped(console, f"{each['count']:>7,}  {each['severity']}  {each['code']}: {_meaning(each)}", indent=9)
        more = ", …" if each["count"] > len(each["examples"]) else ""
        print_wrapped(console, f"{'':9}_id {', '.join(dict.fromkeys(each['examples']))}{more}", indent=9)


def _meaning(finding: Mapping[str, Any]) -> str:
    return meaning_of(finding["code"], finding["severity"])
