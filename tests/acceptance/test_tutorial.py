"""docs/tutorial.md: its commands work, and print what the page shows. Run by make test-long."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate.tutorial import BLOCK, NOT_RUN, PAGE, run

MEASURED = re.compile(r"[\d.,]+ (ms|s|min|h|KB|MB|docs/s)\b.*")


def without_measurements(output: str) -> str:
    """Removes times, sizes and rates, and the spaces and lines of tables, whose width depends on them."""
    lines = (re.sub(r"[─ ]+", " ", MEASURED.sub("", line)).strip() for line in output.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("Slowest"))


@pytest.mark.long
def test_the_tutorial_works_as_it_is_printed(tmp_path: Path) -> None:
    """Every command ends with exit code 0 and prints the output on the page, apart from measurements."""
    blocks = [each for each in BLOCK.finditer(PAGE.read_text("utf-8")) if not each["command"].endswith(NOT_RUN)]
    assert len(blocks) > 10
    for block, output in zip(blocks, run([each["command"] for each in blocks], tmp_path), strict=True):
        assert without_measurements(output) == without_measurements(block["output"]), block["command"]
