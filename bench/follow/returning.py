"""Documents per second that `migrate follow` returns to SecantusDB after the switch, by kind of change.

The rows are changed first, and returned by this process then. SecantusDB alone gets the same documents with
`replaceOne` in batches, which is what it takes at most. It shares the machine with what is measured.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString

import psycopg
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, ReplaceOne

from bench.cpu import server_of, server_seconds
from bench.follow.live import DATABASE, Followed, followed
from migrator.documents.codec import decode, encode
from migrator.events import silent
from migrator.execution.garbage import collect_after_imports
from migrator.mapping.loader import load_definition, load_settings
from migrator.reversing.returner import Returner
from migrator.sources import open_source
from migrator.state import sync
from migrator.state.records import Connection
from migrator.targets import open_target
from migrator.workflows.migration import MigrationContext
from migrator.workflows.returning import BATCH_CHANGES, drain, open_returner
from migrator.workflows.reverse import begin_reverse

KINDS: Final[dict[str, tuple[LiteralString, int]]] = {  # the statement, and the part of the messages that it concerns
    "message: another text": (
        "UPDATE messages SET content = content || ' again' WHERE id IN"
        " (SELECT id FROM messages ORDER BY md5(id::text) LIMIT %(count)s)",
        4,
    ),
    "conversation: another title": (
        "UPDATE conversations SET title = title || ' again' WHERE id IN"
        " (SELECT id FROM conversations ORDER BY md5(id::text) LIMIT %(count)s)",
        40,
    ),
    "new message": (
        "INSERT INTO messages (tenant_id, conversation_id, parent_id, content, role, provider, model, created_at)"
        " SELECT tenant_id, conversation_id, NULL, content, role, provider, model, date_trunc('milliseconds', now())"
        " FROM messages ORDER BY md5(id::text) LIMIT %(count)s",
        4,
    ),
    "deleted message": (
        "DELETE FROM messages WHERE id IN (SELECT id FROM messages m WHERE NOT EXISTS"
        " (SELECT FROM messages c WHERE c.parent_id = m.id) ORDER BY md5(id::text) LIMIT %(count)s)",
        8,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnRate:
    """What returning changes of one kind took. `documents`: written or deleted; more than `changes` where lists or
    carried values change."""

    changes: int
    documents: int
    seconds: float
    client: float  # CPU seconds
    server: float  # of PostgreSQL

    def as_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return {
            "changes": self.changes,
            "changes_per_second": round(self.changes / self.seconds, 1),
            "documents_per_second": round(self.documents / self.seconds, 1),
            "client_microseconds": round(self.client * 1e6 / self.documents, 1),
            "server_microseconds": round(self.server * 1e6 / self.documents, 1),
        }


def measure_returning(folder: Path, messages: int) -> dict[str, ReturnRate]:
    """Return the rate of each kind of change, and that of SecantusDB alone."""
    collect_after_imports()  # as every command does
    found = {}
    with followed(folder, messages) as source, _switched(source) as (returner, connection):
        server = folder / "followed"
        for name, (statement, part) in KINDS.items():
            connection.execute(statement, {"count": messages // part})
            connection.execute("CHECKPOINT")
            found[name] = _drain(returner, server, name)
        found["SecantusDB alone: replaceOne"] = _replace(source, messages // 4)
    return found


@contextmanager
def _switched(source: Followed) -> Iterator[tuple[Returner, Connection]]:
    """Switch the application, and yield what returns its changes, with a connection of the application."""
    config, definition = load_settings(source.config, {}), load_definition("mappings", "schema")
    with (
        closing(open_target(config.target.url)) as target,
        closing(open_source(config.source.url, DATABASE)) as opened,
        closing(target.connect()) as connection,
        psycopg.connect(source.dsn, autocommit=True) as application,
    ):
        context = MigrationContext(config=config, definition=definition, source=opened, emit=silent)
        with connection.transaction():
            begin_reverse(context, connection)
            sync.set_state(connection, context.namespace, sync.SWITCHED)
        with open_returner(context, connection, target.dsn) as returner:
            yield returner, application


def _drain(returner: Returner, postgres: Path, name: str) -> ReturnRate:
    server = server_of(postgres)
    began, client, before = time.perf_counter(), time.process_time(), server_seconds(server)
    profile = cProfile.Profile() if os.environ.get("BENCH_PROFILE") == name else None
    if profile:
        profile.enable()
    counts = drain(returner)
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats(os.environ.get("BENCH_SORT", "cumtime")).print_stats(70)
    return ReturnRate(
        changes=counts.changes,
        documents=counts.documents,
        seconds=time.perf_counter() - began,
        client=time.process_time() - client,
        server=server_seconds(server) - before,
    )


def _replace(source: Followed, count: int) -> ReturnRate:
    """Replace messages by changed ones, as fast as the server accepts it: without a change it would write nothing."""
    with MongoClient[RawBSONDocument](source.url, document_class=RawBSONDocument, w="majority") as client:
        messages = client[DATABASE]["messages"]
        requests: list[ReplaceOne[RawBSONDocument]] = []
        for each in messages.find(limit=count):
            changed = {**decode(bytes(each.raw)), "text": "changed once more"}
            requests.append(ReplaceOne({"_id": each["_id"]}, RawBSONDocument(encode(changed)), upsert=True))
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(requests), BATCH_CHANGES):
            messages.bulk_write(requests[start : start + BATCH_CHANGES], ordered=False)
        return ReturnRate(
            changes=len(requests),
            documents=len(requests),
            seconds=time.perf_counter() - began,
            client=time.process_time() - cpu,
            server=0.0,
        )


def returning_lines(rates: dict[str, ReturnRate]) -> list[str]:
    """Return one line per kind of change."""
    lines = [f"{'':36}{'changes/s':>10}{'documents/s':>13}{'CPU µs: client':>16}{'server':>8}"]
    for name, rate in rates.items():
        each = rate.as_json()
        lines.append(
            f"{name:36}{each['changes_per_second']:10,.0f}{each['documents_per_second']:13,.0f}"
            f"{each['client_microseconds']:16,.0f}{each['server_microseconds']:8,.0f}"
        )
    return lines


if __name__ == "__main__":  # a part of the measurements, while something is made faster
    import tempfile

    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        print("\n".join(returning_lines(measure_returning(Path(temporary), int(os.environ.get("MESSAGES", "20000"))))))
