"""The list of generated pages: file name → function that returns its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.generate import codes, commands, configuration, records

FOLDER = Path(__file__).parents[1] / "reference"

PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands.page,
    "configuration.md": configuration.page,
    "migrate.schema.json": configuration.schema_text,
    "findings.md": codes.findings_page,
    "reject-reasons.md": codes.reasons_page,
    "checks.md": codes.checks_page,
    "exit-codes.md": codes.exit_codes_page,
    "records.md": records.page,
}


def write_all() -> None:
    """Writes every page to `docs/reference`."""
    for name, render in PAGES.items():
        (FOLDER / name).write_text(render(), encoding="utf-8")
