"""The SQLAlchemy schema, the statements made of it, and the catalog that compares them with the contract."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import (
    UUID,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from migrator.errors import TargetError, UsageError
from migrator.postgres import catalog, ddl
from migrator.postgres.catalog_diff import compare
from migrator.postgres.statements import Ref
from migrator.targets.bundled import program_path
from schema import metadata

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "fixtures" / "target-schema.sql"
SHARED = ROOT.parent / "shared" / "target-schema.sql"


def connected(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url, autocommit=True)


@pytest.mark.skipif(not SHARED.exists(), reason="no shared folder beside this checkout")
def test_the_copy_of_the_contract_is_the_contract() -> None:
    """The file these tests compare with is the one that settles the schema."""
    assert CONTRACT.read_text() == SHARED.read_text()


def test_the_statements_build_the_contract(new_database: Callable[[], str]) -> None:
    """Both scripts leave the same catalog: columns, order, defaults, constraints, indexes, enums, names."""
    with connected(new_database()) as ours, connected(new_database()) as theirs:
        ours.execute(ddl.render(metadata, rls=False))
        theirs.execute(CONTRACT.read_text())
        assert catalog.read(ours) == catalog.read(theirs)
        assert compare(catalog.read(ours), catalog.read(theirs)) == []


def test_the_wanted_catalog_is_the_contract(database: str) -> None:
    """What is built in a scratch schema and rolled back equals the contract, and leaves nothing behind."""
    with connected(database) as connection:
        empty = catalog.read(connection)
        wanted = catalog.read_expected(connection, metadata, rls=False)
        assert catalog.read(connection) == empty
        assert connection.execute("SELECT to_regnamespace(%s)", (catalog.SCRATCH_SCHEMA,)).fetchone() == (None,)
        connection.execute(CONTRACT.read_text())
        assert compare(catalog.read(connection), wanted) == []


def test_row_security_is_all_that_rls_adds(database: str) -> None:
    """With rls, every table with tenant_id has its switch and its policy, and nothing else differs."""
    with connected(database) as connection:
        connection.execute(ddl.render(metadata, rls=True))
        plain = catalog.read_expected(connection, metadata, rls=False)
        found = compare(catalog.read(connection), plain)
        tables = {table.name for table in metadata.tables.values() if "tenant_id" in table.columns}
        assert {(each.kind, each.table) for each in found} == {
            (kind, table) for kind in ("policy", "row_security") for table in tables
        }
        assert len(tables) == 10


def test_a_tenant_sees_its_own_rows_and_no_tenant_none(database: str) -> None:
    """The policy filters by app.current_tenant_id; unset or reset, it hides everything without an error."""
    one, two = "0190b5a0-0000-7000-8000-000000000001", "0190b5a0-0000-7000-8000-000000000002"
    with connected(database) as connection:
        connection.execute(ddl.render(metadata, rls=True))
        for tenant in (one, two):
            connection.execute("INSERT INTO tenants (id, name, subdomain) VALUES (%s, 'T', %s)", (tenant, tenant))
            connection.execute("INSERT INTO courses (tenant_id, title, instructor) VALUES (%s, 'C', '')", (tenant,))
        with connection.transaction(force_rollback=True):
            connection.execute("CREATE ROLE reader_of_tests; GRANT SELECT ON courses TO reader_of_tests")
            connection.execute("SET LOCAL ROLE reader_of_tests")
            count = "SELECT count(*) FROM courses"
            assert connection.execute(count).fetchone() == (0,)
            connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", (one,))
            assert connection.execute("SELECT tenant_id::text FROM courses").fetchall() == [(one,)]
            connection.execute("SELECT set_config('app.current_tenant_id', '', true)")
            assert connection.execute(count).fetchone() == (0,)


def test_every_statement_has_its_undo(database: str) -> None:
    """All statements, then all undos in reverse, leave an empty database; each need comes before its statement."""
    with connected(database) as connection:
        empty = catalog.read(connection)
        statements = ddl.statements(metadata, rls=True)
        made: set[Ref] = set()
        for statement in statements:
            assert set(statement.needs) <= made
            connection.execute(statement.sql)
            made.add(statement.ref)
        assert all(catalog.read(connection).has(statement) for statement in statements)
        for statement in reversed(statements):
            connection.execute(statement.undo_sql)
        assert catalog.read(connection) == empty


def test_another_schema_is_built_without_touching_public(database: str) -> None:
    """Statements for a scratch schema hit that schema alone, even where public holds the same names."""
    with connected(database) as connection:
        connection.execute(ddl.render(metadata, rls=False))
        before = catalog.read(connection)
        connection.execute("CREATE SCHEMA migrator_scratch")
        connection.execute(ddl.render(metadata, rls=False, schema="migrator_scratch"))
        scratch = catalog.read(connection, placed_in="migrator_scratch")
        assert compare(scratch, before) == []
        for statement in reversed(ddl.statements(metadata, rls=False, schema="migrator_scratch")):
            if statement.kind != "extension":
                connection.execute(statement.undo_sql)
        assert catalog.read(connection) == before
        assert catalog.read(connection, placed_in="migrator_scratch").relations == {}


def test_the_script_runs_in_psql(database: str) -> None:
    """What `migrate schema` prints can be piped into psql as it is."""
    command = [str(program_path("psql")), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", database]
    done = subprocess.run(command, input=ddl.render(metadata, rls=True), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_vector_extension_may_live_elsewhere(database: str) -> None:
    """Hosted databases keep extensions in a schema of their own; the types are found there."""
    with connected(database) as connection:
        connection.execute("CREATE SCHEMA extensions; CREATE EXTENSION vector WITH SCHEMA extensions")
        connection.execute("SET search_path = public, extensions")
        connection.execute(CONTRACT.read_text())
        connection.execute("RESET search_path")
        wanted = catalog.read_expected(connection, metadata, rls=False)
        assert compare(catalog.read(connection), wanted) == []


def test_a_role_that_may_not_create_in_public_is_told_so(database: str) -> None:
    """CREATE on the database is not enough since PostgreSQL 15; `plan` has to know before `run` does."""
    with connected(database) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE ROLE guest_of_tests")
        try:
            connection.execute(f"GRANT CREATE ON DATABASE {connection.info.dbname} TO guest_of_tests")
            connection.execute("SET ROLE guest_of_tests")
            with pytest.raises(TargetError, match="guest_of_tests may not create objects in schema public"):
                catalog.read_expected(connection, metadata, rls=False)
        finally:
            connection.execute("RESET ROLE; DROP OWNED BY guest_of_tests; DROP ROLE guest_of_tests")


def test_a_role_that_may_not_create_is_told_so(database: str) -> None:
    """Without CREATE on the database there is a TargetError with a remedy, not a driver's error."""
    with connected(database) as connection:
        connection.execute("CREATE ROLE guest_of_tests")
        try:
            connection.execute("GRANT CREATE ON SCHEMA public TO guest_of_tests")
            connection.execute("SET ROLE guest_of_tests")
            with pytest.raises(TargetError, match="guest_of_tests may not create a schema in database") as caught:
                catalog.read_expected(connection, metadata, rls=False)
            assert "GRANT CREATE" in caught.value.hint
        finally:
            connection.execute("RESET ROLE; DROP OWNED BY guest_of_tests; DROP ROLE guest_of_tests")


def test_odd_names_and_percent_signs_survive(database: str) -> None:
    """Another team's metadata may have any name and any literal: they are quoted, and no % is doubled."""
    odd = MetaData()
    parent = Table('Or"der', odd, Column("50% off", Integer), PrimaryKeyConstraint("50% off", name="100%"))
    check = CheckConstraint("\"select\" LIKE '%x'", name='a "check"')
    child = Table("select", odd, Column("select", Text), Column("tenant_id", UUID), Column("50% off", Integer), check)
    child.append_constraint(ForeignKeyConstraint(["50% off"], [parent.c["50% off"]], name="%s"))
    Index("%(index)s", child.c.select, unique=True)
    with connected(database) as connection:
        empty = catalog.read(connection)
        statements = ddl.statements(odd, rls=True)
        connection.execute(ddl.render(odd, rls=True))
        assert compare(catalog.read(connection), catalog.read_expected(connection, odd, rls=True)) == []
        assert (
            catalog.read(connection).constraints["select", 'a "check"'].definition == "CHECK (\"select\" ~~ '%x'::text)"
        )
        for statement in reversed(statements):
            connection.execute(statement.undo_sql)
        assert catalog.read(connection) == empty


def test_a_constraint_without_a_name_is_refused() -> None:
    """What has no name can neither be compared nor dropped: the metadata's author is told so."""
    nameless = MetaData()
    Table("things", nameless, Column("id", Integer, primary_key=True))
    with pytest.raises(UsageError, match="table things: a PrimaryKeyConstraint has no name"):
        ddl.statements(nameless, rls=False)


CHANGES = {
    "ALTER TABLE users ADD nickname text": "column nickname of users is not in the definition: text",
    "ALTER TABLE users DROP avatar": "column avatar of users is missing; expected text",
    "ALTER TABLE users ALTER tier DROP DEFAULT": (
        "column tier of users differs: found tier NOT NULL; expected tier DEFAULT 'free'::tier NOT NULL"
    ),
    "ALTER TABLE files ALTER size TYPE bigint": (
        "column size of files differs: found bigint NOT NULL; expected integer NOT NULL"
    ),
    "ALTER TABLE users ALTER name SET NOT NULL": "column name of users differs: found text NOT NULL; expected text",
    'ALTER TABLE users ALTER name TYPE text COLLATE "C"': (
        'column name of users differs: found text COLLATE "C"; expected text'
    ),
    "ALTER TABLE users ADD x int; ALTER TABLE users DROP x": None,
    "ALTER TYPE tier ADD VALUE 'team' BEFORE 'pro'": (
        "enum tier differs: found 'free', 'team', 'pro', 'admin'; expected 'free', 'pro', 'admin'"
    ),
    "ALTER TABLE users DROP CONSTRAINT users_email_unique": (
        "constraint users_email_unique of users is missing; expected UNIQUE (email)"
    ),
    "ALTER TABLE users RENAME CONSTRAINT users_pkey TO users_pk": (
        "constraint users_pkey of users differs: found PRIMARY KEY (id) named users_pk; expected PRIMARY KEY (id)"
    ),
    "DROP INDEX memories_key_idx; CREATE INDEX memories_key_idx ON memories (key, category)": (
        "index memories_key_idx of memories differs: found"
        " CREATE INDEX memories_key_idx ON memories USING btree (key, category);"
        " expected CREATE INDEX memories_key_idx ON memories USING btree (key)"
    ),
    "DROP INDEX memories_key_idx; CREATE INDEX memories_key_idx ON users (name)": (
        "index memories_key_idx of memories differs: found name already in use (index of users);"
        " expected CREATE INDEX memories_key_idx ON memories USING btree (key)"
    ),
    "ALTER TABLE memories SET UNLOGGED": "table memories differs: found unlogged table; expected table",
    "ALTER TABLE memories ENABLE ROW LEVEL SECURITY": "row_security memories differs: found on; expected off",
    "CREATE TABLE extra ()": "table extra is not in the definition: table",
    "DROP TABLE memories; CREATE VIEW memories AS SELECT 1 AS id": "table memories differs: found view; expected table",
    "ALTER TABLE messages ALTER CONSTRAINT messages_parent_id_messages_id_fk DEFERRABLE": (
        "constraint messages_parent_id_messages_id_fk of messages differs: found"
        " FOREIGN KEY (parent_id) REFERENCES messages(id) DEFERRABLE;"
        " expected FOREIGN KEY (parent_id) REFERENCES messages(id)"
    ),
}


def test_each_difference_is_found_and_named(database: str) -> None:
    """One change to the contract's schema at a time: the comparison names exactly it, or nothing where it is void."""
    with connected(database) as connection:
        connection.execute(CONTRACT.read_text())
        wanted = catalog.read_expected(connection, metadata, rls=False)
        for change, named in CHANGES.items():
            with connection.transaction(force_rollback=True):
                connection.execute(change)
                found = [str(each) for each in compare(catalog.read(connection), wanted)]
            assert named in found or (named is None and not found), (change, found)
