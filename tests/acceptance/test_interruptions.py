"""A run that is stopped, killed or not alone: the same command ends with the tables of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.archive_writer import write_folder
from tests.driving import Answer, call, digest_database
from tests.killing import wait_for_the_lock
from tests.processes import start
from tests.scenarios import write_config
from tests.talks import make_talks

GAP = 0.05


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some thousand documents in which every claim, tree and reject is to be found."""
    return write_folder(tmp_path_factory.mktemp("talks") / "dump", make_talks())


@pytest.fixture
def configure(dump: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Writes the migrate.toml of a migration into a database, in many small batches."""

    def write(database: str) -> Path:
        return write_config(tmp_path / "migrate.toml", f"dump:{dump}", database, {"engine": {"batch_rows": 100}})

    return write


def test_stopped_run_goes_on(new_database: Callable[[], str], configure: Callable[[str], Path]) -> None:
    """Stopped or killed at random moments, the same command goes on and ends as if nothing had happened."""
    seed = random.randrange(1000)
    check_interruptions((signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL), new_database, configure, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_many_stops(seed: int, new_database: Callable[[], str], configure: Callable[[str], Path]) -> None:
    """The same with many signals at many moments."""
    chosen = random.Random(seed).choices([signal.SIGINT, signal.SIGTERM, signal.SIGKILL], k=8)
    check_interruptions(tuple(chosen), new_database, configure, seed=seed)


def check_interruptions(
    signals: tuple[signal.Signals, ...], new_database: Callable[[], str], configure: Callable[[str], Path], seed: int
) -> None:
    whole, broken = new_database(), new_database()
    assert call("run", "-c", configure(whole)).code == 0
    committed = count_commits(whole)
    config = configure(broken)
    moments = sorted(random.Random(seed).sample(range(1, committed), len(signals)))
    for number, moment in zip(signals, moments, strict=True):
        code = interrupt(config, broken, number, moment)
        assert code in (0, -number if number == signal.SIGKILL else 5), (seed, number, moment)
        check_left_over(broken)
    answer = finish(config)
    assert answer.code == 0, answer.told
    assert digest_database(broken) == digest_database(whole), (seed, signals, moments)
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


def interrupt(config: Path, database: str, number: signal.Signals, moment: int) -> int:
    """Runs until so many batches and steps are committed (and one by this run), sends the signal; the exit code."""
    wait_for_the_lock(database)
    moment = max(moment, count_commits(database) + 1)
    process = start("run", "-c", config, "--json")
    while count_commits(database) < moment and process.poll() is None:
        time.sleep(GAP / 10)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode in (0, -number, 5), told.decode()
    assert b"Traceback" not in told
    return process.returncode


def count_commits(database: str) -> int:
    """Batches and steps in the journal."""
    query = "SELECT (SELECT count(*) FROM migrator.batches) + (SELECT count(*) FROM migrator.steps)"
    with psycopg.connect(database, autocommit=True) as connection:
        try:
            found = connection.execute(query).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return 0
        assert found is not None
        return int(found[0])


def check_left_over(database: str) -> None:
    """The accounts of what was read so far add up, at whatever moment."""
    query = (
        "SELECT b.collection, b.n, l.n FROM"
        " (SELECT collection, sum(documents) AS n FROM migrator.batches GROUP BY 1) b FULL JOIN"
        " (SELECT collection, count(*) AS n FROM migrator.ledger GROUP BY 1) l USING (collection) WHERE b.n <> l.n"
    )
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute(query).fetchall() == []


def finish(config: Path) -> Answer:
    return call("run", "-c", config, "--json")


@pytest.mark.parametrize("pause", [0.05, *(pytest.param(each, marks=pytest.mark.long) for each in (0.0, 0.3))])
def test_ctrl_c_twice(pause: float, new_database: Callable[[], str], configure: Callable[[str], Path]) -> None:
    """Whoever presses it again does not wait: exit code 5 within a second, one JSON document, and the run goes on."""
    whole, broken = new_database(), new_database()
    assert call("run", "-c", configure(whole)).code == 0
    config, committed = configure(broken), count_commits(whole)
    for share in (0.2, 0.95):
        wait_for_the_lock(broken)
        process = start("run", "-c", config, "--json")
        while count_commits(broken) < committed * share and process.poll() is None:
            time.sleep(GAP / 10)
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=20)
        assert process.returncode in (0, 5), told.decode()
        assert b"Traceback" not in told, told.decode()
        assert json.loads(out)
        check_left_over(broken)
    wait_for_the_lock(broken)
    answer = finish(config)
    assert answer.code == 0, answer.told
    assert digest_database(broken) == digest_database(whole)


@pytest.mark.parametrize("what", ["source", "configuration"])
def test_what_has_changed_is_said(what: str, dump: Path, database: str, tmp_path: Path) -> None:
    """An interrupted run goes on with what it began with, or not at all: exit code 2, and what is not as it was."""
    config = write_config(tmp_path / "m.toml", f"dump:{dump}", database, {"engine": {"batch_rows": 50}})
    interrupt(config, database, signal.SIGTERM, 5)
    wait_for_the_lock(database)
    if what == "source":
        other = write_folder(tmp_path / "other", make_talks(seed=1))
        config = write_config(tmp_path / "m.toml", f"dump:{other}", database)
    else:
        settings = {"policies": {"duplicate_email": "merge"}}
        config = write_config(tmp_path / "m.toml", f"dump:{dump}", database, settings)
    answer = call("run", "-c", config, "--json")
    assert answer.code == 2, answer.told
    assert f"changed since the migration in this target began: {what}" in answer.json["error"]["message"]
    check_left_over(database)


def test_second_run_is_refused(database: str, configure: Callable[[str], Path]) -> None:
    """Two runs at once: the second ends with exit code 5 and says who holds the target; the first is not disturbed."""
    config = configure(database)
    first = start("run", "-c", config, "--json")
    while count_commits(database) < 3 and first.poll() is None:
        time.sleep(GAP / 10)
    os.kill(first.pid, signal.SIGSTOP)  # so that it cannot end meanwhile
    try:
        second = call("run", "-c", config, "--json")
    finally:
        os.kill(first.pid, signal.SIGCONT)
    first.communicate(timeout=60)
    assert (first.returncode, second.code) == (0, 5)
    assert "another migrate process is using this target" in second.json["error"]["message"]
    assert f"process {first.pid} on" in second.json["error"]["message"]
    assert "session " in second.json["error"]["message"]


SWALLOWING = """
import gc, signal, sys, time
from migrator import cli
def ask(phase, info):
    if phase == "start" and not asked:
        asked.append(1)
        signal.raise_signal(signal.SIGINT)
        sum(range(1000))
asked = []
cli.listen()
gc.callbacks.append(ask)
try:
    gc.collect()
    time.sleep(30)
except KeyboardInterrupt:
    sys.exit(5)
"""


def test_ctrl_c_is_not_lost_in_the_garbage_collector() -> None:
    """Python drops what is raised in a callback of its collector: the stop comes again, and nothing is printed."""
    done = subprocess.run([sys.executable, "-c", SWALLOWING], capture_output=True, text=True, timeout=25, check=False)
    assert (done.returncode, done.stderr) == (5, "")
