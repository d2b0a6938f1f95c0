"""Sessions that are closed are used again: as new ones, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from migrator.postgres import session
from migrator.targets import sessions
from migrator.targets.server import ServerTarget, WorkerSessions

STATE = (
    "SELECT current_setting('TimeZone'), current_setting('search_path'), current_setting('lock_timeout'),"
    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
    " (SELECT count(*) FROM pg_class WHERE relpersistence = 't'), (SELECT count(*) FROM pg_prepared_statements)"
)


@pytest.fixture
def target(database: str) -> Iterator[ServerTarget]:
    with closing(ServerTarget(database)) as opened, closing(opened.connect()):
        yield opened


def test_a_kept_session_is_as_a_new_one(target: ServerTarget) -> None:
    """Settings, locks, temporary tables and prepared statements are gone, and so is the closed connection."""
    with closing(target.connect()) as first:
        pid, state = first.info.backend_pid, first.execute(STATE).fetchone()
        first.execute("SET TimeZone = 'America/New_York'; SET search_path = public; SET lock_timeout = 1")
        first.execute("CREATE TEMP TABLE things (id int); SELECT pg_advisory_lock(1)")
        first.execute("SELECT 1", prepare=True)
    assert first.closed
    with pytest.raises(psycopg.OperationalError, match="closed"):
        first.execute("SELECT 1")
    with closing(target.connect()) as second:
        assert second.info.backend_pid == pid
        assert second.execute(STATE).fetchone() == state
        assert second.autocommit


def test_an_open_transaction_ends_the_session(target: ServerTarget) -> None:
    """What was not committed is rolled back at once, as if the connection had been closed by any other program."""
    with closing(target.connect()) as first:
        pid = first.info.backend_pid
        first.execute("CREATE TABLE public.things (id int)")
        first.execute("BEGIN; INSERT INTO public.things VALUES (1)")
    with closing(target.connect()) as second:
        assert second.info.backend_pid != pid
        assert second.execute("SELECT count(*) FROM public.things").fetchone() == (0,)


def test_a_lost_session_is_not_used(target: ServerTarget, database: str) -> None:
    """If the server has ended the kept session, the next connection has a new one."""
    with closing(target.connect()) as first:
        pid = first.info.backend_pid
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    with closing(target.connect()) as second:
        assert second.info.backend_pid != pid


def test_an_old_session_is_not_used(target: ServerTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network can have dropped it."""
    with closing(target.connect()) as first:
        pid = first.info.backend_pid
    monkeypatch.setattr(sessions, "FRESH", -1.0)
    with closing(target.connect()) as second:
        assert second.info.backend_pid != pid


def test_the_target_ends_its_sessions(database: str) -> None:
    """Few are kept; after `close`, the server has none of them."""
    workers = WorkerSessions(database)
    opened = [workers.connect() for _ in range(4)]
    pids = {each.info.backend_pid for each in opened}
    for each in opened:
        each.close()
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
    with psycopg.connect(database, autocommit=True) as other:
        wait = "SELECT pg_sleep(0.02)"
        for left in (sessions.KEPT, 0):
            for _ in range(500):
                if other.execute(query, (list(pids),)).fetchone() == (left,):
                    break
                other.execute(wait)
            assert other.execute(query, (list(pids),)).fetchone() == (left,)
            workers.close()


def test_a_server_without_one_of_the_settings(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is compatible with PostgreSQL only gets the settings that it has."""
    monkeypatch.setattr(session, "_SET_ALL", f"{session._SET_ALL}; SET a_setting_of_others = 1")
    with closing(ServerTarget(database)) as target, closing(target.connect()) as connection:
        assert connection.execute("SHOW TimeZone").fetchone() == ("UTC",)
        assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog, pg_temp",)
