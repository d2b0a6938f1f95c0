"""After the load: everything put aside is back as it was, everything missing is there, and a stop costs nothing."""

from __future__ import annotations

import threading
from functools import partial

import psycopg
import pytest

from migrator.errors import DifferenceError
from migrator.events import Event, Notice, StepAdvanced, StepFinished, StepStarted, silent
from migrator.postgres import catalog, ddl, schema_changes
from migrator.postgres.catalog_diff import compare
from migrator.postgres.scheduler import ScheduledTask, Scheduler, critical_path_costs
from migrator.stages import constrain as stage
from migrator.stages.arrangement import arrange
from migrator.stages.changes import Phase, find_changes
from migrator.stages.constrain import BuildOptions, EarlyIndexBuilder, build_post_data
from migrator.stages.prepare import prepare
from schema import metadata
from tests.integration.schemas import OURS, STARTS, Connection, add_rows, connected, set_up

prepared = partial(prepare, metadata=metadata, rls=True, emit=silent)


def constrained(database: str, *, workers: int = 2, emit: object = silent) -> None:
    build_post_data(lambda: connected(database), metadata, BuildOptions(rls=True, sessions=workers), emit)  # type: ignore[arg-type]


class Stop(Exception):
    """Stands for whatever ends a run half-way."""


@pytest.mark.parametrize("start", STARTS)
def test_what_was_there_is_back_and_what_was_missing_is_added(database: str, start: str) -> None:
    """Afterwards nothing wanted is missing, and all that the owner had is as it was, NOT VALID included."""
    with connected(database) as connection:
        set_up(connection, start)
        before = catalog.read(connection)
        wanted = catalog.read_expected(connection, metadata, rls=True)
        prepared(connection)
        add_rows(connection, OURS)
        constrained(database)
        after = catalog.read(connection)
        assert [each for each in compare(after, wanted) if each.actual is None] == []
        assert before.constraints.items() <= after.constraints.items()
        assert before.indexes.items() <= after.indexes.items()
        assert before.policies.items() <= after.policies.items()
        left = [record for record in schema_changes.read(connection) if record.action == "deferred"]
        assert left == []


def test_an_orphan_is_named(database: str) -> None:
    """A row that refers to nothing is a DifferenceError with the constraint and the key; put right, the run goes on."""
    with connected(database) as connection:
        prepared(connection)
        add_rows(connection, OURS)
        gone = "0190b5a0-0000-7000-8000-0000000000ff"
        connection.execute("UPDATE messages SET conversation_id = %s WHERE parent_id IS NULL", (gone,))
        with pytest.raises(DifferenceError) as caught:
            constrained(database)
        assert "messages_conversation_id_conversations_id_fk of table messages" in caught.value.message
        assert f"({gone}) is not present" in caught.value.message
        connection.execute("UPDATE messages SET conversation_id = %s", (OURS,))
        prepared(connection)
        constrained(database)
        assert compare(catalog.read(connection), catalog.read_expected(connection, metadata, rls=True)) == []


def test_a_value_too_long_to_index_is_named(database: str) -> None:
    """PostgreSQL indexes no value above 2704 bytes: the index and its table are named, with a remedy."""
    with connected(database) as connection:
        prepared(connection)
        add_rows(connection, OURS)
        connection.execute(
            "UPDATE memories SET key = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 999) n)"
        )
        with pytest.raises(
            DifferenceError, match="a row of table memories is too large for the index memories_key_idx"
        ):
            constrained(database)


@pytest.mark.parametrize("stop", [1, 22, 50])
def test_a_run_that_stopped_goes_on(database: str, stop: int) -> None:
    """Wherever it stopped, the second run does what is left, and the result is that of an undisturbed one."""
    with connected(database) as connection:
        set_up(connection, "partly")
        wanted = catalog.read_expected(connection, metadata, rls=True)
        prepared(connection)
        add_rows(connection, OURS)
        before = remaining(connection)
        with pytest.raises(Stop):
            constrained(database, emit=partial(stop_at, stop))
        left = remaining(connection)
        assert left <= before - stop
        constrained(database)
        assert remaining(connection) == 0
        assert compare(catalog.read(connection), wanted) == []


def stop_at(stop: int, event: Event) -> None:
    if isinstance(event, StepAdvanced) and event.done == stop:
        raise Stop


def remaining(connection: Connection) -> int:
    return len(list(find_changes(connection, metadata, rls=True)))


def test_events_count_every_statement(database: str) -> None:
    """The total is announced, each statement advances by one, and a second run has nothing to do."""
    heard: list[Event] = []
    with connected(database) as connection:
        prepared(connection)
        constrained(database, emit=heard.append)
        after = catalog.read(connection)
        first = heard[0]
        assert isinstance(first, StepStarted)
        assert (first.step, first.unit) == ("post-data", "statements")
        assert [event.done for event in heard if isinstance(event, StepAdvanced)] == list(
            range(1, (first.total or 0) + 1)
        )
        assert isinstance(heard[-1], StepFinished)
        constrained(database)
        assert catalog.read(connection) == after


def test_the_order_follows_the_locks_and_the_cost(database: str) -> None:
    """Checks before the indexes of their table, the table with the full-text index first, the vector index last."""
    with connected(database) as connection:
        prepared(connection)
        slow = [change for change in find_changes(connection, metadata, rls=True) if change.phase != Phase.FAST]
    graph = arrange(slow, {"messages": 10_000, "conversations": 100_000}, {})
    rank = critical_path_costs(graph)
    tasks = sorted(graph, key=rank, reverse=True)
    assert tasks[0].name == "messages_conversation_id_conversations_id_fk"
    assert next(task.name for task in tasks if task.name.endswith("_idx")) == "messages_search_idx"
    last = next(task for task in graph if task.name == "document_chunks_embedding_idx")
    assert graph[last] == set(graph) - {last}


def test_the_task_of_a_table_precedes_its_changes(database: str) -> None:
    """The statistics of a table are computed before its indexes, whose builds would make ANALYZE wait."""
    with connected(database) as connection:
        prepared(connection)
        slow = [change for change in find_changes(connection, metadata, rls=True) if change.phase != Phase.FAST]
    analysis = ScheduledTask(name="statistics of messages", act=lambda connection: None)
    graph = arrange(slow, {}, {"messages": analysis})
    own = {change.ref.name for change in slow if change.ref.table == "messages"}

    def waits(task: ScheduledTask) -> bool:
        return task is analysis or any(map(waits, graph[task]))

    assert graph[analysis] == set()
    assert len(own) > 3
    assert all(waits(task) for task in graph if task.name in own)
    assert not any(waits(task) for task in graph if task.name.startswith("users_"))


def test_someone_elses_restoration_is_accepted(database: str) -> None:
    """What others made again meanwhile (drizzle-kit push, say) is taken as restored."""
    with connected(database) as connection:
        set_up(connection, "whole")
        before = catalog.read(connection)
        prepared(connection)
        for record in schema_changes.read(connection):
            if record.name in ("messages_search_idx", "users_tenant_id_tenants_id_fk"):
                connection.execute(record.definition)
        build_post_data(lambda: connected(database), metadata, BuildOptions(rls=False, sessions=2), silent)
        assert catalog.read(connection) == before
        assert [record.kind for record in schema_changes.read(connection)] == ["schema"]


def test_the_vector_index_builds_beyond_the_servers_default_memory(database: str) -> None:
    """10,000 chunks need 65 MB, more than a server's default of 64 MB; an index over fewer would prove nothing."""
    with connected(database) as connection:
        prepared(connection)
        connection.execute("SET maintenance_work_mem = '64MB'")
        connection.execute("""
            INSERT INTO document_chunks (file_id, tenant_id, content, embedding)
            SELECT gen_random_uuid(), gen_random_uuid(), '', array_fill(n, ARRAY[1536])::vector
              FROM generate_series(1, 10000) n
        """)
        index = next(each for each in ddl.statements(metadata, rls=False) if each.kind == "vector_index")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="maintenance_work_mem is 64 MB"):
            connection.execute(index.sql)
        stage.prepare_session(connection).execute(index.sql)


def test_a_scheduler_stops_at_the_first_failure(database: str) -> None:
    """The statement of another worker is cancelled on the server, and its error does not hide the first one."""
    begun = threading.Event()

    def sleep(connection: Connection) -> None:
        begun.set()
        connection.execute("SELECT pg_sleep(3600)")

    def fail(connection: Connection) -> None:
        begun.wait()
        raise Stop

    with pytest.raises(Stop), Scheduler(lambda: connected(database), 2) as scheduler:
        list(
            scheduler.run_all(
                {ScheduledTask(name="long", act=sleep): set(), ScheduledTask(name="bad", act=fail): set()}
            )
        )


def test_a_scheduler_respects_dependencies_and_costs(database: str) -> None:
    """With one worker the order is that of the critical path, and nothing runs before what it needs."""
    order: list[str] = []

    def task(name: str, cost: float) -> ScheduledTask:
        return ScheduledTask(name=name, cost=cost, act=lambda _: order.append(name))

    small, large, first, then = task("small", 1), task("large", 5), task("first", 1), task("then", 7)
    with Scheduler(lambda: connected(database), 1) as scheduler:
        done = [each.name for each in scheduler.run_all({small: set(), large: set(), then: {first}, first: set()})]
    assert done == order == ["first", "then", "large", "small"]


@pytest.mark.parametrize(
    ("costs", "size", "last"),
    [((5, 5, 5), 2, {"2"}), ((9, 4, 4), 2, {"0", "2"}), ((5, 5, 5), 1, {"0", "1", "2"})],
    ids=["equal", "one long task", "one session"],
)
def test_a_scheduler_tells_the_last_long_tasks(
    database: str, costs: tuple[int, ...], size: int, last: set[str]
) -> None:
    """While others are ready that take as long, all cores are in use; the last ones may use several."""
    told: dict[str, bool] = {}
    current: dict[Connection, bool] = {}

    def tell(name: str, connection: Connection) -> None:
        told[name] = current[connection]

    tasks = [ScheduledTask(name=str(n), cost=cost, act=partial(tell, str(n))) for n, cost in enumerate(costs)]
    with Scheduler(lambda: connected(database), size, lambda *each: current.update([each])) as scheduler:
        list(scheduler.run_all({task: set() for task in tasks}))
    assert {name for name, is_last in told.items() if is_last} == last


def test_an_index_build_uses_one_process_while_others_are_built(database: str) -> None:
    """The server decides for the last one."""
    with connected(database) as connection:
        for is_last, expected in ((False, ("0",)), (True, None)):
            default = connection.execute("SELECT reset_val FROM pg_settings WHERE name LIKE %s", ("max_parallel_m%",))
            stage.limit_workers(connection, is_last)
            found = connection.execute("SELECT current_setting('max_parallel_maintenance_workers')").fetchone()
            assert found == (expected or default.fetchone())


def test_full_text_is_indexed_ahead_of_the_rest(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is complete gets its full-text index while others change its rows; `constrain` finds it done."""
    monkeypatch.setattr(stage, "EARLY_BUILD_BYTES", 1)
    events: list[Event] = []
    with connected(database) as connection:
        prepared(connection)
        add_rows(connection, OURS)
        with EarlyIndexBuilder(lambda: connected(database), metadata, events.append) as ahead:
            ahead.start(connection, "messages")
            connection.execute("UPDATE messages SET parent_id = NULL")
            ahead.finish()
        steps = [each.step for each in events if not isinstance(each, Notice)]
        assert steps == ["build messages_search_idx"] * 2
        assert set(catalog.read(connection).indexes) & set(SLOW) == {"messages_search_idx"}
        constrained(database)
        assert compare(catalog.read(connection), catalog.read_expected(connection, metadata, rls=True)) == []


@pytest.mark.parametrize(
    ("processes", "sessions", "done"),
    [(1, 2, ["short", "long"]), (2, 2, ["short"]), (3, 2, ["short"]), (3, 4, ["short", "long"])],
)
def test_the_longest_task_waits_if_the_full_text_index_leaves_no_core(
    database: str, monkeypatch: pytest.MonkeyPatch, processes: int, sessions: int, done: list[str]
) -> None:
    """It is executed by `build_post_data`, beside the foreign keys of a table, which leave a core idle."""
    monkeypatch.setattr(stage, "EARLY_BUILD_BYTES", 1)
    monkeypatch.setattr(stage, "count_processes", lambda connection: processes)
    ended: list[str] = []
    tasks = [
        ScheduledTask(name=name, cost=cost, act=lambda connection, name=name: ended.append(name))  # type: ignore[misc]
        for name, cost in (("long", 2), ("short", 1))
    ]
    with connected(database) as connection:
        prepared(connection)
        add_rows(connection, OURS)
        with EarlyIndexBuilder(lambda: connected(database), metadata, silent) as ahead:
            ahead.start(connection, "messages")
            ahead.build_alongside(connection, sessions, {tasks[0]: set(), tasks[1]: set()})
            ahead.finish()
        assert sorted(ended, reverse=True) == done
        assert "messages_search_idx" in catalog.read(connection).indexes


def test_several_processes_build_a_full_text_index_from_version_18_on(database: str) -> None:
    with connected(database) as connection:
        connection.execute("SET max_parallel_maintenance_workers = 3")
        assert stage.count_processes(connection) == (4 if connection.info.server_version >= 180_000 else 1)


def test_what_is_built_ahead_ends_with_the_run(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the run stops, the index that is being built is given up at once, and leaves no record."""
    monkeypatch.setattr(stage, "EARLY_BUILD_BYTES", 1)
    with connected(database) as connection, connected(database) as other:
        prepared(connection)
        add_rows(connection, OURS)
        with other.transaction():
            other.execute("UPDATE messages SET content = 'x'")  # keeps the build waiting
            with pytest.raises(Stop):
                stop_while_building(database, connection)
        assert not set(catalog.read(connection).indexes) & set(SLOW)
        assert not [record for record in schema_changes.read(connection) if record.name in SLOW]


def stop_while_building(database: str, connection: Connection) -> None:
    with EarlyIndexBuilder(lambda: connected(database), metadata, silent) as ahead:
        ahead.start(connection, "messages")
        raise Stop


SLOW = ("messages_search_idx", "memories_search_idx")
