"""The process that returns changes is killed while the application writes: MongoDB ends up with what PostgreSQL has."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests import mongo
from tests.application_rows import change_randomly
from tests.driving import COMMAND
from tests.reverse_rig import FIXTURES, Switched, read_dump, switched

pytestmark = pytest.mark.usefixtures("quick")


@contextmanager
def application(rig: Switched, seed: int, pause: float) -> Iterator[None]:
    """Changes rows in the block, in sessions of its own, in transactions of several changes."""
    stop = threading.Event()
    failed: list[psycopg.Error] = []

    def write(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        with psycopg.connect(rig.target, autocommit=True) as connection:
            own = Switched(rig.url, rig.name, rig.target, rig.config, connection, rig.context)
            while not stop.is_set():
                try:
                    with connection.transaction():
                        for _ in range(chance.randrange(1, 4)):
                            change_randomly(own, chance, 50)
                except (psycopg.errors.DeadlockDetected, psycopg.errors.ForeignKeyViolation, AssertionError):
                    continue  # the two sessions touch the same rows
                except psycopg.Error as error:  # shown by the test
                    failed.append(error)
                    return
                time.sleep(pause)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert failed == []


@pytest.mark.parametrize(
    ("seed", "kills"), [(1, 2), *(pytest.param(n, 5, marks=pytest.mark.long) for n in range(2, 22))]
)
def test_kills(
    seed: int, kills: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    chance, documents = random.Random(seed), read_dump(FIXTURES / "demo")
    with switched(live_server.url, f"kills_{seed}", new_database(), tmp_path, documents, {}) as rig:
        with application(rig, seed, pause=0.005):
            for _ in range(kills):
                command = [str(COMMAND), "follow", "-c", str(rig.config), "--quiet"]
                with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
                    waiting = "SELECT applied FROM migrator.sync"
                    before = rig.read(waiting)
                    for _ in range(600):
                        if rig.read(waiting) != before or process.poll() is not None:
                            break
                        time.sleep(0.05)
                    time.sleep(chance.random() / 2)
                    assert process.poll() is None, process.communicate()[1]
                    process.kill()
        report = rig.back()
        assert report["conflicts"] == 0, seed
        assert report["waiting"] == 0
        rig.assert_same(seed)
