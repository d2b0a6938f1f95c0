"""The history of runs and reverts, and what plans and reports state about their origin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.test_rejects import make_dump
from tests.driving import call
from tests.scenarios import write_config


@pytest.mark.usefixtures("quick")
def test_runs_and_reverts_leave_a_history(database: str, tmp_path: Path) -> None:
    """Every run, retry and revert is one entry, also a failed one; a revert removes none."""
    source = f"dump:{make_dump(tmp_path / 'dump', mended=False)}"
    config = write_config(tmp_path / "migrate.toml", source, database)
    assert "No migration was run" in call("history", "-c", config).out
    assert call("plan", "-c", config).code == 0  # changes nothing
    assert call("run", "-c", config).code == 0
    assert call("rejects", "retry", "-c", config).code == 0
    assert call("embed", "-c", config).code == 0
    assert call("revert", "-c", config).code == 2  # no terminal for confirmation
    assert call("revert", "--yes", "-c", config).code == 0
    found = call("history", "-c", config, "--json").json["history"]
    assert [(each["command"], each["run"], each["status"], each["exit_code"]) for each in found] == [
        ("run", 1, "done", 0),
        ("rejects retry", 1, "done", 0),
        ("embed", 1, "done", 0),
        ("revert", None, "failed", 2),
        ("revert", 1, "reverted", 0),
    ]
    assert found[0]["source"].startswith(source)
    assert all(each["target"] and each["version"] and each["started"] <= each["finished"] for each in found)
    assert "rejects retry" in call("history", "-c", config).out
    assert len(call("history", "-c", config, "--limit", "1", "--json").json["history"]) == 1


def test_the_history_has_no_secrets(tmp_path: Path) -> None:
    """An error is recorded without the password of the target."""
    url = "postgresql://app:hunter22-word@127.0.0.1:1/db"
    config = write_config(tmp_path / "migrate.toml", f"dump:{make_dump(tmp_path / 'dump', mended=False)}", url)
    assert call("run", "-c", config).code == 7
    text = (tmp_path / ".migrate" / "history.jsonl").read_text()
    assert json.loads(text)["exit_code"] == 7
    assert "hunter22" not in text


@pytest.mark.usefixtures("quick")
def test_pages_name_their_origin(database: str, tmp_path: Path) -> None:
    """A saved plan and the pages of plan and run name source, target, date and version."""
    source = f"dump:{make_dump(tmp_path / 'dump', mended=False)}"
    config = write_config(tmp_path / "migrate.toml", source, database)
    plan = tmp_path / "plan.json"
    assert call("plan", "-c", config, "--out", plan).code == 0
    about = json.loads(plan.read_text())["about"]
    assert about.keys() == {"source", "target", "tenant", "created", "version"}
    assert about["source"].startswith(source)
    shown = call("report", "--plan", plan, "--json").json["about"]
    assert shown.keys() >= {"Source", "Target", "Created", "Version", "Fingerprint"}
    assert call("run", "-c", config, "--plan", plan).code == 0
    shown = call("report", "-c", config, "--json").json["about"]
    assert shown.keys() >= {"Source", "Target", "Started", "Finished", "Version"}
    assert shown["Target"] == about["target"]
