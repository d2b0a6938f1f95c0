"""The page on a verification: differences first, no markup injection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from migrator.errors import UsageError
from migrator.report.page import render_page
from migrator.report.plan_content import content_of_plan
from migrator.report.verification_content import attach, content_of_verify, read_verification
from tests.unit.test_page import NASTY, Reader, make_plan


def make_check(check: str, differences: int = 0, **more: Any) -> dict[str, Any]:
    values = {"expected": 1234, "actual": 1234 - differences, "ok": not differences, "differences": differences}
    return {"check": check, "table": "messages", "examples": [], **values, **more}


def make_report(*checks: dict[str, Any]) -> dict[str, Any]:
    """Return the output of `verify --json`."""
    ok = all(check["ok"] for check in checks)
    return {"ok": ok, "level": "rows", "checks": list(checks), "collections": {}, "seconds": 2.5}


def test_verdict_without_differences() -> None:
    """A verification without differences shows its verdict, and its checks on demand."""
    content = content_of_verify(make_report(make_check("rows"), make_check("rows"), make_check("tenant")))
    text = Reader(render_page(content)).text
    assert content["rating"] == "good"
    assert "Verified: no differences in 3 checks." in text
    assert "every row is compared with the source" in text
    assert "1,234" in text


def test_failed_checks_come_first() -> None:
    """Failed checks come first, open, with examples and the number of further differences."""
    examples = ["row 7: title differs", {"row": "8", "column": "title", "fault": "target", "note": None}]
    report = make_report(make_check("tenant"), make_check("rows", 17, examples=examples))
    page = render_page(content_of_verify(report))
    text = Reader(page).text
    assert "Verification found 17 differences: 1 of 2 checks failed." in text
    places = [text.index(part) for part in ("Failed checks", "row 7: title", "and 15 more", "Passed checks", "tenant")]
    assert places == sorted(places)
    assert "row: 8; column: title; fault: target" in text
    assert page.count("<details open>") == 1


def test_markup_in_examples_is_escaped() -> None:
    """Values from `verify --show-values` are text, never markup."""
    check = make_check(NASTY, 1, table=NASTY, expected=NASTY, actual=[NASTY], examples=[NASTY, {NASTY: NASTY}])
    read = Reader(render_page(content_of_verify(make_report(check, make_check(NASTY, table=NASTY)))))
    assert not {tag for tag, _ in read.elements} & {"script", "img", "b-odd", "iframe"}
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    assert read.text.count(NASTY) >= 7


def test_run_with_differences_is_bad() -> None:
    """A difference changes the verdict of the page; without one the verdict stays."""
    content = content_of_plan(make_plan(["users"], [], blocking=[]))
    worse, same = (attach(content, make_report(make_check("rows", n))) for n in (3, 0))
    assert (worse["rating"], same["rating"]) == ("bad", "warning")
    assert worse["verdict"].startswith("Verification found 3 differences")
    assert same["verdict"] == content["verdict"]
    assert "Verified: no differences" in Reader(render_page(same)).text


def test_many_differences_render_fast() -> None:
    """Of ten thousand failed checks only the first are open."""
    checks = [make_check(f"check {number % 7}", 2, examples=["a", "b"]) for number in range(10_000)]
    page = render_page(content_of_verify(make_report(*checks)))
    assert page.count("<details open>") == 12
    assert len(page) < 5_000_000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checks": {}}', '{"fingerprints": {}}'])
def test_other_file_is_refused(tmp_path: Path, text: str) -> None:
    """Any other file is refused with a hint."""
    (tmp_path / "verify.json").write_text(text, encoding="utf-8")
    for name in ("verify.json", "none.json"):
        with pytest.raises(UsageError) as raised:
            read_verification(tmp_path / name)
        assert "verify --json" in raised.value.hint


@pytest.mark.parametrize("lacking", ["ok", "level", "seconds"])
def test_incomplete_verification(lacking: str) -> None:
    """An incomplete verification is refused, without a traceback."""
    report = json.loads(json.dumps(make_report(make_check("rows"))))
    del report[lacking]
    with pytest.raises(UsageError, match="incomplete"):
        content_of_verify(report)
