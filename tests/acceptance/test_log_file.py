"""`--log-file`: all messages with timestamps, also with --quiet and --json, and without secrets."""

from __future__ import annotations

import re
from pathlib import Path

from tests.acceptance.test_rejects import make_dump
from tests.driving import call
from tests.processes import start
from tests.scenarios import write_config

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "


def test_a_quiet_run_is_logged(database: str, tmp_path: Path) -> None:
    """Standard output has one JSON document, standard error nothing; the log has the steps and the exit code."""
    config = write_config(tmp_path / "migrate.toml", f"dump:{make_dump(tmp_path / 'dump', mended=False)}", database)
    log = tmp_path / "run.log"
    process = start("run", "-c", config, "--quiet", "--json", "--log-file", log)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == b""
    lines = log.read_text().splitlines()
    assert all(re.match(TIME, line) for line in lines)
    texts = [re.sub(TIME, "", line) for line in lines]
    assert texts[0].startswith("migrate ")
    assert " run -c " in texts[0]
    assert any(text.startswith("Creating indexes and constraints: done") for text in texts)
    assert texts[-1] == "exit code 0"
    assert log.stat().st_mode & 0o077 == 0


def test_an_error_is_logged_without_secrets(tmp_path: Path) -> None:
    """The log is appended to; it has the error and its hint, and no password."""
    log = tmp_path / "plan.log"
    log.write_text("earlier\n")
    url = "postgresql://app:hunter22-word@127.0.0.1:1/db"
    config = write_config(tmp_path / "migrate.toml", f"dump:{make_dump(tmp_path / 'dump', mended=False)}", url)
    assert call("plan", "-c", config, "--log-file", log).code == 7
    text = log.read_text()
    assert text.startswith("earlier\n")
    assert "Z error: " in text
    assert "hunter22" not in text


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """The error names the path."""
    answer = call("id", "users", "64baaaafd882a3fac3fb6a2b", "--log-file", tmp_path / "none" / "x.log")
    assert answer.code == 2
    assert "cannot write" in answer.err
