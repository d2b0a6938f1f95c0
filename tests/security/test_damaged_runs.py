"""Damaged dumps through a whole run: loaded and proven, or refused in words; and what came of it can be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.driving import call, clear
from tests.scenarios import write_config
from tests.security.mutating import mutate


def run_damaged(seed: int, database: str, folder: Path) -> int:
    """The exit code of `run`; where it was done, everything else holds, too."""
    folder.mkdir()
    source = mutate(seed, folder)
    settings = {"transactions": {"amount_unit": "major"}}
    config = write_config(folder.with_suffix(".toml"), f"dump:{source}", database, settings)
    answer = call("run", "-c", config)
    assert answer.code in (0, 2, 7), answer.told
    if answer.code == 0:
        for command in (("verify", "--level", "roundtrip"), ("report", "--json"), ("rejects", "list")):
            proof = call(*command, "-c", config)
            assert proof.code == 0, (command, proof.told)
    if "load" in answer.told:
        assert call("revert", "--yes", "-c", config).code == 0
    clear(database)
    return answer.code


def test_a_few(database: str, tmp_path: Path) -> None:
    """Some that are read to the end, and some that are not."""
    assert {run_damaged(seed, database, tmp_path / str(seed)) for seed in (0, 12)} == {0, 7}


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 400, 100))
def test_many(database: str, tmp_path: Path, first: int) -> None:
    """A hundred at a time; some of each kind."""
    codes = [run_damaged(seed, database, tmp_path / str(seed)) for seed in range(first, first + 100)]
    assert {0, 7} <= set(codes)
