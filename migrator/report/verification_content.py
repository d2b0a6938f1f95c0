"""The content of a page on a verification, from the JSON that `migrate verify` prints.

`attach` adds it to the page on a run. Examples contain no values, unless `verify` was run with --show-values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from migrator.errors import UsageError
from migrator.formatting import format_count
from migrator.report.content import CheckResult, Content, Verification, blank_content
from migrator.verification.check_codes import CHECKS, title_of
from migrator.verification.model import summarize

LEVELS = {
    "counts": "counts, references and the catalog are checked",
    "rows": "counts are checked and every row is compared with the source",
    "roundtrip": "every row is compared and every document is rebuilt",
}


def read_verification(path: Path) -> dict[str, Any]:
    """Read a file with the output of `migrate verify --json`. Raises: `UsageError` for any other file."""
    remedy = "Create it: migrate verify --json > FILE"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint=remedy) from error
    except ValueError as error:
        raise UsageError(f"{path} is not the output of `migrate verify --json`: {error}", hint=remedy) from error
    if not isinstance(report, dict) or not isinstance(report.get("checks"), list):
        raise UsageError(f"{path} is not the output of `migrate verify --json`", hint=remedy)
    return report


def content_of_verify(report: Mapping[str, Any]) -> Content:
    """Return the content of a page on a verification only. Raises: `UsageError` if the report is incomplete."""
    verification = read_report(report)
    content = blank_content("verify", verification["rating"], verification["verdict"])
    content["verification"] = verification
    return content


def attach(content: Content, report: Mapping[str, Any]) -> Content:
    """Return the content with a verification. If it found differences, the verdict of the page starts with them."""
    verification = read_report(report)
    combined = cast("Content", {**content, "verification": verification})
    if verification["rating"] == "bad":
        combined["rating"], combined["verdict"] = "bad", f"{verification['verdict']} {content['verdict']}"
    return combined


def read_report(report: Mapping[str, Any]) -> Verification:
    """Read the parsed output of `verify --json`. Raises: `UsageError` if it is incomplete."""
    try:
        return _read(report)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError("the verification is incomplete", hint="Create it again: migrate verify --json") from error


def _read(report: Mapping[str, Any]) -> Verification:
    checks = [_check(each) for each in report["checks"]]
    failed = [each for each in checks if not each["ok"]]
    level = str(report["level"])
    return Verification(
        rating="good" if report["ok"] else "bad",
        verdict=judge(bool(report["ok"]), checks, failed),
        level=level,
        meaning=LEVELS.get(level, ""),
        seconds=float(report["seconds"]),
        failed=failed,
        passed=[each for each in checks if each["ok"]],
    )


def _check(check: Mapping[str, Any]) -> CheckResult:
    code = CHECKS.get(str(check["check"]))
    return CheckResult(
        check=str(check["check"]),
        title=title_of(str(check["check"])),
        meaning="" if code is None else code.meaning,
        remedy="" if code is None else code.remedy,
        table=str(check["table"] or ""),
        ok=bool(check["ok"]),
        expected=_format(check["expected"]),
        actual=_format(check["actual"]),
        summary=summarize(check["expected"], check["actual"]),
        differences=int(check["differences"]),
        examples=[_format(each) for each in check["examples"]],
    )


def _format(value: Any) -> str:
    """Format a value: numbers with thousands separators, mappings as 'name: value' pairs."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else ("yes" if value else "no")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_format(inner)}" for name, inner in value.items() if inner not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(map(_format, value))
    return str(value)


def judge(ok: bool, checks: list[CheckResult], failed: list[CheckResult]) -> str:
    """Return the verdict of a verification."""
    count = len(checks)
    if ok:
        return f"Verified: no differences in {format_count(count, 'checks')}."
    found = sum(each["differences"] for each in failed)
    differences = "1 difference" if found == 1 else f"{found:,} differences"
    return f"Verification found {differences}: {len(failed):,} of {format_count(count, 'checks')} failed."
