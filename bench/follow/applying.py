"""Changes per second that `migrate follow` applies, by kind of change, to a database with all indexes and keys.

The changes are stored as the receiver stores them, and applied by the applier in this process, batch by batch. The CPU
time is that of this process and of the server together.
"""

from __future__ import annotations

import cProfile
import gc
import os
import pstats
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench.cpu import server_of, server_seconds
from bench.follow.changes import LONG, Application, Change
from migrator.events import silent
from migrator.following.applier import Applier
from migrator.mapping.loader import load_definition, load_settings
from migrator.sources import open_source
from migrator.sources.base import Position
from migrator.sources.change_events import DELETE, REPLACE, ChangeEvent
from migrator.sources.change_stream import EventBatch
from migrator.state import dirty, sync
from migrator.state.lock import exclusive
from migrator.state.records import Connection, Namespace
from migrator.targets import open_target
from migrator.targets.base import Target
from migrator.workflows.follow_setup import prepare_following
from migrator.workflows.follower import BATCH_BYTES, BATCH_KEYS
from migrator.workflows.migration import MigrationContext
from migrator.workflows.run import run_migration

STORED = 5000  # changes that are stored together
NOWHERE = Position(token=b"bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What applying changes of one kind took. `messages`: those that were resolved with changed conversations."""

    changes: int
    simple: int
    seconds: float
    client: float  # CPU seconds
    server: float
    messages: int = 0

    def as_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return {
            "changes": self.changes,
            "simple": self.simple,
            "per_second": round(self.changes / self.seconds, 1),
            "client_microseconds": round(self.client * 1e6 / self.changes, 1),
            "server_microseconds": round(self.server * 1e6 / self.changes, 1),
            "messages_per_second": round(self.messages / self.seconds, 1),
        }


def measure_applying(folder: Path, messages: int) -> dict[str, Rate]:
    """Return the rate of each kind of change."""
    application = Application(messages)
    dump = folder / "dump" / "LibreChat"
    dump.mkdir(parents=True)
    for name, raws in application.documents().items():
        (dump / f"{name}.bson").write_bytes(b"".join(raws))
    many, some = messages // 10, messages // 50
    kinds: dict[str, tuple[Iterator[Change], int]] = {
        "message: another text": (application.new_texts(), many),
        "conversation: another title": (application.new_titles(), some),
        "new message": (application.new_messages(), many),
        "deleted message": (application.deletions(), some),
        "message moved in its tree": (application.moves(), some),
        "conversation: another owner": (application.new_owners(most=LONG - 1), some // 4),
        f"the same, at least {LONG} messages": (application.new_owners(LONG), some // 40),
    }
    found = {}
    gc.collect()
    gc.freeze()  # the documents of this benchmark are no load of the applier
    with _followed(folder) as (applier, postgres):
        for name, (changes, count) in kinds.items():
            chosen = list(islice(changes, count))
            touched = application.messages_of(chosen) if "owner" in name or "same" in name else 0
            found[name] = _apply(applier, postgres, chosen, touched, name)
    return found


@contextmanager
def _followed(folder: Path) -> Iterator[tuple[Applier, Path]]:
    """Migrate the dump; yield an applier and the folder of its server."""
    postgres, url = folder / "postgres", f"dump:{folder}/dump/LibreChat"
    (folder / "follow.toml").write_text(f'[source]\nurl = "{url}"\n[target]\nurl = "embedded:{postgres}"\n')
    config, definition = load_settings(folder / "follow.toml", {}), load_definition("mappings", "schema")
    with closing(open_target(config.target.url)) as target, closing(open_source(url)) as source:
        context = MigrationContext(config=config, definition=definition, source=source, emit=silent)
        run_migration(context, target)
        with closing(target.connect()) as connection, exclusive(connection):
            sync.begin(connection, context.namespace, NOWHERE)
            yield _prepared(context, target, connection), postgres


def _prepared(context: MigrationContext, target: Target, connection: Connection) -> Applier:
    applier = prepare_following(context, connection, target.dsn)
    connection.execute("VACUUM ANALYZE")
    return applier


def _apply(applier: Applier, postgres: Path, changes: list[Change], messages: int, name: str) -> Rate:
    connection, namespace = applier.stage.connection, applier.stage.namespace
    _store(connection, namespace, changes)
    connection.execute("CHECKPOINT")
    server = server_of(postgres)
    began, client, before, simple = time.perf_counter(), time.process_time(), server_seconds(server), 0
    profile = cProfile.Profile() if os.environ.get("BENCH_PROFILE") == name else None
    if profile:
        profile.enable()
    while keys := dirty.read_oldest(connection, namespace, BATCH_KEYS, BATCH_BYTES):
        simple += applier.apply(keys, {(key.collection, key.source_id): key.document for key in keys}).simple
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("cumtime").print_stats(60)
    return Rate(
        changes=len(changes),
        simple=simple,
        seconds=time.perf_counter() - began,
        client=time.process_time() - client,
        server=server_seconds(server) - before,
        messages=messages,
    )


def _store(connection: Connection, namespace: Namespace, changes: list[Change]) -> None:
    """Store changes as a receiver does."""
    state = sync.read(connection, namespace)
    assert state is not None  # `_followed` has begun to follow
    received = state.received
    for start in range(0, len(changes), STORED):
        events = [
            ChangeEvent(
                kind=DELETE if raw is None else REPLACE,
                collection=name,
                source_id=source_id,
                image=raw,
                cluster_time=(start + number) << 32,
            )
            for number, (name, source_id, raw) in enumerate(changes[start : start + STORED])
        ]
        received = sync.store(connection, namespace, received, EventBatch(events=events, position=NOWHERE))


def applying_lines(rates: dict[str, Rate]) -> list[str]:
    """Return one line per kind of change."""
    lines = [f"{'':36}{'changes/s':>10}{'messages/s':>12}{'CPU µs: client':>16}{'server':>8}{'simple':>8}"]
    for name, rate in rates.items():
        each = rate.as_json()
        messages = f"{each['messages_per_second']:,.0f}" if rate.messages else ""
        lines.append(
            f"{name:36}{each['per_second']:10,.0f}{messages:>12}{each['client_microseconds']:16,.0f}"
            f"{each['server_microseconds']:8,.0f}{rate.simple / rate.changes:8.0%}"
        )
    return lines
