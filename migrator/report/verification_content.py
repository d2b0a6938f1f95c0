"""What a page says of a verification: from the JSON that `migrate verify` prints, whoever saved it.

A page on a run may have it, too (`attach`). Examples are as `verify` wrote them: without values, unless it was told to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from migrator.errors import UsageError
from migrator.report.content import Content, Verification, Verified, blank_content

LEVELS = {
    "counts": "counts, references and the catalog",
    "rows": "every row mapped again and compared",
    "roundtrip": "every row compared, every document rebuilt",
}


def read_verification(path: Path) -> dict[str, Any]:
    """The JSON of `migrate verify --json`, from a file. Raises `UsageError` for a file that holds something else."""
    remedy = "Make it: migrate verify --json > FILE"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=remedy) from error
    except ValueError as error:
        raise UsageError(f"{path} is not a verification: {error}", hint=remedy) from error
    if not isinstance(report, dict) or not isinstance(report.get("checks"), list):
        raise UsageError(f"{path} is not a verification", hint=remedy)
    return report


def content_of_verify(report: Mapping[str, Any]) -> Content:
    """A page on a verification alone; `report` is what `verify --json` prints. Raises `UsageError` if it is not."""
    verification = read_report(report)
    content = blank_content("verify", verification["level"], verification["verdict"])
    content["verification"] = verification
    return content


def attach(content: Content, report: Mapping[str, Any]) -> Content:
    """A page on a run, with what was proved of it; a difference is the first thing that it says."""
    verification = read_report(report)
    told = cast("Content", {**content, "verification": verification})
    if verification["level"] != "bad":
        return told
    told["level"], told["verdict"] = "bad", f"{verification['verdict']} {content['verdict']}"
    return told


def read_report(report: Mapping[str, Any]) -> Verification:
    """Raises `UsageError` where it lacks what `verify --json` prints."""
    try:
        return _read(report)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError("this verification is not complete", hint="Make it again: migrate verify --json") from error


def _read(report: Mapping[str, Any]) -> Verification:
    checks = [_check(each) for each in report["checks"]]
    failed = [each for each in checks if not each["ok"]]
    level = str(report["level"])
    return Verification(
        level="good" if report["ok"] else "bad",
        verdict=judge(bool(report["ok"]), checks, failed),
        depth=level,
        meaning=LEVELS.get(level, ""),
        seconds=float(report["seconds"]),
        failed=failed,
        passed=[each for each in checks if each["ok"]],
    )


def _check(check: Mapping[str, Any]) -> Verified:
    return Verified(
        check=str(check["check"]),
        table=str(check["table"] or ""),
        ok=bool(check["ok"]),
        expected=_told(check["expected"]),
        actual=_told(check["actual"]),
        differences=int(check["differences"]),
        examples=[_told(each) for each in check["examples"]],
    )


def _told(value: Any) -> str:
    """A number with its thousands apart; a difference with parts, part by part; anything else as it is."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else ("yes" if value else "no")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_told(inner)}" for name, inner in value.items() if inner not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value))
    return str(value)


def judge(ok: bool, checks: Iterable[Verified], failed: list[Verified]) -> str:
    count = len(list(checks))
    if ok:
        return f"Verified: no difference in {count:,} checks."
    found = sum(each["differences"] for each in failed)
    some = "1 difference" if found == 1 else f"{found:,} differences"
    return f"Verification found {some}; {len(failed):,} of {count:,} checks failed."
