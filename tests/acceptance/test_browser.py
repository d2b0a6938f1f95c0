"""The page in a real browser, if there is one: fast with 10,000 findings, and without errors."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from migrator.report.page import render_page
from migrator.report.plan_content import content_of_plan
from tests.unit.test_page import as_run, make_finding, make_plan

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
# Asking for a height makes the browser lay everything out; the clock began with the navigation.
TIMED = (
    "<script>addEventListener('load',()=>{const high=document.body.offsetHeight;"
    "document.title='laid out '+performance.now()+' ms, '+high+' px, '"
    "+[...document.querySelectorAll('*')].filter(each=>each.checkVisibility()).length+' visible'})</script>"
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


def browse(page: Path, profile: Path, *flags: str) -> str:
    """Open a page and return its document."""
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", *flags, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def lay_out(page: str, folder: Path) -> tuple[float, int, int]:
    """Open a copy that may run a script, which the page itself forbids: seconds, height, visible elements."""
    timed = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', TIMED, page)
    path = folder / "timed.html"
    path.write_text(timed, encoding="utf-8")
    found = re.search(r"<title>laid out ([\d.]+) ms, (\d{4,}) px, (\d+) visible", browse(path, folder / "profile"))
    assert found is not None
    return float(found[1]) / 1000, int(found[2]), int(found[3])


@pytest.fixture
def large_page() -> str:
    """A page with 10,000 findings."""
    findings = [make_finding(f"code_{n:03}", "warning", 7, f"64baaaafd882a3fac3fb{n:04}") for n in range(100)]
    content = content_of_plan(make_plan([f"collection{number}" for number in range(100)], findings))
    return render_page(as_run(content, "messages"))


def test_ten_thousand_findings_show_little_at_first(large_page: str, tmp_path: Path) -> None:
    """The browser lays out a few screens, not 10,000 findings: the rest appears when a reader opens it."""
    _, height, visible = lay_out(large_page, tmp_path)
    assert height < 20_000
    assert visible < 5_000


@pytest.mark.long
def test_ten_thousand_findings_open_within_a_second(large_page: str, tmp_path: Path) -> None:
    """The time from navigation to complete layout is short (median of three; 0.3 s on two busy cores)."""
    assert sorted(lay_out(large_page, tmp_path)[0] for _ in range(3))[1] < 1


def test_the_page_says_nothing_to_a_console(tmp_path: Path) -> None:
    """The browser reports no error, no blocked resource and no broken markup."""
    path = tmp_path / "page.html"
    path.write_text(render_page(content_of_plan(make_plan(["<b>users"], [make_finding()]))), encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0"]
    ran = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    assert "CONSOLE" not in ran.stderr
    assert "&lt;b&gt;users" in ran.stdout
