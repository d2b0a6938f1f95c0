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
    commands = [block["command"] for block in BLOCK.finditer(text) if not block["command"].endswith(NOT_RUN)]
    with tempfile.TemporaryDirectory(prefix="migrate-tutorial-") as folder:
        outputs = dict(zip(commands, run(commands, Path(folder)), strict=True))
    PAGE.write_text(BLOCK.sub(lambda block: _block(block, outputs), text), encoding="utf-8")


def _block(block: re.Match[str], outputs: dict[str, str]) -> str:
    command = block["command"]
    return f"$ {command}\n{outputs[command]}" if command in outputs else block[0]


def run(commands: list[str], folder: Path) -> list[str]:
    """Returns what each command of one shell session prints; raises `CalledProcessError` if one fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "PAGER": "cat"}
    script = "set -e\n" + "\n".join(f"{{ {command}\n}} 2>&1\nprintf '{SEPARATOR}'" for command in commands)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    return [_tidy(output) for output in done.stdout.split(SEPARATOR)[:-1]]


def _tidy(output: str) -> str:
    lines = [line.rstrip() for line in output.splitlines()]
    return "\n".join(lines).strip("\n") + "\n" if any(lines) else ""
