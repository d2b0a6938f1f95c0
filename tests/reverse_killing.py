"""Kills of the process that returns changes, while an application writes."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.application_rows import change_randomly
from tests.driving import COMMAND
from tests.reverse_rig import Switched

Change = Callable[[Switched, random.Random, int], Any]


@contextmanager
def application(rig: Switched, seed: int, pause: float, change: Change = change_randomly) -> Iterator[None]:
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
                            change(own, chance, 50)
                except (psycopg.errors.DeadlockDetected, psycopg.IntegrityError, AssertionError):
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


def kill_follow(rig: Switched, chance: random.Random, kills: int) -> None:
    """Starts `follow`, and kills it when it has returned something, again and again."""
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
