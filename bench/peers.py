"""Comparison of `migrate run` from a live server with other tools, alternately.

All read from the same server, which replays the dump from memory and costs nothing (bench/replay): readers and writers
are compared, not a database. They write to the same embedded PostgreSQL. The other tools (ingestr and Sling, from
PyPI) copy one collection to one flat table without keys, indexes, checks or accounting; `migrate run` does all its
work, and its load of the messages is what they do. mongopg-migrate maps the messages onto a table with a primary key:
five columns, and all other fields in one of jsonb. Times are those of the complete command including its start. The
table of ingestr gets the indexes that ours has, in two sessions, as a second figure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psycopg

from bench.documents import write_dump
from bench.processes import COMMAND, Series, watch
from bench.replay import replayed
from migrator.targets.embedded import EmbeddedTarget

DATABASE = "LibreChat"
MIGRATE = "migrate run, 2 workers"
LOAD = "its load of the messages"
MONGOPG = "mongopg-migrate"
PREPARED = {  # tables that a tool expects
    MONGOPG: "CREATE TABLE mongopg_messages (id uuid PRIMARY KEY, message_id text, conversation_id text, content text,"
    " created_at timestamptz, extra jsonb)"
}
MAPPING = """
entities:
  messages:
    source: messages
    target: mongopg_messages
    id_strategy: {type: objectid_to_uuid, source_field: _id, target_field: id}
    fields: {messageId: message_id, conversationId: conversation_id, text: content, createdAt: created_at}
    unmapped:
      jsonb: [user, model, endpoint, parentMessageId, tokenCount, sender, isCreatedByUser, isTemporary, unfinished,
        error, _meiliIndex, files, finish_reason, content, attachments, contextMeta, metadata, feedback, expiredAt,
        updatedAt, __v]
      jsonb_column: extra
"""
INGESTR = "ingestr"
INDEXED = "ingestr, and the same indexes"
# ingestr creates the primary key. Its full-text index covers the same texts as ours: of `text`, else of `content`.
INDEXES = (
    (
        "CREATE INDEX ON ingestr.messages USING gin ((to_tsvector('english', coalesce(text, ''))"
        """ || jsonb_to_tsvector('english', coalesce(content, 'null'), '["string"]')))""",
    ),
    (
        "CREATE INDEX ON ingestr.messages (conversation_id)",
        "CREATE INDEX ON ingestr.messages (parent_message_id)",
        "ANALYZE ingestr.messages (_id, conversation_id, parent_message_id, created_at)",
    ),
)
LOADING = (
    "SELECT extract(epoch FROM max(committed) - min(began))::float8 FROM migrator.batches WHERE collection = 'messages'"
)


def compare_with_peers(folder: Path, documents: int, repetitions: int, workers: int) -> tuple[Series, Series]:
    """Return the seconds of each command with its peak memory, and the CPU time of the server that it has caused."""
    write_dump(folder / "made" / DATABASE, documents)
    series, replay = Series(), Series()
    with replayed(folder / "made") as server:
        for _ in range(repetitions):
            for name, command in commands(folder, server.url, workers).items():
                before = server.cpu_seconds()
                timed = run_timed(folder, command, PREPARED.get(name), INDEXES if name == INGESTR else ())
                series.add(name, timed.seconds, timed.peak)
                replay.add(name, server.cpu_seconds() - before)
                if timed.loading is not None:
                    series.add(LOAD, timed.loading)
                if name == INGESTR:
                    series.add(INDEXED, timed.seconds + timed.indexing)
    return series, replay


def commands(folder: Path, url: str, workers: int) -> Mapping[str, list[str]]:
    """Return name → command line. Tools that are not installed (extra `bench`) are skipped."""
    found = {MIGRATE: migrate(folder, url, workers)}
    ingestr, sling = Path(sys.executable).with_name("ingestr"), sling_path()
    to = f"postgresql://postgres@/postgres?host={folder / 'live'}&sslmode=disable"
    if ingestr.exists():
        found[INGESTR] = [
            str(ingestr), "ingest", "--source-uri", url, "--source-table", f"{DATABASE}.messages",
            "--dest-uri", to, "--dest-table", "ingestr.messages", "--yes",
        ]  # fmt: skip
    if sling is not None:
        found["Sling"] = [
            str(sling), "run", "--src-conn", f"{url}/{DATABASE}", "--src-stream", f"{DATABASE}.messages",
            "--tgt-conn", to, "--tgt-object", "sling.messages", "--mode", "full-refresh",
        ]  # fmt: skip
    if (mapped := mongopg(folder, url, f"postgresql://postgres@/postgres?host={folder / 'live'}")) is not None:
        found[MONGOPG] = mapped
    return found


def mongopg(folder: Path, url: str, target: str) -> list[str] | None:
    """Write the mapping and return the command line of mongopg-migrate."""
    program, mapping = Path(sys.executable).with_name(MONGOPG), folder / "mapping.yaml"
    mapping.write_text(MAPPING)
    options = ["--mongo-uri", f"{url}/{DATABASE}", "--postgres-uri", target, "--mode", "append", "--yes"]
    return [str(program), "migrate", str(mapping), *options] if program.exists() else None


def sling_path() -> Path | None:
    """Return the binary that the package `sling-linux-amd64` contains."""
    package = find_spec("sling_linux_amd64")
    places = package.submodule_search_locations if package is not None else None
    return Path(places[0]) / "bin" / "sling-linux-amd64" if places else None


def migrate(folder: Path, url: str, workers: int) -> list[str]:
    """Write the configuration and return the command line of `migrate run`."""
    config = folder / "live.toml"
    config.write_text(
        f'[source]\nurl = "{url}"\ndatabase = "{DATABASE}"\n[target]\nurl = "embedded:{folder}/live"\n'
        f"[engine]\nworkers = {workers}\n"
    )
    return [str(COMMAND), "run", "-q", "--json", "-c", str(config)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """The seconds of a command, of the indexes created after it, and of the load of the messages if it is ours; and the
    peak memory in bytes."""

    seconds: float
    indexing: float
    loading: float | None
    peak: float


def run_timed(folder: Path, command: list[str], prepared: str | None, indexes: Sequence[Sequence[str]]) -> Timed:
    """Run a command that writes to an empty database, then create indexes, each list in a session of its own."""
    shutil.rmtree(folder / "live", ignore_errors=True)
    quiet = {**os.environ, "DISABLE_TELEMETRY": "true", "SLING_DISABLE_TELEMETRY": "TRUE", "HOME": str(folder)}
    with closing(EmbeddedTarget(folder / "live")) as target, psycopg.connect(target.dsn) as connection:
        connection.autocommit = True
        if prepared is not None:
            connection.execute(prepared.encode())
        began = time.perf_counter()
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=quiet)
            peak = watch(process)
        seconds = time.perf_counter() - began
        if process.returncode:
            text = (folder / "output").read_text()
            raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{text[-2000:]}")
        with ThreadPoolExecutor() as pool:
            began = time.perf_counter()
            list(pool.map(partial(execute_all, target.dsn), indexes))
            indexing = time.perf_counter() - began
        found = connection.execute(LOADING).fetchone() if command[0] == str(COMMAND) else None
    return Timed(seconds=seconds, indexing=indexing, loading=None if found is None else float(found[0]), peak=peak)


def execute_all(dsn: str, statements: Sequence[str]) -> None:
    """Execute statements in one session."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def live_lines(series: Series, replay: Series, documents: int) -> list[str]:
    """Return the lines on runs from a live server, with the ratio to each other tool."""
    peers = [name for name in series.seconds if name not in (MIGRATE, LOAD)]
    return [
        f"{documents:,} messages from a live server; the other tools write one flat table without keys and indexes",
        "",
        *series.lines(documents),
        "CPU time of the server that replays the dump",
        *replay.lines(documents),
        "",
        *(f"{f'rows/s of the load ÷ {peer}':52}{series.ratio(peer, LOAD):9.2f}" for peer in peers),
        *(f"{f'complete run ÷ {peer}':52}{series.ratio(MIGRATE, peer):9.2f}" for peer in peers),
    ]
