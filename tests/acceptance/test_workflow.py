"""docs/ci/migrate-dry-run.yml: it is YAML, its commands and options exist, and its steps do what they say."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml  # type: ignore[import-untyped]  # types would be one more package for one test

from migrator import cli

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "docs" / "ci" / "migrate-dry-run.yml"


@pytest.fixture
def workflow() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return parsed


def scripts(workflow: dict[str, Any]) -> list[str]:
    return [step["run"] for step in workflow["jobs"]["dry-run"]["steps"] if "run" in step]


def test_it_says_when_and_where(workflow: dict[str, Any]) -> None:
    """A workflow needs triggers (`on`, which YAML takes for true), and steps that either run or use something."""
    assert workflow.keys() == {"name", True, "permissions", "env", "jobs"}
    assert all(("run" in step) != ("uses" in step) for step in workflow["jobs"]["dry-run"]["steps"])


def test_its_commands_exist(workflow: dict[str, Any]) -> None:
    """Every `migrate …` is a command of ours, with options of ours."""
    commands: Any = typer.main.get_command(cli.app)
    found = []
    for script in scripts(workflow):
        words = shlex.split(script.partition(" > ")[0])
        if words[0] == "migrate":
            known = {spelling for each in commands.commands[words[1]].params for spelling in each.opts}
            assert {word for word in words if word.startswith("-")} <= known, script
            found.append(words[1])
    assert found == ["plan", "run", "report"]


def test_its_steps_work(workflow: dict[str, Any], tmp_path: Path) -> None:
    """All but the installation, one after the other, as a runner does it."""
    (tmp_path / "migrate.toml").write_text("")
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    bin_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, **workflow["env"], "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    environment["PATH"] = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    for script in scripts(workflow)[1:]:
        command = ["bash", "-e", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, (script, done.stderr.decode())
    assert (tmp_path / "summary").read_text().startswith("Downtime ")
    assert json.loads((tmp_path / "dry-run.json").read_text())["verify"]["ok"]
    kept = workflow["jobs"]["dry-run"]["steps"][-2]["with"]["path"].split()
    assert all((tmp_path / name).exists() for name in kept)
    assert not (tmp_path / ".migrate").exists()
