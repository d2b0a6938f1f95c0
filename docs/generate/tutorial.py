"""Reruns the commands of the tutorials and replaces the outputs shown in them, so that they are what the tool prints.

A `console` block of a tutorial is a command after `$ `, and its output. A command marked `# not run` is not changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]  # a variable of the same name in the commands
PAGES = (CHECKOUT / "docs" / "tutorial.md", CHECKOUT / "docs" / "how-to" / "any-application.md")
BLOCK = re.compile(r"(?<=```console\n)\$ (?P<command>[^\n]+)\n(?P<output>.*?)(?=```)", re.DOTALL)
NOT_RUN = "# not run"
SEPARATOR = "\x1e"


def refresh() -> None:
    """Rewrites the tutorials with the outputs of their commands, executed one after the other in an empty folder."""
    for page in PAGES:
        _refresh_page(page)


def _refresh_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    outputs = iter(run([command for command, _ in shown_outputs(page)]))

    def renew(block: re.Match[str]) -> str:
        command = block["command"]
        return block[0] if command.endswith(NOT_RUN) else f"$ {command}\n{next(outputs)}"

    page.write_text(BLOCK.sub(renew, text), encoding="utf-8")


def shown_outputs(page: Path) -> list[tuple[str, str]]:
    """Returns each command with its output as the page shows it, without the commands that are not run."""
    blocks = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(block["command"], block["output"]) for block in blocks if not block["command"].endswith(NOT_RUN)]


def run(commands: list[str]) -> list[str]:
    """Returns what each command prints, in one shell session that starts in an empty folder.

    Raises:
        CalledProcessError: a command failed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "PAGER": "cat", "CHECKOUT": str(CHECKOUT)}
    script = "set -e\n" + "\n".join(f"{{ {command}\n}} 2>&1\nprintf '{SEPARATOR}'" for command in commands)
    with tempfile.TemporaryDirectory(prefix="migrate-tutorial-", ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, text=True
        )
    return [_tidy(output) for output in done.stdout.split(SEPARATOR)[:-1]]


def _tidy(output: str) -> str:
    lines = [line.rstrip() for line in output.splitlines()]
    return "\n".join(lines).strip("\n") + "\n" if any(lines) else ""
