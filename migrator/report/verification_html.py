"""The part of a page that says what a verification found: differences first and spelt out, what passed on demand."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.formatting import format_duration
from migrator.report.components import chip, clean, fold, name, section, table
from migrator.report.content import Verification, Verified

OPEN = 12  # failed checks that are shown unfolded; more of them would bury what follows


def render_verification(found: Verification, *, alone: bool) -> Iterator[str]:
    """Sections. `alone`: the verdict is the page's own, so it is not said again."""
    words = f"Level {clean(found['depth'])}: {clean(found['meaning'])}; in {format_duration(found['seconds'])}."
    verdict = "" if alone else f'<p class="said {found["level"]}">{clean(found["verdict"])}</p>'
    failed = [_failed(each, opened=place < OPEN) for place, each in enumerate(found["failed"])]
    passed = _passed(found["passed"])
    if failed:
        yield section("What does not agree", words, verdict, *failed)
        yield section("What agrees", "", *passed)
    elif alone:
        yield section("What agrees", words, *passed)
    else:
        yield section("Verification", words, verdict, fold("All checks", '<div class="inner">', *passed, "</div>"))


def count_verification(found: Verification) -> Iterator[tuple[str, str]]:
    """Figures for the head of a page on a verification alone."""
    yield "checks", f"{len(found['passed']) + len(found['failed']):,}"
    yield "failed", f"{len(found['failed']):,}"
    yield "differences", f"{sum(each['differences'] for each in found['failed']):,}"
    yield "time", format_duration(found["seconds"])


def _failed(check: Verified, *, opened: bool) -> str:
    where = f" {name(check['table'])}:" if check["table"] else ""
    summary = (
        f"{chip('difference')}<b>{check['differences']:,}</b><code>{clean(check['check'])}</code>{where}"
        f" expected {name(check['expected'])}, found {name(check['actual'])}"
    )
    items = "".join(f"<li>{name(each)}</li>" for each in check["examples"])
    left = check["differences"] - len(check["examples"])
    more = f"<p>… and {left:,} more</p>" if left > 0 and check["examples"] else ""
    return fold(summary, f'<ul class="examples">{items}</ul>' if items else "", more, opened=opened)


def _passed(checks: list[Verified]) -> Iterator[str]:
    """One fold for every kind of check."""
    kinds: dict[str, list[Verified]] = {}
    for check in checks:
        kinds.setdefault(check["check"], []).append(check)
    for kind, several in kinds.items():
        summary = f"{chip('equal')}<b>{len(several):,}</b><code>{clean(kind)}</code> {_tables(several)}"
        rows = ((name(each["table"]), name(each["expected"]), name(each["actual"])) for each in several)
        yield fold(summary, table(("of", "#expected", "#found"), rows))


def _tables(checks: list[Verified]) -> str:
    """The names, as far as they are few."""
    names = list(dict.fromkeys(each["table"] for each in checks if each["table"]))
    return name(", ".join(names)) if 0 < len(names) <= 9 else ""
