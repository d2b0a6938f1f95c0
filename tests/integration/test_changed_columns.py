"""Columns of ours that the owner of the target has changed: each change is a blocker with its cause before the load."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from migrator.errors import PlanError
from migrator.events import silent
from migrator.mapping.loader import load_definition
from migrator.postgres import catalog
from migrator.stages.prepare import require_compatible
from tests.integration.schemas import CONTRACT

METADATA = load_definition("mappings", "schema").metadata
COLUMNS = [(table, column) for table in METADATA.sorted_tables for column in table.columns]
NULLABLE = [(table, column) for table, column in COLUMNS if column.nullable and not column.primary_key]
EXPECTED: list[catalog.Catalog] = []  # of the current database; reading it for each change would take a minute
DOMAINS = (
    "CREATE DOMAIN public.any_text AS text", "CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 10)",
    "CREATE DOMAIN public.given AS text NOT NULL",
)  # fmt: skip
TYPES = {
    "TEXT": ("varchar(20)", "char(3)", "public.any_text", "public.short", "public.given", 'text COLLATE "C"'),
    "INTEGER": ("bigint", "smallint", "numeric"),
    "BOOLEAN": ("text",),
    "TIMESTAMP": ("timestamptz", "timestamp(0)", "date"),
    "JSONB": ("json", "text"),
}


@pytest.fixture
def connection(database: str) -> psycopg.Connection[tuple[object, ...]]:
    """A database with the tables of the application, and domains of its owner."""
    connection = psycopg.connect(database, autocommit=True)
    connection.execute("; ".join((CONTRACT, *DOMAINS)).encode())
    EXPECTED[:] = [catalog.read_expected(connection, METADATA, False)]
    return connection


def describe_blocker(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> str:
    """Execute a change and return the message and the hint of the blocker; roll the change back."""
    with connection.transaction(force_rollback=True):
        connection.execute(statement.encode())
        actual = catalog.read(connection)
        with pytest.raises(PlanError) as caught:
            require_compatible(connection, actual, EXPECTED[0], silent)
        return f"{caught.value.message} {caught.value.hint}"


def test_not_null(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """NOT NULL on any column that may be NULL, with the statement that drops it."""
    with connection:
        assert len(NULLABLE) > 40
        for table, column in NULLABLE:
            alter = f'ALTER TABLE "{table.name}" ALTER "{column.name}" SET NOT NULL'
            told = describe_blocker(connection, alter)
            assert f"column {column.name} of {table.name} differs" in told
            assert "DROP NOT NULL;" in told


@pytest.mark.long
def test_another_type(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Another type, a domain or a collation."""
    count = 0
    with connection:
        for table, column in COLUMNS:
            for other in () if is_referenced(column) else TYPES.get(kind_of(column), ()):
                alter = (
                    f'ALTER TABLE "{table.name}" ALTER "{column.name}" DROP DEFAULT, ALTER "{column.name}" TYPE {other}'
                )
                using = f' USING "{column.name}"::text::{other.partition(" COLLATE")[0]}'
                told = describe_blocker(connection, drop_indexes(table.name) + alter + using)
                assert f"column {column.name} of {table.name} differs" in told
                count += 1
    assert count > 200


@pytest.mark.long
def test_other_defaults_and_missing_columns(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """A default that the definition does not have, and a column that is missing."""
    with connection:
        for table, column in NULLABLE:
            if kind_of(column) == "TEXT" and column.server_default is None:
                told = describe_blocker(
                    connection, f'ALTER TABLE "{table.name}" ALTER "{column.name}" SET DEFAULT \'x\''
                )
                assert f"column {column.name} of {table.name} differs" in told
            told = describe_blocker(connection, f'ALTER TABLE "{table.name}" DROP COLUMN "{column.name}" CASCADE')
            assert f"column {column.name} of {table.name} is missing" in told


def kind_of(column: sa.Column[object]) -> str:
    return str(column.type).partition("(")[0].partition(" ")[0]


def is_referenced(column: sa.Column[object]) -> bool:
    return column.primary_key or bool(column.foreign_keys)


def drop_indexes(table: str) -> str:
    """The statement that drops the indexes of a table that belong to no constraint: some do not fit other types."""
    return """
        DO $do$ DECLARE name text; BEGIN
          FOR name IN SELECT i.indexrelid::regclass FROM pg_index i WHERE i.indrelid = 'public."TABLE"'::regclass
                       AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
          LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
        END $do$;
    """.replace("TABLE", table)
