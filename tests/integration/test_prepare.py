"""Preparing the target: what it refuses, adds and puts aside, and that `drop_created` takes every bit of it back."""

from __future__ import annotations

from functools import partial

import psycopg
import pytest

from migrator.errors import PlanError, RevertRefusedError, StoppedError, TargetError
from migrator.events import Event, Notice, silent
from migrator.postgres import catalog, ddl, schema_changes, schema_undo
from migrator.postgres.catalog_diff import compare
from migrator.postgres.statements import Statement
from migrator.stages.constrain import BuildOptions, build_post_data
from migrator.stages.prepare import Prepared, prepare
from schema import metadata
from tests.integration.schemas import CONTRACT, OURS, STARTS, add_rows, connected, dump, remove_rows, set_up

prepared = partial(prepare, metadata=metadata, rls=True, emit=silent)


def take_back(connection: psycopg.Connection[tuple[object, ...]], *, drop_rows: bool = False) -> None:
    with connection.transaction():
        schema_undo.drop_created(connection, drop_rows=drop_rows)
        schema_undo.drop_records(connection)


class Stop(Exception):
    """Stands for whatever ends a run half-way."""


REACHED = ("prepared", "half constrained", "constrained")
# Each start with one of the moments daily, in turn.
MOMENTS = [
    pytest.param(start, reached, marks=[] if (i + j) % len(REACHED) == 0 else [pytest.mark.long])
    for i, start in enumerate(STARTS)
    for j, reached in enumerate(REACHED)
]


@pytest.mark.parametrize(("start", "reached"), MOMENTS)
def test_drop_created_restores_the_schema_exactly(database: str, start: str, reached: str) -> None:
    """Wherever a run stopped, the catalog and pg_dump afterwards are what they were before."""
    with connected(database) as connection:
        set_up(connection, start)
        before, dumped = catalog.read(connection), dump(database)
        prepared(connection)
        if reached != "prepared":
            add_rows(connection, OURS)
        if reached in ("half constrained", "constrained"):
            run_constrain(database, stop_after=20 if reached == "half constrained" else None)
        with connection.transaction():  # a revert deletes and drops in one transaction
            if reached != "prepared":
                remove_rows(connection, OURS)
            schema_undo.drop_created(connection)
            schema_undo.drop_records(connection)
        assert catalog.read(connection) == before
        assert dump(database) == dumped


def run_constrain(database: str, *, stop_after: int | None = None) -> None:
    def emit(event: Event) -> None:
        if stop_after is not None and getattr(event, "done", 0) >= stop_after:
            raise Stop

    try:
        build_post_data(lambda: connected(database), metadata, BuildOptions(rls=True, sessions=3), emit)
    except Stop:
        assert stop_after is not None


def test_an_empty_target_gets_what_a_load_needs(database: str) -> None:
    """Tables, keys and unique indexes are made; plain indexes, foreign keys and row security are not."""
    with connected(database) as connection:
        prepared(connection)
        found = catalog.read(connection)
        assert {kind for kind, count in counted(found).items() if count} == {"p", "u", "unique"}
        assert all(found.has(each) == each.before_load for each in ddl.statements(metadata, rls=True))


def counted(found: catalog.Catalog) -> dict[str, int]:
    kinds = [constraint.kind for constraint in found.constraints.values()]
    kinds += ["unique" if index.unique else "index" for index in found.indexes.values()]
    return {kind: kinds.count(kind) for kind in ("p", "u", "f", "unique", "index")}


def test_an_empty_table_loses_its_foreign_keys_and_plain_indexes(database: str) -> None:
    """Of a whole but empty schema the keys and unique indexes stay, the rest is put aside."""
    with connected(database) as connection:
        set_up(connection, "whole")
        assert prepared(connection) == Prepared(created=0, deferred=38)
        assert counted(catalog.read(connection)) == {"p": 11, "u": 3, "f": 0, "unique": 1, "index": 0}


def test_a_table_in_use_loses_only_the_key_to_itself(database: str) -> None:
    """Where rows of others are, an application is at work: its indexes and its other foreign keys stay."""
    with connected(database) as connection:
        set_up(connection, "used")
        before = catalog.read(connection)
        prepared(connection)
        gone = before.constraints.keys() - catalog.read(connection).constraints.keys()
        tables = {table for table, _ in gone}
        assert ("messages", "messages_parent_id_messages_id_fk") in gone
        assert tables == {"messages", "agents", "courses", "document_chunks", "modules", "transactions"}
        assert len([name for table, name in gone if table == "messages"]) == 1
        assert "messages_search_idx" in catalog.read(connection).indexes


def test_an_application_in_use_is_warned_of_row_security(database: str) -> None:
    """Row security on tables with rows changes what others see, so the tables are named beforehand."""
    with connected(database) as connection:
        set_up(connection, "used")
        heard: list[Event] = []
        prepare(connection, metadata, rls=True, emit=heard.append)
        (notice,) = [event.text for event in heard if isinstance(event, Notice)]
        assert "enabled on tables that contain rows: conversations, files, memories, messages, users." in notice


def test_what_a_definition_does_not_say_stays_in_place(database: str) -> None:
    """An index that its table is clustered on would not come back as it was, so it is not put aside."""
    with connected(database) as connection:
        set_up(connection, "owned")
        prepared(connection)
        assert "courses_title_idx" in catalog.read(connection).indexes
        assert "courses_tenant_id_idx" not in catalog.read(connection).indexes


@pytest.mark.parametrize("start", STARTS)
def test_preparing_twice_changes_nothing(database: str, start: str) -> None:
    """A resumed run finds the target ready and records nothing a second time."""
    with connected(database) as connection:
        set_up(connection, start)
        prepared(connection)
        before, records = catalog.read(connection), schema_changes.read(connection)
        assert prepared(connection) == Prepared(created=0, deferred=0)
        assert (catalog.read(connection), schema_changes.read(connection)) == (before, records)


def test_every_difference_is_named_before_anything_is_written(database: str) -> None:
    """A schema that does not fit is refused with all differences at once, and stays as it was."""
    with connected(database) as connection:
        connection.execute(CONTRACT)
        connection.execute("""
            DROP TABLE memories;
            ALTER TABLE users ADD nickname text NOT NULL;
            ALTER TABLE files ALTER size TYPE bigint;
            ALTER TYPE tier ADD VALUE 'team';
            DROP INDEX messages_parent_id_idx; CREATE INDEX messages_parent_id_idx ON messages (model);
        """)
        before = catalog.read(connection)
        with pytest.raises(PlanError) as caught:
            prepared(connection)
        named = ("nickname of users", "size of files", "enum tier", "messages_parent_id_idx")
        assert all(name in caught.value.message for name in named)
        assert caught.value.message.count("\n") == len(named)
        assert catalog.read(connection) == before
        assert connection.execute("SELECT to_regnamespace('migrator')").fetchone() == (None,)


def test_what_does_no_harm_is_tolerated(database: str) -> None:
    """Extra tables, indexes, constraints and triggers, another column order and an unchecked key are left alone."""
    with connected(database) as connection:
        set_up(connection, "owned")
        connection.execute("""
            ALTER TABLE memories DROP category; ALTER TABLE memories ADD category text;
            ALTER TABLE users ADD CONSTRAINT named CHECK (email <> '');
            CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            CREATE TRIGGER quiet BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION nothing();
            ALTER TABLE users ENABLE ROW LEVEL SECURITY;
            CREATE POLICY tenant_isolation ON users USING (tenant_id = current_setting('app.current_tenant_id')::uuid);
        """)
        heard: list[Event] = []
        prepare(connection, metadata, rls=True, emit=heard.append)
        notices = [event.text for event in heard if isinstance(event, Notice)]
        assert len(notices) == 1
        assert "policy tenant_isolation of users" in notices[0]


def test_rows_that_break_a_missing_key_are_named(database: str) -> None:
    """A key that cannot be added because of rows that are there is a PlanError with the key in question."""
    with connected(database) as connection:
        connection.execute(CONTRACT)
        connection.execute("DROP INDEX users_email_idx; ALTER TABLE users DROP CONSTRAINT users_email_unique")
        for tenant in (OURS, OURS.replace("b", "c")):
            connection.execute("INSERT INTO tenants (id, name, subdomain) VALUES (%s, '', %s)", (tenant, tenant))
            connection.execute("INSERT INTO users (tenant_id, email) VALUES (%s, 'twice@example.org')", (tenant,))
        with pytest.raises(PlanError, match=r"Key \(email\)=\(…\) is duplicated"):
            prepared(connection)
        assert connection.execute("SELECT to_regnamespace('migrator')").fetchone() == (None,)


def test_hidden_rows_are_refused(database: str) -> None:
    """A role that row security applies to cannot load; it is told so before anything is written."""
    with connected(database) as connection:
        connection.execute("CREATE ROLE owner_of_tests")
        try:
            connection.execute(f"GRANT CREATE ON DATABASE {connection.info.dbname} TO owner_of_tests")
            connection.execute("CREATE EXTENSION vector; GRANT CREATE ON SCHEMA public TO owner_of_tests")
            connection.execute("SET ROLE owner_of_tests")
            connection.execute(ddl.render(metadata, rls=True))
            connection.execute("ALTER TABLE users FORCE ROW LEVEL SECURITY")
            with pytest.raises(TargetError, match="hides rows from the target role owner_of_tests in users"):
                prepared(connection)
        finally:
            connection.execute("RESET ROLE; DROP OWNED BY owner_of_tests; DROP ROLE owner_of_tests")


def test_a_stop_between_change_and_record_leaves_neither(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change and record share a transaction: when recording fails, the object is not there either."""
    with connected(database) as connection:
        record, calls = schema_changes._record_creation, iter(range(100))

        def failing(statement: Statement) -> str:
            return "SELECT 1 / 0" if next(calls) == 12 else record(statement)

        monkeypatch.setattr(schema_changes, "_record_creation", failing)
        before = catalog.read(connection)
        with pytest.raises(psycopg.errors.DivisionByZero):
            prepared(connection)
        assert catalog.read(connection) == before


def test_a_locked_table_stops_the_run_for_now(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting long for a lock would hold up the application; the run stops and can go on later."""
    with connected(database) as connection, connected(database) as other:
        set_up(connection, "whole")
        monkeypatch.setattr(
            schema_changes, "limit_lock_wait", lambda connection: connection.execute("SET LOCAL lock_timeout = '50ms'")
        )
        with other.transaction():
            other.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
            with pytest.raises(StoppedError, match="holds a lock"):
                prepared(connection)
        assert prepared(connection).deferred == 38


def test_a_dependent_object_of_others_refuses_the_revert(database: str) -> None:
    """What others have built on the migration's objects is named, and nothing is dropped."""
    with connected(database) as connection:
        prepared(connection)
        connection.execute("CREATE TABLE notes (plan tier)")
        before = catalog.read(connection)
        with pytest.raises(RevertRefusedError, match="column plan of table notes depends on type tier"):
            take_back(connection)
        assert catalog.read(connection) == before


def test_rows_in_a_created_table_refuse_the_revert(database: str) -> None:
    """A table that the migration made goes with rows in it only if the caller answers for them."""
    with connected(database) as connection:
        prepared(connection)
        connection.execute("INSERT INTO tenants (name, subdomain) VALUES ('new', 'new')")
        with pytest.raises(RevertRefusedError, match="table tenants"):
            take_back(connection)
        take_back(connection, drop_rows=True)
        assert catalog.read(connection).tables == {}


def test_the_records_schema_goes_only_if_it_is_ours(database: str) -> None:
    """A schema named migrator that was there before stays, and so does one with something else in it."""
    with connected(database) as connection:
        connection.execute("CREATE SCHEMA migrator")
        prepared(connection)
        take_back(connection)
        assert connection.execute("SELECT to_regnamespace('migrator') IS NULL").fetchone() == (False,)
        connection.execute("DROP SCHEMA migrator")
        prepared(connection)
        connection.execute("CREATE TABLE migrator.theirs ()")
        with pytest.raises(RevertRefusedError, match=r"table migrator\.theirs depends on schema migrator"):
            take_back(connection)


def test_a_deferred_object_that_no_longer_fits_refuses_the_revert(database: str) -> None:
    """If meanwhile rows break what must come back, the revert says which and what to do."""
    with connected(database) as connection:
        set_up(connection, "whole")
        prepared(connection)
        connection.execute("INSERT INTO users (tenant_id, email) VALUES (gen_random_uuid(), 'orphan@example.org')")
        with pytest.raises(RevertRefusedError, match="recreate the deferred foreign_key users_tenant_id_tenants_id_fk"):
            take_back(connection)


def test_the_schema_matches_after_all(database: str) -> None:
    """Prepare and constrain together leave the wanted schema, row security included."""
    with connected(database) as connection:
        wanted = catalog.read_expected(connection, metadata, rls=True)
        prepared(connection)
        run_constrain(database)
        assert compare(catalog.read(connection), wanted) == []
