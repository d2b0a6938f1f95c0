"""The tutorials: their commands work, and print what the pages show. Run by make test-long."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate.tutorial import PAGES, run, shown_outputs

MEASURED = re.compile(r"[\d.,]+ (ms|s|min|h|KB|MB)\b.*|(?<=1/1) +\d+ ")


def without_measurements(output: str) -> str:
    """Removes times, sizes and rates, and the spaces and lines of tables, whose width depends on them."""
    lines = (re.sub(r"[─ ]+", " ", MEASURED.sub(" ", line)).strip() for line in output.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("Slowest"))


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tutorial_works_as_it_is_printed(page: Path) -> None:
    """Every command ends with exit code 0 and prints the output on the page, apart from measurements."""
    shown = shown_outputs(page)
    assert len(shown) > 10
    for (command, expected), output in zip(shown, run([command for command, _ in shown]), strict=True):
        assert without_measurements(output) == without_measurements(expected), command
