"""Keys of rows of elements that are made after the load: missing during it, complete after it, wherever it stopped."""

from __future__ import annotations

from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

from migrator.errors import PlanError
from migrator.events import Event, StepAdvanced, StepFinished, StepStarted, silent
from migrator.postgres import catalog, ddl, schema_changes, schema_undo
from migrator.postgres.catalog_diff import compare
from migrator.postgres.late_keys import find_document_keys, find_late_keys, make_now
from migrator.postgres.statements import Ref
from migrator.stages.arrangement import arrange
from migrator.stages.changes import Phase, find_changes
from migrator.stages.constrain import BuildOptions, build_post_data
from migrator.stages.prepare import prepare
from tests.integration.schemas import Connection, connected

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)
sa.Table("lists", metadata, sa.Column("id", UUID, primary_key=True))
sa.Table(
    "items",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("list_id", UUID, sa.ForeignKey("lists.id"), nullable=False),
    sa.Column("Place", sa.Integer, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("next", UUID, sa.ForeignKey("items.id")),
    sa.UniqueConstraint("list_id", "Place"),
    sa.UniqueConstraint("code"),
    sa.UniqueConstraint("Place", "id", deferrable=True, name="items_deferrable"),
    sa.Index("items_code_idx", "code"),
    sa.Index("items_code_unique_idx", "code", unique=True),
)
sa.Table(
    "parts",
    metadata,
    sa.Column("item_id", UUID, sa.ForeignKey("items.id"), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
)
CERTAIN = {
    "items": (frozenset({"id"}), frozenset({"list_id", "Place"})),
    "parts": (frozenset({"item_id", "place"}),),
}
LATE = frozenset({
    Ref("key", "items", "items_pkey"),
    Ref("unique", "items", "items_list_id_key"),
    Ref("key", "parts", "parts_pkey"),
})  # fmt: skip
ROWS = """
    INSERT INTO lists SELECT gen_random_uuid() FROM generate_series(1, 5);
    INSERT INTO items SELECT gen_random_uuid(), id, n, id::text || n FROM lists, generate_series(1, 5) n;
    INSERT INTO parts SELECT id, n FROM items, generate_series(1, 5) n;
"""
STEPS = 12  # six changes of keys, three foreign keys, their validations; the index is among them

prepared = partial(prepare, metadata=metadata, rls=False, emit=silent, late=LATE)


def constrained(database: str, emit: object = silent) -> None:
    build_post_data(lambda: connected(database), metadata, BuildOptions(rls=False, sessions=2), emit)  # type: ignore[arg-type]


def missing(connection: Connection) -> set[str]:
    wanted = catalog.read_expected(connection, metadata, rls=False)
    return {each.name for each in compare(catalog.read(connection), wanted)}


def test_only_certain_keys_are_late() -> None:
    """A constraint on a field of documents is not, and none with options, which an index cannot have."""
    assert find_late_keys(metadata, CERTAIN) == LATE
    assert find_late_keys(metadata, {"items": (frozenset({"code"}),)}) == {Ref("unique", "items", "items_code_key")}


@pytest.mark.parametrize(
    ("columns", "tables", "late", "found"),
    [
        ({"id"}, ("lists",), (), {"lists_pkey"}),
        ({"id"}, ("lists", "parts"), (), ()),  # the key of parts can be violated
        ({"id"}, ("lists", "parts"), {Ref("key", "parts", "parts_pkey")}, {"lists_pkey"}),
        ({"id"}, ("items",), (), ()),  # other columns are unique, too
        ({"name"}, ("lists",), (), ()),
        ({"item_id"}, ("parts",), (), {"parts_pkey"}),
        ({"id"}, ("unknown",), (), ()),
    ],
)
def test_keys_of_documents_are_late_where_nothing_else_is_unique(
    columns: set[str], tables: tuple[str, ...], late: set[Ref], found: set[str]
) -> None:
    keys = find_document_keys(metadata, [(frozenset(columns), tables)], frozenset(late))
    assert {ref.name for ref in keys} == set(found)


def test_late_keys_are_made_after_the_load(database: str) -> None:
    """`prepare` leaves them out, the stage post-data makes them, and the schema is the expected one; all is counted."""
    heard: list[Event] = []
    with connected(database) as connection:
        prepared(connection)
        assert {"items_pkey", "items_list_id_key", "parts_pkey"} <= missing(connection)
        assert not {"lists_pkey", "items_code_key", "items_deferrable"} & missing(connection)
        connection.execute(ROWS)
        constrained(database, heard.append)
        assert missing(connection) == set()
    done = [each.done for each in heard if isinstance(each, StepAdvanced)]
    started = next(each for each in heard if isinstance(each, StepStarted))
    assert done == list(range(1, (started.total or 0) + 1))
    assert len(done) >= STEPS


class Stop(Exception):
    """Stands for whatever ends a run half-way."""


@pytest.mark.parametrize("stop", range(1, STEPS))
def test_a_run_that_stopped_goes_on(database: str, stop: int) -> None:
    """Also between the build of an index and its key; and everything can be undone then."""

    def emit(event: Event) -> None:
        if isinstance(event, StepAdvanced) and event.done == stop:
            raise Stop

    with connected(database) as connection:
        before = catalog.read(connection)
        prepared(connection)
        connection.execute(ROWS)
        with pytest.raises(Stop):
            constrained(database, emit)
        if stop % 2:
            prepared(connection)
            constrained(database)
            assert missing(connection) == set()
        with connection.transaction():
            schema_undo.drop_created(connection, drop_rows=True)
            schema_undo.drop_records(connection)
        assert catalog.read(connection) == before


def test_an_index_that_was_built_is_used(database: str) -> None:
    """A run was killed after it had built the index of a key. Another index of this name is refused."""
    with connected(database) as connection:
        prepared(connection)
        statement = next(each for each in ddl.statements(metadata, rls=False) if each.name == "items_pkey")
        schema_changes.execute(connection, schema_changes.index_build(statement))
        prepared(connection)
        built = connection.execute("SELECT 'items_pkey'::regclass::oid").fetchone()
        constrained(database)
        assert connection.execute("SELECT 'items_pkey'::regclass::oid").fetchone() == built
        assert missing(connection) == set()
        kinds = [each.kind for each in schema_changes.read(connection) if each.name == "items_pkey"]
        assert kinds == ["key"]
    for other in ("CREATE INDEX items_pkey ON items (id)", "CREATE UNIQUE INDEX items_pkey ON items (id)"):
        with connected(database) as connection:
            connection.execute("DROP TABLE parts, items, lists CASCADE; DROP SCHEMA migrator CASCADE")
            prepared(connection)
            connection.execute(other.encode())
            with pytest.raises(PlanError, match="items_pkey"):
                prepared(connection)


def test_tables_of_the_owner_keep_their_keys(database: str) -> None:
    """The application may write to a table that exists, and a missing key is made before the load."""
    with connected(database) as connection:
        connection.execute("CREATE TABLE parts (item_id uuid NOT NULL, place integer NOT NULL)")
        prepared(connection)
        assert "parts_pkey" not in missing(connection)
        assert "items_pkey" in missing(connection)


def test_late_keys_are_made_before_rows_are_found_by_them(database: str) -> None:
    """At once, each with its record; the stage post-data does the rest."""
    with connected(database) as connection:
        prepared(connection)
        connection.execute(ROWS)
        make_now(connection, metadata, LATE)
        assert not {ref.name for ref in LATE} & missing(connection)
        assert {each.ref for each in schema_changes.read(connection)} >= LATE
        make_now(connection, metadata, LATE)
        constrained(database)
        assert missing(connection) == set()


def test_the_order_follows_the_locks(database: str) -> None:
    """Keys wait for the builds of their tables, foreign keys to them for both tables, and validations for these."""
    with connected(database) as connection:
        prepared(connection)
        changes = [each for each in find_changes(connection, metadata, rls=False) if each.phase != Phase.FAST]
    graph = arrange(changes, {}, {})
    tasks = {(change.ref.name, change.phase): task for change, task in zip(sorted(changes, key=lambda each: each.phase),
             graph, strict=True)}  # fmt: skip
    needed = {key: {name for name, task in tasks.items() if task in graph[tasks[key]]} for key in tasks}
    builds = {(name, Phase.BUILD) for name in ("items_pkey", "items_list_id_key", "items_code_idx")}
    assert needed["items_code_idx", Phase.BUILD] == {("items_list_id_fkey", Phase.VALIDATION)}
    assert builds <= needed["items_pkey", Phase.KEY]
    assert ("items_pkey", Phase.KEY) in needed["items_list_id_key", Phase.KEY]
    reference = needed["parts_item_id_fkey", Phase.REFERENCE]
    assert {("parts_pkey", Phase.KEY), ("items_list_id_key", Phase.KEY)} <= reference
    assert ("parts_item_id_fkey", Phase.REFERENCE) in needed["parts_item_id_fkey", Phase.LATE_VALIDATION]
    references = [name for name in tasks if name[1] == Phase.REFERENCE]
    assert references[0] in needed[references[1]]


def test_the_load_ends_with_a_finished_step(database: str) -> None:
    """A second time, nothing is left to do."""
    heard: list[Event] = []
    with connected(database) as connection:
        prepared(connection)
        constrained(database)
        constrained(database, heard.append)
    assert heard[-1] == StepFinished(step="post-data", note="0 statements")
