"""The database of the measurements: a temporary PostgreSQL with a migrated dump."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.documents import write_dump
from migrator.documents import raw_bson
from migrator.events import silent
from migrator.mapping.loader import MigrationDefinition, load_definition, load_settings
from migrator.rows.lookup import RowLookup
from migrator.rows.store import RowStore
from migrator.sources import open_source
from migrator.state.records import Namespace
from migrator.state.tenant import Options
from migrator.targets import open_target
from migrator.workflows.migration import MigrationContext
from migrator.workflows.run import run_migration

TABLES = """
CREATE SCHEMA bench;
CREATE TABLE bench.messages (LIKE public.messages);
CREATE TABLE bench.ledger (LIKE migrator.ledger);
"""


@dataclass(frozen=True, slots=True)
class BenchDatabase:
    """Batches of raw BSON, and everything that is needed to translate them."""

    batches: list[bytes]
    connection: psycopg.Connection[Any]
    definition: MigrationDefinition
    options: Options

    def resolver(self) -> RowLookup:
        """Return a lookup with an empty cache."""
        return RowLookup(RowStore(self.connection, Namespace(), self.definition.mappings), self.options.tenant)


@contextmanager
def open_database(documents: int, batch: int) -> Iterator[BenchDatabase]:
    """Generate documents, migrate them, and yield the result. Everything is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="migrate-bench-") as name:
        folder = Path(name)
        write_dump(folder / "dump" / "LibreChat", documents)
        (folder / "migrate.toml").write_text(
            f'[source]\nurl = "dump:{folder}/dump/LibreChat"\n[target]\nurl = "embedded:{folder}/postgres"\n'
        )
        config, definition = load_settings(folder / "migrate.toml", {}), load_definition("mappings", "schema")
        target = open_target(config.target.url)
        try:
            source = open_source(config.source.url)
            run_migration(MigrationContext(config=config, definition=definition, source=source, emit=silent), target)
            with closing(target.connect()) as connection:
                connection.autocommit = True
                connection.execute(TABLES)
                batches = split_batches((folder / "dump" / "LibreChat" / "messages.bson").read_bytes(), batch)
                yield BenchDatabase(batches, connection, definition, Options(config, config.tenant.id))
        finally:
            target.close()


def split_batches(data: bytes, documents: int) -> list[bytes]:
    """Divide a .bson file into batches of `documents` documents."""
    raws = list(raw_bson.split_documents(data))
    return [b"".join(raws[start : start + documents]) for start in range(0, len(raws), documents)]
