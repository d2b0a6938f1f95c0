"""The section on a verification: failed checks with their differences first, passed checks on demand."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.formatting import format_duration
from migrator.report.components import chip, clean, fold, format_text, name, section, table
from migrator.report.content import CheckResult, Verification

MAX_OPEN = 12  # failed checks that are shown open; more would hide the rest of the page


def render_verification(found: Verification, *, alone: bool) -> Iterator[str]:
    """Yield the sections. `alone`: the page has no other content. The header shows a bad verdict already."""
    description = (
        f"Level {clean(found['level'])}: {clean(found['meaning'])}. Time: {format_duration(found['seconds'])}."
    )
    verdict = (
        ""
        if alone or found["rating"] == "bad"
        else f'<p class="result {found["rating"]}">{clean(found["verdict"])}</p>'
    )
    failed = [_render_failed(each, opened=place < MAX_OPEN) for place, each in enumerate(found["failed"])]
    passed = _render_passed(found["passed"])
    if failed:
        yield section("Failed checks", description, verdict, *failed)
        yield section("Passed checks", "", *passed)
    elif alone:
        yield section("Passed checks", description, *passed)
    else:
        yield section(
            "Verification", description, verdict, fold("All checks", '<div class="inner">', *passed, "</div>")
        )


def count_verification(found: Verification) -> Iterator[tuple[str, str]]:
    """Yield the figures for the header of a page on a verification only."""
    yield "checks", f"{len(found['passed']) + len(found['failed']):,}"
    yield "failed", f"{len(found['failed']):,}"
    yield "differences", f"{sum(each['differences'] for each in found['failed']):,}"
    yield "time", format_duration(found["seconds"])


def _render_failed(check: CheckResult, *, opened: bool) -> str:
    table_name = f" {name(check['table'])}:" if check["table"] else ""
    summary = (
        f"{chip('failed')}<b>{check['differences']:,}</b><code>{clean(check['title'])}</code>{table_name}"
        f" {name(check['summary'])}"
    )
    items = "".join(f"<li>{name(each)}</li>" for each in check["examples"])
    left = check["differences"] - len(check["examples"])
    more = f"<p>… and {left:,} more</p>" if left > 0 and check["examples"] else ""
    advice = f"<p>{format_text(check['meaning'])}<br>{format_text(check['remedy'])}</p>" if check["meaning"] else ""
    return fold(summary, advice, f'<ul class="examples">{items}</ul>' if items else "", more, opened=opened)


def _render_passed(checks: list[CheckResult]) -> Iterator[str]:
    """Yield one fold for each kind of check."""
    kinds: dict[str, list[CheckResult]] = {}
    for check in checks:
        kinds.setdefault(check["title"], []).append(check)
    for title, several in kinds.items():
        summary = f"{chip('passed')}<b>{len(several):,}</b><code>{clean(title)}</code> {_list_tables(several)}"
        meaning = f"<p>{format_text(several[0]['meaning'])}</p>" if several[0]["meaning"] else ""
        yield fold(summary, meaning, _passed_table(several))


def _passed_table(checks: list[CheckResult]) -> str:
    if all(each["expected"] == each["actual"] for each in checks):
        return table(("object", "result"), ((name(each["table"]), name(each["actual"])) for each in checks))
    rows = ((name(each["table"]), name(each["expected"]), name(each["actual"])) for each in checks)
    return table(("object", "expected", "found"), rows)


def _list_tables(checks: list[CheckResult]) -> str:
    """Return the names of the tables if there are few."""
    names = list(dict.fromkeys(each["table"] for each in checks if each["table"]))
    return name(", ".join(names)) if 0 < len(names) <= 9 else ""
