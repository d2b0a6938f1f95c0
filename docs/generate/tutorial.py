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
FIXTURES = Path(__file__).parents[2] / "fixtures"
BLOCK = re.compile(r"(?<=```console\n)\$ (?P<command>[^\n]+)\n(?P<output>.*?)(?=```)", re.DOTALL)
NOT_RUN = "# not run"


def refresh() -> None:
    """Rewrites the tutorial with the outputs of its commands, executed one after the other in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="migrate-tutorial-") as folder:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(BLOCK.sub(lambda block: _block(block, Path(folder)), text), encoding="utf-8")


def _block(block: re.Match[str], folder: Path) -> str:
    command = block["command"]
    return block[0] if command.endswith(NOT_RUN) else f"$ {command}\n{run(command, folder)}"


def run(command: str, folder: Path) -> str:
    """Returns what a command prints to both outputs; raises `CalledProcessError` if it fails."""
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "FIXTURES": str(FIXTURES)}
    environment |= {"COLUMNS": "100", "PAGER": "cat"}
    done = subprocess.run(
        ["bash", "-c", f"{command} 2>&1"], cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join(lines).strip("\n") + "\n" if any(lines) else ""
