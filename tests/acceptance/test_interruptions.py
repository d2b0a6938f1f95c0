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
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from tests.archive_writer import write_folder
from tests.conftest import fresh_database
from tests.driving import Answer, call, digest_database
from tests.killing import COMMITS, ENTRIES, count, wait_for, wait_for_the_lock
from tests.processes import start
from tests.scenarios import write_config
from tests.talks import make_talks

SEED = 20261129


@dataclass(frozen=True, slots=True)
class Whole:
    """What a run that nothing disturbs gives: digests, and how much it commits."""

    digests: dict[str, str]
    commits: int
    entries: int


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundred documents in which every claim, tree and reject is to be found."""
    return write_folder(tmp_path_factory.mktemp("talks") / "dump", make_talks(messages=900))


@pytest.fixture(scope="module")
def whole(dump: Path, server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    with fresh_database(server_url) as database:
        config = configure_run(tmp_path_factory.mktemp("whole"), dump, database)
        assert call("run", "-c", config).code == 0
        return Whole(digest_database(database), count(database, COMMITS), count(database, ENTRIES))


@pytest.fixture
def configure(dump: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Writes the migrate.toml of a migration into a database, in many small batches."""
    return lambda database: configure_run(tmp_path, dump, database)


def configure_run(folder: Path, dump: Path, database: str) -> Path:
    return write_config(folder / "migrate.toml", f"dump:{dump}", database, {"engine": {"batch_rows": 30}})


def test_stopped_run_goes_on(database: str, whole: Whole, configure: Callable[[str], Path]) -> None:
    """Stopped or killed in any stage, the same command resumes and has the same result as an uninterrupted run."""
    signals = (signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)
    check_interruptions(signals, database, whole, configure(database), seed=SEED)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_many_stops(seed: int, database: str, whole: Whole, configure: Callable[[str], Path]) -> None:
    """The same with many signals at many moments."""
    chosen = random.Random(seed).choices([signal.SIGINT, signal.SIGTERM, signal.SIGKILL], k=8)
    check_interruptions(tuple(chosen), database, whole, configure(database), seed=seed)


def check_interruptions(
    signals: tuple[signal.Signals, ...], database: str, whole: Whole, config: Path, *, seed: int
) -> None:
    """One signal in each of equally large parts of the run, schema changes included."""
    chance, part = random.Random(seed), whole.entries / len(signals)
    moments = [int(part * (place + chance.random())) for place in range(len(signals))]
    for number, moment in zip(signals, moments, strict=True):
        code = interrupt(config, database, number, moment)
        assert code in (0, -number if number == signal.SIGKILL else 5), (seed, number, moment)
        check_left_over(database)
    answer = finish(config)
    assert answer.code == 0, answer.told
    assert digest_database(database) == whole.digests, (seed, signals, moments)
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


def interrupt(config: Path, database: str, number: signal.Signals, moment: int, query: LiteralString = ENTRIES) -> int:
    """Runs until so much is committed (and something by this run), sends the signal; the exit code."""
    wait_for_the_lock(database)
    moment = max(moment, count(database, query) + 1)
    process = start("run", "-c", config, "--json")
    wait_for(database, query, moment, process)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode in (0, -number, 5), told.decode()
    assert b"Traceback" not in told
    return process.returncode


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
def test_ctrl_c_twice(pause: float, database: str, whole: Whole, configure: Callable[[str], Path]) -> None:
    """Whoever presses it again does not wait: exit code 5 within a second, one JSON document, and the run goes on."""
    config = configure(database)
    for share in (0.2, 0.95):
        wait_for_the_lock(database)
        process = start("run", "-c", config, "--json")
        wait_for(database, COMMITS, whole.commits * share, process)
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=20)
        assert process.returncode in (0, 5), told.decode()
        assert b"Traceback" not in told, told.decode()
        assert json.loads(out)
        check_left_over(database)
    wait_for_the_lock(database)
    answer = finish(config)
    assert answer.code == 0, answer.told
    assert digest_database(database) == whole.digests


@pytest.mark.parametrize("what", ["source", "configuration"])
def test_what_has_changed_is_said(what: str, dump: Path, database: str, tmp_path: Path) -> None:
    """An interrupted run goes on with what it began with, or not at all: exit code 2, and what is not as it was."""
    config = write_config(tmp_path / "m.toml", f"dump:{dump}", database, {"engine": {"batch_rows": 50}})
    interrupt(config, database, signal.SIGTERM, 40)  # some batches are there
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
    wait_for(database, COMMITS, 3, first)
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
cli.install_handlers()
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
