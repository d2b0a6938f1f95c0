"""The page on a verification: differences first, whoever wrote them, and nothing of them as markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from migrator.errors import UsageError
from migrator.report.content import content_of_plan
from migrator.report.page import render_page
from migrator.report.verification_content import attach, content_of_verify, read_verification
from tests.unit.test_page import NASTY, Reader, make_plan


def make_check(check: str, differences: int = 0, **more: Any) -> dict[str, Any]:
    told = {"expected": 1234, "actual": 1234 - differences, "ok": not differences, "differences": differences}
    return {"check": check, "table": "messages", "examples": [], **told, **more}


def make_report(*checks: dict[str, Any]) -> dict[str, Any]:
    """What `verify --json` prints."""
    ok = all(check["ok"] for check in checks)
    return {"ok": ok, "level": "rows", "checks": list(checks), "collections": {}, "seconds": 2.5}


def test_no_difference_is_said_first() -> None:
    """A clean verification is good news in one sentence, with its checks on demand."""
    content = content_of_verify(make_report(make_check("rows"), make_check("rows"), make_check("tenant")))
    text = Reader(render_page(content)).text
    assert content["level"] == "good"
    assert "Verified: no difference in 3 checks." in text
    assert "every row mapped again and compared" in text
    assert "1,234" in text


def test_differences_come_before_what_agrees() -> None:
    """What failed stands first, unfolded, with its examples and how many more there are."""
    examples = ["row 7: title differs", {"row": "8", "column": "title", "fault": "target changed since", "note": None}]
    report = make_report(make_check("tenant"), make_check("rows", 17, examples=examples))
    page = render_page(content_of_verify(report))
    text = Reader(page).text
    assert "Verification found 17 differences; 1 of 2 checks failed." in text
    places = [text.index(part) for part in ("does not agree", "row 7: title", "and 15 more", "What agrees", "tenant")]
    assert places == sorted(places)
    assert "row: 8; column: title; fault: target changed since" in text
    assert page.count("<details open>") == 1


def test_examples_full_of_markup_stay_text() -> None:
    """Values that `verify --show-values` spells out are text and nothing else."""
    check = make_check(NASTY, 1, table=NASTY, expected=NASTY, actual=[NASTY], examples=[NASTY, {NASTY: NASTY}])
    read = Reader(render_page(content_of_verify(make_report(check, make_check(NASTY, table=NASTY)))))
    assert not {tag for tag, _ in read.elements} & {"script", "img", "b-odd", "iframe"}
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    assert read.text.count(NASTY) >= 7


def test_a_run_with_differences_is_bad() -> None:
    """A difference outweighs whatever else the page says; none leaves the verdict as it is."""
    content = content_of_plan(make_plan(["users"], [], blocking=[]))
    worse, same = (attach(content, make_report(make_check("rows", n))) for n in (3, 0))
    assert (worse["level"], same["level"]) == ("bad", "warning")
    assert worse["verdict"].startswith("Verification found 3 differences")
    assert same["verdict"] == content["verdict"]
    assert "Verified: no difference" in Reader(render_page(same)).text


def test_many_differences_stay_quick() -> None:
    """Ten thousand failed checks are made and read; only the first are unfolded."""
    checks = [make_check(f"check {number % 7}", 2, examples=["a", "b"]) for number in range(10_000)]
    page = render_page(content_of_verify(make_report(*checks)))
    assert page.count("<details open>") == 12
    assert len(page) < 5_000_000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checks": {}}', '{"fingerprints": {}}'])
def test_a_file_that_is_no_verification(tmp_path: Path, text: str) -> None:
    """Any other file is refused with a remedy."""
    (tmp_path / "verify.json").write_text(text, encoding="utf-8")
    for name in ("verify.json", "none.json"):
        with pytest.raises(UsageError) as raised:
            read_verification(tmp_path / name)
        assert "verify --json" in raised.value.hint


@pytest.mark.parametrize("lacking", ["ok", "level", "seconds"])
def test_an_incomplete_verification(lacking: str) -> None:
    """What is a verification in name only is refused, not a traceback."""
    report = json.loads(json.dumps(make_report(make_check("rows"))))
    del report[lacking]
    with pytest.raises(UsageError, match="not complete"):
        content_of_verify(report)
