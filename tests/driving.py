"""Driving the command line in tests: calls in this process or another; what a database holds, as text and digests."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import psycopg
import typer.main
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import MetaData

from migrator import cli
from migrator.commands import context
from migrator.commands.context import Session
from migrator.documents import fingerprint
from migrator.postgres import catalog
from migrator.postgres.catalog import Catalog
from migrator.targets.base import Target
from migrator.targets.bundled import program_path
from migrator.targets.server import ServerTarget
from migrator.translation import compiler, native
from migrator.translation.interpreter import constants_of
from migrator.verification.record_diff import sort_fields
from migrator.workflows.plan_indexes import Forecast
from tests.cluster_copies import copy_clusters
from tests.conftest import CREATE_DATABASE, administer, with_database
from tests.processes import fork_receivers

COMMAND = Path(sys.executable).with_name("migrate")
RECORDS = {
    "ledger": "collection, source_id, target_id, outcome, residue",
    "rejects": "collection, source_id, reason, detail",
    "archive": "collection, source_id, document",
    "findings": "collection, code, severity, source_id, detail",
    "aliases": "collection, original_id, target, owner",
    "links": "collection, lister, listed, position",
}


_COMMAND = lru_cache(typer.main.get_command)  # typer builds all commands anew for every call: 20 ms
_MEANING = lru_cache(maxsize=None)(fingerprint._describe_module)  # each new configuration parses the same files: 90 ms


def generate_once(collection: Any, options: Any, destination: Any) -> Any:
    """Writes the code of a mapping once for all commands of this process, which do it a thousand times: 5 ms each.

    Not for mappings with elements, whose cutters keep state.
    """
    constants = repr(sorted(constants_of(collection, options).items()))
    key = (id(collection), constants, destination, native.Projector, native.TuplePacker)
    if collection.children:
        return _GENERATE(collection, options, destination)
    if key not in _GENERATED:
        _GENERATED[key] = (collection, _GENERATE(collection, options, destination))  # the collection keeps its id
    return _GENERATED[key][1]


_GENERATE = compiler._generate
_GENERATED: dict[tuple[Any, ...], tuple[Any, Any]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def told(self) -> str:
        return self.out + self.err


def call(*arguments: object) -> Answer:
    """Runs a command in this process, as the entry point would."""
    out, err = io.StringIO(), io.StringIO()
    cli.consoles.clear()  # a console is made once for a process; here each call is one
    with (
        patch.object(sys, "argv", ["migrate", *map(str, arguments)]),
        patch("typer.main.get_command", _COMMAND),
        patch.object(fingerprint, "_describe_module", _MEANING),
        patch.object(compiler, "_generate", generate_once),
        fork_receivers(),
        copy_clusters(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = cli.run_app()
        for console in cli.consoles:
            console.close()
    return Answer(code=code, out=out.getvalue(), err=err.getvalue())


def open_session(config: Path) -> Session:
    """The session of a command that is not run: its source, its target and its migration."""
    cli.consoles.clear()  # as in `call`
    return context.open_session(config, json=True, verbose=False, quiet=True)


def spawn(*arguments: object, environment: Mapping[str, str] | None = None) -> Answer:
    """Runs a command in a process of its own, to its end."""
    done = subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


@contextmanager
def hurried(server_url: str) -> Iterator[None]:
    """Saves what every scenario would pay for again, and what others test: `plan` rehearses in a throw-away database of
    a server that runs, without indexes and keys at the end; the wanted schema is rendered once."""
    known = _WANTED.setdefault(server_url, {})
    read = catalog.read_expected

    def read_once(connection: Any, metadata: MetaData, rls: bool) -> Catalog:
        key = (metadata, rls)
        if key not in known:
            known[key] = read(connection, metadata, rls)
        return known[key]

    check, host = ServerTarget._check_pooling, conninfo_to_dict(server_url).get("host")

    def check_pooling(target: ServerTarget, connection: Any) -> None:
        if connection.info.host != host:  # the tests' server is no pooler
            check(target, connection)

    with (
        patch.object(ServerTarget, "_check_pooling", check_pooling),
        patch("migrator.postgres.catalog.read_expected", read_once),
        patch("migrator.workflows.plan.ephemeral_target", lambda: _rehearsal(server_url)),
        patch("migrator.workflows.dry_run.ephemeral_target", lambda production_settings: _rehearsal(server_url)),
        patch("migrator.workflows.plan.rehearse_indexes", lambda *arguments: Forecast()),
    ):
        yield


_WANTED: dict[str, dict[tuple[MetaData, bool], Catalog]] = {}


@contextmanager
def _rehearsal(server_url: str) -> Iterator[Target]:
    """A database that every plan finds empty."""
    name = f"rehearsal_{os.getpid()}"
    url = with_database(server_url, name)
    try:
        clear(url)
    except psycopg.OperationalError:
        administer(server_url, CREATE_DATABASE, name)
    yield ServerTarget(url)


def clear(url: str) -> None:
    """Takes everything out of a database that a migration may have made in it."""
    with psycopg.connect(url) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA IF EXISTS migrator CASCADE")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
        connection.execute("COMMENT ON SCHEMA public IS 'standard public schema'")
        connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")


def dump_database(url: str) -> str:
    """Everything in a database, as pg_dump writes it (its random \\restrict keys left out).

    pg_dump reads an empty database once: that takes ten times as long as to see that nothing is in it.
    """
    if (empty := describe_empty(url)) is None:
        return _dump(url)
    if empty not in _EMPTY:
        _EMPTY[empty] = _dump(url)
    return _EMPTY[empty]


_EMPTY: dict[tuple[object, ...], str] = {}
_CATALOGS: dict[int, list[str]] = {}  # version of the server → those with OIDs, but pg_namespace
_LIST_CATALOGS = """
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'oid'
     WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND NOT c.relisshared
       AND c.relname <> 'pg_namespace'
"""
_FIRST_OID = 16384  # of objects that are made after initdb


def describe_empty(url: str) -> tuple[object, ...] | None:
    """Server, encoding, and the owners, privileges and comments of schemas; None if there is any other object."""
    with psycopg.connect(url, autocommit=True, client_encoding="UTF8") as connection:
        connection.execute("SET search_path = pg_catalog")  # some tests replace its functions
        version = connection.info.server_version
        if version not in _CATALOGS:
            _CATALOGS[version] = [str(row[0]) for row in connection.execute(_LIST_CATALOGS)]
        made = " UNION ALL ".join(f"SELECT FROM {name} WHERE oid >= {_FIRST_OID}" for name in _CATALOGS[version])
        schemas = (
            "SELECT string_agg(concat_ws(' ', nspname, nspowner, nspacl, obj_description(oid, 'pg_namespace')), ', '"
            " ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'"
        )
        query = f"SELECT ({schemas}) WHERE NOT EXISTS ({made})"
        try:
            found = connection.execute(query.encode()).fetchone()
        except psycopg.errors.InsufficientPrivilege:  # a role that may not read all catalogs
            return None
        encoding = connection.info.parameter_status("server_encoding")
        return None if found is None else (connection.info.host, version, encoding, str(found[0]))


def _dump(url: str) -> str:
    parts = urlsplit(url)
    environment = {**os.environ, "PGPASSWORD": parts.password or ""}
    done = subprocess.run(
        [str(program_path("pg_dump")), "--dbname", url], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def digest_database(url: str) -> dict[str, str]:
    """A digest of every table's rows and of every record that must not depend on how a run went."""
    with psycopg.connect(url, autocommit=True) as connection:
        query = (
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname !~ '^pg_' AND schemaname NOT IN ('migrator', 'information_schema') ORDER BY 1, 2"
        )
        # The tenant's own dates are when it was made.
        digests = {
            name if schema == "public" else f"{schema}.{name}": _digest(
                connection, schema, name, "id, subdomain" if name == "tenants" else "*"
            )
            for schema, name in connection.execute(query).fetchall()
        }
        for name, columns in RECORDS.items():
            digests[f"migrator.{name}"] = _digest(connection, "migrator", name, columns)
        digests["rejected documents"] = _digest_rejected(connection)
    return digests


def _digest_rejected(connection: psycopg.Connection[Any]) -> str:
    """Field by field: what was a row for a while has come back with its fields in another order (fidelity.md)."""
    query = "SELECT collection, source_id, document FROM migrator.rejects"
    rows = [
        (name, bytes(source_id).hex(), sort_fields(bytes(document)).hex())
        for name, source_id, document in connection.execute(query, binary=True)
    ]
    return f"{len(rows)} rows, {hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()[:16]}"


def _digest(connection: psycopg.Connection[Any], schema: str, table: str, columns: str) -> str:
    query = sql.SQL("SELECT t::text FROM (SELECT {} FROM {}) t").format(
        sql.SQL(columns),
        sql.Identifier(schema, table),
    )
    lines = sorted(row[0] for row in connection.execute(query))
    return f"{len(lines)} rows, {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"
