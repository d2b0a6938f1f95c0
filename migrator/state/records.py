"""The schema of the records, `migrator`: its relations, their version, and the schemas that hold one migration.

Not here: the rows of the records. Runs, steps and batches are in `journal.py`, the ledger in `ledger.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from migrator.errors import UsageError
from migrator.postgres.identifiers import identify
from migrator.postgres.table_names import SCRATCH

Connection = psycopg.Connection[Any]

RECORDS = (
    "runs", "steps", "partitions", "batches", "heartbeats", "metadata",
    "ledger", "rejects", "archive", "findings", "aliases", "links", "member_lists", "own_transactions", "foreign_edits",
    "given_ids", "embeddings", "refusals", "sync", "dirty", "wants", "changes", "intended", "unreturned", "conflicts",
    "cutover_steps",
)  # fmt: skip
INDEXES = ("aliases_idx", "links_idx", "dirty_idx", "wants_idx", "wants_source_idx")
VERSION = 7  # increase it with every change to the relations in the scripts or in schema_changes.sql
_VERSION_COMMENT = "Records of migrate, version "


@dataclass(frozen=True, slots=True)
class Namespace:
    """The two schemas that hold one migration: `rows` has the tables of the target, `records` the records.

    They are `public` and `migrator`, or a pair of scratch schemas for a dry run. Tables of other schemas than public
    have these in their names (`postgres/table_names.py`).
    """

    rows: str = "public"
    records: str = "migrator"

    def table(self, name: str) -> sql.Identifier:
        """Return the qualified name of a table of the target."""
        return identify(name, self.rows)

    def sql(self, template: LiteralString, **names: sql.Composable) -> sql.Composed:
        """Compose a statement from a template, with `{ledger}` and the other records by name, and with `names`."""
        if names:
            return sql.SQL(template).format(**{**_records_of(self.records), **names})
        return _compose(self.records, template)


@lru_cache
def _records_of(schema: str) -> dict[str, sql.Composable]:
    return {name: sql.Identifier(schema, name) for name in RECORDS}


@lru_cache(maxsize=1024)
def _compose(schema: str, template: LiteralString) -> sql.Composed:
    """Compose a statement once: a command composes each of a hundred statements for every collection or batch."""
    text = sql.SQL(template).format(**_records_of(schema)).as_string()
    return sql.Composed([sql.SQL(text)])


SCRATCH_NAMESPACE = Namespace(SCRATCH, "migrator_scratch_records")


def create_records(
    connection: Connection, namespace: Namespace, *, with_following: bool = True, unlogged: bool = False
) -> None:
    """Create the schema of the records and its relations where they are missing.

    A dry run that applies no changes does not need those of following and cutover, which take a third of the time.
    """
    folder = files("migrator.sql")
    script = folder.joinpath("records.sql").read_text(encoding="utf-8")
    if with_following:
        script += folder.joinpath("following_records.sql").read_text(encoding="utf-8")
    if unlogged:
        script = script.replace("CREATE TABLE", "CREATE UNLOGGED TABLE")
    with connection.transaction():
        existed = has_records(connection, namespace)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(namespace.records)))
        indexes = {name: sql.Identifier(name) for name in INDEXES}
        connection.execute(namespace.sql(script, **indexes))
        if not existed:
            _identify_rows(connection, namespace)
            comment = sql.Literal(f"{_VERSION_COMMENT}{VERSION}")
            connection.execute(namespace.sql("COMMENT ON TABLE {runs} IS {comment}", comment=comment))


def _identify_rows(connection: Connection, namespace: Namespace) -> None:
    """Set a replica identity for relations without a primary key.

    A publication FOR ALL TABLES covers them, and without an identity it does not permit UPDATE and DELETE.
    """
    query = """
        SELECT relname FROM pg_class c WHERE relnamespace = %s::regnamespace AND relkind = 'r' AND relname = ANY(%s)
           AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
    """
    for (name,) in connection.execute(query, (namespace.records, list(RECORDS))).fetchall():
        table = sql.Identifier(namespace.records, name)
        connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(table))


def has_records(connection: Connection, namespace: Namespace) -> bool:
    """Return whether the namespace holds the records of a migration. Call it before any other access to records.

    Raises:
        UsageError: another version of migrate created the records.
    """
    version = read_version(connection, namespace)
    if version not in (None, VERSION):
        age = "an older" if version < VERSION else "a newer"
        raise UsageError(
            f"{age} version of migrate created the records in schema {namespace.records}:"
            f" record version {version}, expected {VERSION}",
            hint=f"Use that version of migrate; {namespace.records}.runs.version shows which one it is.",
        )
    return version is not None


def read_version(connection: Connection, namespace: Namespace) -> int | None:
    """Return the version of the records, 0 if they have no version, None if there are no records.

    The version is a comment on the table `runs`: it can be read without knowledge of the columns.
    """
    query = "SELECT obj_description(c.oid, 'pg_class') FROM pg_class c WHERE c.oid = to_regclass(%s)"
    found = connection.execute(query, (f"{namespace.records}.runs",)).fetchone()
    if found is None:
        return None
    number = (found[0] or "").removeprefix(_VERSION_COMMENT)
    return int(number) if number.isdecimal() else 0
