"""Reports in words and tables, for a terminal. What they say is decided elsewhere; how it looks, by the console."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from migrator.findings import FINDINGS, INFO, REASONS
from migrator.formatting import format_duration
from migrator.report.content import CollectionSummary, Content, describe_fate, meaning_of
from migrator.report.plan_content import content_of_plan
from migrator.state.ledger import Counts
from migrator.terminal.console import Console
from migrator.verification.model import Check
from migrator.workflows.plan import PlanReport
from migrator.workflows.reports import RunReport
from migrator.workflows.verify import VerifyReport

Told = tuple[str, int, str]  # code, how often, meaning
MOST_NAMED = 8  # codes, where there is no room for their meanings
TIED = "\xa0"  # a space that no line is broken at; printed as a plain one


def show_run(console: Console, report: RunReport) -> None:
    """What became of the source, the doubtful first; the verdict last, where the eye is when a run ends."""
    tables = [f"{name}{TIED}{count:,}" for name, count in report.tables.items() if count]
    rejects = [(code, count, REASONS.get(code, "")) for code, count in report.rejects.items()]
    findings = sorted(report.findings.items(), key=lambda item: (_is_note(item[0]), -item[1]))
    others = [(code, count, FINDINGS.get(code, ("", ""))[1]) for code, count in findings]
    columns, rows = _count_columns(report.collections)
    show_codes(console, "Rejected, and kept whole (migrate rejects list):", rejects)
    show_findings(console, others, len(rows) + len(rejects) + 10)
    console.table(columns, rows)
    say(console, f"Rows: {', '.join(tables) or 'none'}")
    total = sum(counts.source for counts in report.collections.values())
    lost = sum(abs(counts.remainder) for counts in report.collections.values())
    console.print(
        f"Run {report.run} {report.status}: {total:,} documents in {format_duration(report.seconds)}, {lost} lost."
    )


def _count_columns(collections: Mapping[str, Counts]) -> tuple[Sequence[str], list[Sequence[object]]]:
    """Mapped collections line by line; what is only archived in one line. A remainder is shown where there is one."""
    archived = {n: c for n, c in collections.items() if c.archived == c.source and c.remainder == 0}
    rows: list[tuple[object, ...]] = [
        (name, c.source, c.loaded, c.rejected, c.archived, c.remainder)
        for name, c in collections.items()
        if name not in archived
    ]
    if archived:
        documents = sum(c.source for c in archived.values())
        rows.append((f"{len(archived)} archived whole", documents, 0, 0, documents, 0))
    columns = ("collection", "documents", "loaded", "rejected", "archived", "remainder")
    kept = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
    return columns[:kept], [row[:kept] for row in rows]


def show_codes(console: Console, title: str, codes: Sequence[Told]) -> None:
    """One line a code: how often, its name, what it means."""
    if codes:
        console.print(title)
        wide = max(len(code) for code, _, _ in codes)
        for code, count, meaning in codes:
            say(console, f"{count:>7,}  {code:<{wide}}  {meaning}", indent=wide + 11)


def show_findings(console: Console, codes: Sequence[Told], used: int) -> None:
    """With their meanings, if they fit on the screen beside the `used` lines; else their names, one after another."""
    warnings, notes = (sum(count for code, count, _ in codes if _is_note(code) is wanted) for wanted in (False, True))
    title = f"Repaired, changed or doubtful: {warnings:,} warnings, {notes:,} notes"
    if not sys.stdout.isatty() or used + len(codes) < shutil.get_terminal_size().lines:
        show_codes(console, f"{title}:", codes)
    elif codes:
        named = [f"{code}{TIED}{count:,}" for code, count, _ in codes[:MOST_NAMED]]
        say(console, f"{title}: {', '.join(named)}{', …' if len(codes) > MOST_NAMED else ''}", indent=4)


def _is_note(code: str) -> bool:
    return FINDINGS.get(code, ("",))[0] == INFO


def say(console: Console, text: str, indent: int = 2) -> None:
    """A long line, broken between words; the console itself breaks nothing, for whoever searches its output."""
    if not sys.stdout.isatty():
        console.print(text.replace(TIED, " "))
        return
    width = max(shutil.get_terminal_size().columns - 1, indent + 20)
    for line in textwrap.wrap(text, width, subsequent_indent=" " * indent):
        console.print(line.replace(TIED, " "))


def show_verify(console: Console, report: VerifyReport) -> None:
    """Failed checks with examples; how many passed."""
    failed = [check for check in report.checks if not check.ok]
    for check in failed:
        console.print(f"✗ {_name(check)}: {check.summary}")
        for example in check.examples:
            console.print(f"    {example}")
    passed = len(report.checks) - len(failed)
    verdict = "no difference" if report.ok else f"{len(failed)} checks found differences"
    console.print(
        f"Verified at level {report.level}: {verdict}; {passed} of {len(report.checks)} checks passed"
        f" in {format_duration(report.seconds)}."
    )


def _name(check: Check) -> str:
    return f"{check.title} ({check.table})" if check.table else check.title


def show_plan(console: Console, report: PlanReport) -> None:
    """The forecast on one screen: what is in the way, what will be rejected and why, what is doubtful, the figures."""
    content = content_of_plan(report.as_json())
    show_verdict(console, content)
    for blocker in content["blockers"]:
        say(console, f"✗ Blocker: {blocker}", indent=11)
    rejects, findings = (
        [(each["code"], each["count"], each["meaning"]) for each in content[kind]] for kind in ("rejects", "findings")
    )
    rows = list(_forecast(content["collections"]))
    show_codes(console, "Rejected, and kept whole:", rejects)
    show_findings(console, findings, len(content["blockers"]) + len(rejects) + len(rows) + 10)
    console.table(("collection", "documents", "loaded", "rejected", "archived"), rows)
    for name, reason in content["left_out"].items():
        say(console, f"Not read: {name} ({reason})")
    show_estimate(console, content)


def show_verdict(console: Console, content: Content) -> None:
    figures, blockers = content["figures"], len(content["blockers"])
    verdict = f"✗ Cannot run ({_count(blockers, 'blocker')})" if blockers else "✓ Can run"
    told = f"{figures['loaded']:,} of {figures['documents']:,} documents load"
    say(console, f"{verdict}: {told}, {figures['rejected']:,} rejected, {figures['archived']:,} archived.")


def show_estimate(console: Console, content: Content) -> None:
    """The last line: what it costs, and where to read on; with blockers, that they are there."""
    figures = content["figures"]
    cost = f"About {format_duration(figures['seconds'])}, {figures['target_bytes'] / 1e6:,.0f} MB"
    if figures.get("embedding_chunks"):
        usd = figures.get("embedding_usd")
        price = f", about ${usd:,.4f}" if usd else ""
        told = f"{figures['embedding_chunks']:,} chunks, about {figures['embedding_tokens']:,} tokens{price}"
        say(console, f"To embed: {told}")
    doubtful = [
        spot["collection"] for code in (*content["rejects"], *content["findings"]) for spot in code["occurrences"]
    ]
    more = f" Look closer: migrate plan --details {doubtful[0]}" if doubtful else ""
    say(console, f"{cost}; {_count(len(content['blockers']), 'blocker')}.{more}")


def _forecast(entries: Sequence[CollectionSummary]) -> Iterator[tuple[object, ...]]:
    """Collections with a table line by line, the others in one."""
    whole = [each for each in entries if each["table"] is None]
    for each in entries:
        if each["table"] is not None:
            name = each["name"] if each["table"] == each["name"] else f"{each['name']} → {each['table']}"
            yield name, each["documents"], each["loaded"], each["rejected"], each["archived"]
    if whole:
        documents, archived = sum(each["documents"] for each in whole), sum(each["archived"] for each in whole)
        yield f"{_count(len(whole), 'other')} → archive", documents, 0, 0, archived


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def show_details(console: Console, report: PlanReport, name: str) -> None:
    """One collection: its fields and what becomes of them, what is rejected or doubtful, with `_id`s."""
    told = next(each for each in report.collections if each["name"] == name)
    fields = [
        (
            each["path"],
            ", ".join(f"{kind} {n:,}" for kind, n in each["types"].items()),
            each["present"],
            describe_fate(each["fate"]),
        )
        for each in told["fields"]
    ]
    console.table(("path", "types", "present", "mapped to"), fields)
    if told["fields_beyond"]:
        say(console, f"and {told['fields_beyond']:,} values of further paths")
    predicted = told["predicted"]
    outcome = ", ".join(f"{count:,} {outcome}" for outcome, count in predicted.items())
    say(console, f"{name} → {told['mapping'] or 'archive'}: {told['documents']:,} documents, {outcome}.")
    for each in told["findings"]:
        say(console, f"{each['count']:>7,}  {each['severity']}  {each['code']}: {_meaning(each)}", indent=9)
        more = ", …" if each["count"] > len(each["examples"]) else ""
        say(console, f"{'':9}_id {', '.join(dict.fromkeys(each['examples']))}{more}", indent=9)


def _meaning(finding: Mapping[str, Any]) -> str:
    return meaning_of(finding["code"], finding["severity"])
