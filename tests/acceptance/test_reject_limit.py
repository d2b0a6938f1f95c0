"""`policies.max_rejected`: a blocker in `plan`, and exit code 8 in `run` before an index is created."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.acceptance.test_rejects import make_dump
from tests.driving import call
from tests.scenarios import write_config


def with_limit(folder: Path, database: str, limit: object) -> Path:
    """Write the configuration of a source that has 3 rejects among 7 documents."""
    source = folder / "dump"
    if not source.exists():
        make_dump(source, mended=False)
    settings = {} if limit is None else {"policies": {"max_rejected": limit}}
    return write_config(folder / "migrate.toml", f"dump:{source}", database, settings)


def read_indexes(database: str) -> set[str]:
    with psycopg.connect(database) as connection:
        return {name for (name,) in connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("limit", "code"), [(2, 3), ("2", 3), ("30 %", 3), ("2.5%", 3), (3, 0), ("50%", 0), (None, 0)])
def test_plan_reports_a_blocker(database: str, tmp_path: Path, limit: object, code: int) -> None:
    """The blocker states both numbers and the collection with the most rejects."""
    answer = call("plan", "-c", with_limit(tmp_path, database, limit))
    assert answer.code == code, answer.told
    blocker = f"3 of 7 documents rejected, but policies.max_rejected is {limit}; most of them in messages (2)"
    assert (blocker in answer.out) == (code == 3)


@pytest.mark.usefixtures("quick")
def test_a_sample_is_not_checked(database: str, tmp_path: Path) -> None:
    """Documents outside the sample are reported as missing, so the number of rejects is not that of a run."""
    assert call("plan", "--sample", "1", "-c", with_limit(tmp_path, database, 0)).code == 0


def test_run_stops_before_the_indexes_and_resumes(database: str, tmp_path: Path) -> None:
    """A run that exceeds the limit keeps its rows and creates no index; with a higher limit it resumes."""
    config = with_limit(tmp_path, database, 2)
    answer = call("run", "-c", config)
    assert answer.code == 8, answer.told
    assert "3 of 7 documents rejected" in answer.err
    assert "Raise policies.max_rejected" in answer.err
    stopped = read_indexes(database)
    assert call("run", "--json", "-c", config).json["error"]["exit_code"] == 8
    assert call("status", "-c", config, "--json").json["status"] == "stopped"
    answer = call("run", "--json", "-c", with_limit(tmp_path, database, "60%"))
    assert answer.code == 0, answer.told
    assert answer.json["status"] == "done"
    assert read_indexes(database) > stopped
    assert call("verify", "-c", config).code == 0
    assert call("revert", "--yes", "-c", config).code == 0


@pytest.mark.usefixtures("quick")
def test_dry_run_does_not_speak_of_a_run(database: str, tmp_path: Path) -> None:
    """A dry run above the limit has the same exit code, and names no records, because it leaves none."""
    config = with_limit(tmp_path, database, 2)
    answer = call("run", "--dry-run", "-c", config)
    assert answer.code == 8, answer.told
    assert "the run would stop before it creates indexes: 3 of 7 documents rejected" in answer.err
    assert "wrote nothing to the target" in answer.err
    assert "rejects list" not in answer.err
    assert "revert" not in answer.err
    assert read_indexes(database) == set()


@pytest.mark.parametrize("limit", ["many", "-1", "101%", "2.5", "", True])
def test_an_invalid_limit_is_refused(database: str, tmp_path: Path, limit: object) -> None:
    """The error names the key and the expected form."""
    answer = call("plan", "-c", with_limit(tmp_path, database, limit))
    assert answer.code == 2
    assert 'must be a number of documents, or a percentage such as "2%"' in answer.err
