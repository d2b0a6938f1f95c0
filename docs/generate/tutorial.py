"""Reruns the commands of the tutorial and replaces the outputs shown in it, so that they are what the tool prints.

A `console` block of the tutorial is a command after `$ `, and its output. A command marked `# not run` is not changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "tutorial.md"
BLOCK = re.compile(r"(?<=```console\n)\$ (?P<command>[^\n]+)\n(?P<output>.*?)(?=```)", re.DOTALL)
NOT_RUN = "# not run"
SEPARATOR = "\x1e"


def refresh() -> None:
    """Rewrites the tutorial with the outputs of its commands, executed one after the other in an empty folder."""
    text = PAGE.read_text(encoding="utf-8")
    outputs = dict(zip(shown_outputs(), run(list(shown_outputs())), strict=True))
    PAGE.write_text(BLOCK.sub(lambda block: _block(block, outputs), text), encoding="utf-8")


def shown_outputs() -> dict[str, str]:
    """Returns command → output as the page shows it, without the commands that are not run."""
    blocks = BLOCK.finditer(PAGE.read_text(encoding="utf-8"))
    return {block["command"]: block["output"] for block in blocks if not block["command"].endswith(NOT_RUN)}


def _block(block: re.Match[str], outputs: dict[str, str]) -> str:
    command = block["command"]
    return f"$ {command}\n{outputs[command]}" if command in outputs else block[0]


def run(commands: list[str]) -> list[str]:
    """Returns what each command prints, in one shell session that starts in an empty folder.

    Raises:
        CalledProcessError: a command failed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "PAGER": "cat"}
    script = "set -e\n" + "\n".join(f"{{ {command}\n}} 2>&1\nprintf '{SEPARATOR}'" for command in commands)
    with tempfile.TemporaryDirectory(prefix="migrate-tutorial-", ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, text=True
        )
    return [_tidy(output) for output in done.stdout.split(SEPARATOR)[:-1]]


def _tidy(output: str) -> str:
    lines = [line.rstrip() for line in output.splitlines()]
    return "\n".join(lines).strip("\n") + "\n" if any(lines) else ""
