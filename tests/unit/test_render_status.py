"""The status of a run on terminals of 80 and 120 columns."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from typing import Any

import pytest

from migrator.monitoring.status import add_seconds_left, seconds_left
from migrator.terminal.console import Console
from migrator.terminal.render_status import blocks_of


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def collection(name: str, documents: int, total: int | None, **others: Any) -> dict[str, Any]:
    sizes = {"bytes": documents * 100, "bytes_total": None if total is None else total * 100}
    rates = {"documents_per_second": 0, "bytes_per_second": 0, "latest": None}
    parts = {"parts": 4, "parts_done": 1, "batches": 1 if documents else 0, "complete": documents == total}
    return {"name": name, "documents": documents, "documents_total": total, **sizes, **rates, **parts, **others}


def make_status(**others: Any) -> dict[str, Any]:
    collections = [
        collection("messages", 1_234_567, 3_000_000, documents_per_second=12_000, bytes_per_second=1_200_000),
        collection("a_collection_with_a_very_long_name_indeed_it_is", 5, 4_000_000),
        collection("users", 900, 900),
        *(collection(f"later{number}", 0, 10, complete=False) for number in range(12)),
        *(collection(f"empty{number}", 0, 0) for number in range(30)),
    ]
    step = {"step": "load messages", "done": 1_234_567, "total": None, "unit": "documents", "seconds_left": None}
    build = {"step": "build messages_text_idx", "done": 0, "total": None, "unit": "", "seconds_left": None}
    index = {"index": "messages_text_idx", "table": "messages", "phase": "building index: scanning table"}
    return {
        "run": 1, "status": "running", "holder": "process 17 on host", "steps": [], "documents_per_second": 12_000,
        "seconds_left": seconds_left(collections), "finished": [], "waiting": ["limited by engine.max_rows_per_second"],
        "current": [{**step, "seconds": 99.0}, {**build, "seconds": 12.0}],
        "slowest": {"step": "load messages", "seconds": 99.0}, "collections": add_seconds_left(collections),
        "indexes": [{**index, "share": 0.43, "seconds": 12.0}],
    } | others  # fmt: skip


def show(monkeypatch: pytest.MonkeyPatch, columns: int, found: dict[str, Any]) -> list[str]:
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", str(columns)), ("LINES", "24"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    stream = Terminal()
    with redirect_stdout(stream):
        console = Console()
        with console.screen() as update:
            update(blocks_of(found, console.width))
    printed = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", stream.getvalue())
    last = printed[printed.rindex("Run 1: ") :]  # it is drawn once more at the end
    return [line.rstrip() for line in last.replace("\r", "").splitlines() if line.strip()]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_screen_fits(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Totals are first, then what runs now; complete, waiting and empty collections are one line."""
    lines = show(monkeypatch, columns, make_status())
    assert len(lines) <= 22, lines
    assert max(map(len, lines)) <= columns, lines
    text = "\n".join(lines)
    assert lines[0].startswith("Run 1: running; 1,235,472 of 7,001,020 documents; 12,000 docs/s")
    assert any(re.fullmatch(r"█+░+ 18%; estimated time remaining: 8 min 00 s", line) for line in lines[:3]), lines[:3]
    assert text.index("18%") < text.index("Now: Loading messages 1,234,567 documents") < text.index("Collections:")
    assert "Collections: 1 complete, 12 waiting, 30 empty" in text
    assert sum("█" in line or "░" in line for line in lines) == 3  # the total and two collections
    assert "empty7" not in text
    assert "later7" not in text


def test_an_index_build_is_what_postgres_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build has its phase and share, and no number of documents; without a report it has its duration."""
    text = " ".join(show(monkeypatch, 120, make_status()))
    assert "Now: Building messages_text_idx on messages: scanning table 43%, 12 s" in text
    assert text.count("Building messages_text_idx") == 1
    text = " ".join(show(monkeypatch, 120, make_status(indexes=[])))
    assert "Now: Building messages_text_idx, running for 12 s" in text


def test_without_a_terminal_the_first_line_has_everything() -> None:
    """A log gets steps and waits in the summary."""
    first = str(blocks_of(make_status())[0])
    assert "Loading messages 1,234,567 documents" in first
    assert "limited by engine.max_rows_per_second" in first


def test_the_time_left_of_a_live_source() -> None:
    """Without sizes the number of documents counts; a collection without either is not included."""
    rates = {"documents_per_second": 10, "bytes_per_second": 1000}
    live = [collection("messages", 100, 200, **rates, bytes_total=None), collection("more", 0, 50, bytes_total=None)]
    unknown = collection("unknown", 0, None, complete=False)
    assert seconds_left([*live, unknown]) == 15.0
    assert seconds_left([unknown]) is None
