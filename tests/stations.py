"""The way of an application from MongoDB to PostgreSQL, back, and there again, with random changes on each side.

At each station the two databases must agree. Forward, the target is what a new run on the source makes, except by
design: rows that the application created in PostgreSQL keep their IDs, and values that no document can hold stay.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from migrator.state.follow_lock import COMPARE_KEY, FOLLOW_KEY
from tests.cutting import held_at, wait_unlocked
from tests.driving import RECORDS, Answer, call, open_session
from tests.follow_killing import receiver_of
from tests.mongo import fill
from tests.processes import start
from tests.reverse_rig import Switched
from tests.scenarios import write_config
from tests.station_changes import SourceChanges, change_rows

HOOKS = {"stop_writes": "hook", "stop_hook": "true", "resume_hook": "true", "switch_hook": "true"}
DERIVED = "last_message_at"  # follows from dates whose part below a millisecond is in no document
Found = dict[str, dict[str, Any]]  # table or record → key → values


@dataclass
class Journey(Switched):
    """A followed target. `fresh`: the URL of an empty database for runs to compare with."""

    fresh: str
    kills: int = 0

    def kill_follow(self, chance: random.Random, victim: str) -> None:
        """Kills `follow`, or its receiver, while it is at work. It is started again by the next call."""
        process = start("follow", "-c", self.config)
        try:
            before = self._progress()
            end = time.monotonic() + 60
            while self._progress() == before and time.monotonic() < end:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.3))
            port = int(self.url.rsplit(":", 1)[1])
            found = receiver_of(process, port) if victim == "receiver" else None
            os.kill(found or process.pid, signal.SIGKILL)
            self.kills += 1
            time.sleep(chance.uniform(0, 0.3))
        finally:
            process.kill()
            process.wait()
        self._wait_released()

    def _progress(self) -> tuple[Any, ...]:
        return self.read("SELECT received, applied FROM migrator.sync")

    def _wait_released(self) -> None:
        for key in (FOLLOW_KEY, COMPARE_KEY):
            wait_unlocked(self.connection, key)

    def kill_cutover(self, step: str, *options: str) -> None:
        """Kills a cutover before a step. The same command switches the application then."""
        with held_at(self.target, step) as wait:
            process = start("cutover", "--yes", "-c", self.config, *options)
            try:
                wait()
            finally:
                process.kill()
                process.communicate(60)
        self.kills += 1
        self._wait_released()
        answer = call("cutover", "--yes", "-c", self.config, "--json", *options)
        assert answer.code == 0, (step, answer.told)

    def cut_over(self, *options: str) -> Answer:
        """Switches the application, after a full verification without a difference."""
        if "--back" not in options:
            self.verify()
        answer = call("cutover", "--yes", "-c", self.config, "--json", *options)
        assert answer.code == 0, answer.told
        return answer

    def verify(self) -> None:
        answer = call("verify", "-c", self.config, "--level", "roundtrip", "--json")
        failed = [each for each in answer.json.get("checks", ()) if not each["ok"]]
        assert not failed, [(each["check"], each["table"], each["examples"]) for each in failed]
        assert answer.code == 0, answer.told

    def assert_equals_run(self, what: object) -> None:
        """The target is what a new run on the source makes."""
        settings = {"engine": {"workers": 1}, "source": {"database": self.name}}
        config = write_config(self.config.with_name("fresh.toml"), self.url, self.fresh, settings)
        ran = call("run", "-c", config, "--json")
        assert ran.code == 0, ran.told
        given = self._given_ids()
        kept = self._unreturned(given)
        found, expected = read_found(self.target, given), read_found(self.fresh, {})
        for name, rows in expected.items():
            here = found[name]
            missing, extra = sorted(rows.keys() - here.keys()), sorted(here.keys() - rows.keys())
            assert (missing, extra) == ([], []), (what, name, missing[:5], extra[:5])
            for key, row in rows.items():
                differing = {
                    column: (here[key][column], value)
                    for column, value in row.items()
                    if here[key][column] != value and (name, key, column) not in kept
                }
                assert differing == {}, (what, name, key, differing)
        assert call("revert", "--yes", "-c", config).code == 0

    def _given_ids(self) -> dict[str, str]:
        query = "SELECT target_id, original_id FROM migrator.given_ids"
        return dict(self.connection.execute(query).fetchall())

    def _unreturned(self, given: dict[str, str]) -> set[tuple[str, str, str]]:
        tables = {name: mapping.table.name for name, mapping in self.context.definition.mappings.items()}
        query = "SELECT collection, target_id, column_name FROM migrator.unreturned"
        rows = self.connection.execute(query).fetchall()
        return {(tables[name], given.get(row_id, row_id), column) for name, row_id, column in rows}


def read_found(url: str, given: dict[str, str]) -> Found:
    """Returns all rows and records of documents, with the IDs that follow from the documents."""
    found: Found = {}

    def plain(text: str) -> str:
        for row_id, original in given.items():
            text = text.replace(row_id, original)
        return text

    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'tenants' ORDER BY 1"
        for (name,) in connection.execute(query).fetchall():
            rows = [json.loads(plain(text)) for (text,) in connection.execute(
                sql.SQL("SELECT to_jsonb(t)::text FROM {} t").format(sql.Identifier(name)))]  # fmt: skip
            for row in rows:
                if row.get(DERIVED):
                    second, _, fraction = row[DERIVED].partition(".")
                    row[DERIVED] = f"{second}.{fraction:0<3.3}"
            found[name] = {row["id"]: row for row in rows}
        for name, columns in RECORDS.items():
            # Residues depend on IDs and values that differ; the documents are compared as a whole.
            chosen = ", ".join(each for each in columns.split(", ") if each not in ("residue", "document"))
            texts = connection.execute(
                sql.SQL("SELECT t::text FROM (SELECT {} FROM {}) t").format(
                    sql.SQL(chosen), sql.Identifier("migrator", name)
                )
            )
            found[f"migrator.{name}"] = {plain(text): {} for (text,) in texts}
    return found


@contextmanager
def journey(
    url: str,
    name: str,
    target: str,
    fresh: str,
    folder: Path,
    documents: dict[str, list[bytes]],
    more: dict[str, Any] | None = None,
) -> Iterator[Journey]:
    """Migrates documents from MongoDB to a target that follows. `more`: further settings."""
    fill(url, name, documents)
    settings = {"engine": {"workers": 1}, "cutover": HOOKS, "source": {"database": name}, **(more or {})}
    config = write_config(folder / "journey.toml", url, target, settings)
    answer = call("run", "--follow", "--until-caught-up", "-c", config, "--json")
    assert answer.code == 0, answer.told
    session = open_session(config)
    with session.source() as source, psycopg.connect(target, autocommit=True) as connection:
        yield Journey(url, name, target, config, connection, session.migration(source), fresh)


@contextmanager
def changing(change: Callable[[int], None]) -> Iterator[None]:
    """Makes changes in a thread while the block runs."""
    stopped = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        number = 0
        try:
            while not stopped.is_set():
                change(number)
                number += 1
                stopped.wait(0.01)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
    assert not failed, failed


def source_changing(source: SourceChanges, seed: int) -> AbstractContextManager[None]:
    """Changes documents while the block runs."""
    chance = random.Random(seed)
    return changing(lambda number: source.change(chance, number))


@contextmanager
def rows_changing(rig: Switched, seed: int) -> Iterator[None]:
    """Changes rows while the block runs, in a session of its own."""
    chance = random.Random(f"rows {seed}")  # others than those of documents
    with psycopg.connect(rig.target, autocommit=True) as connection:
        own = Switched(rig.url, rig.name, rig.target, rig.config, connection, rig.context)

        def change(number: int) -> None:
            # Perhaps no conversation is left, or nobody whose it could be.
            with suppress(AssertionError, psycopg.errors.NotNullViolation), connection.transaction():
                change_rows(own, chance, number)

        with changing(change):
            yield
