"""kill -9 of any process in any stage: the run goes on, alone or by the same command, and ends as if undisturbed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import schema
from migrator.postgres import ddl
from migrator.targets.embedded import SETTINGS, EmbeddedTarget
from tests import mongo
from tests.archive_writer import write_archive, write_folder
from tests.driving import call, digest_database
from tests.embedding_server import serving
from tests.killing import KINDS, STAGES, Killer, Server, Watcher, plan_kills, run_to_the_end
from tests.lessons import make_lessons
from tests.scenarios import write_config
from tests.talks import make_talks

# The rate is limited: else all is loaded before the killer has looked where the run is.
ENGINE = {"batch_rows": 40, "part_bytes": 20_000, "workers": 2, "max_rows_per_second": 400}
PREPARED = sum(each.before_load for each in ddl.statements(schema.metadata, rls=True))
FORMS = ("folder", "archive", "live")
SEED = 20261128


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {**SETTINGS, "fsync": "off", "full_page_writes": "off"}  # the machine is not switched off
    target = EmbeddedTarget(tmp_path_factory.mktemp("killed") / "postgres", settings=settings, durable=False)
    yield Server(target)
    target.close()


@pytest.mark.parametrize(
    ("form", "stages", "kinds"),
    [
        ("folder", STAGES, KINDS),
        # Daily, `test_follow_kills` kills the source and the target during the load of a live source.
        pytest.param(
            "live",
            ("load", "load", "reconcile", "post-data"),
            ("source", "worker", "session", "postmaster"),
            marks=pytest.mark.long,
        ),
    ],
    ids=["folder", "live"],
)
def test_killed_in_every_stage(
    form: str, stages: tuple[str, ...], kinds: tuple[str, ...], server: Server, tmp_path: Path
) -> None:
    """Kills of the command, a worker, a session, PostgreSQL, the source: the database is the same at the end."""
    check_kills(server, tmp_path, form, plan=(SEED, stages, kinds), messages=400)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_two_hundred_kills(seed: int, server: Server, tmp_path: Path) -> None:
    """Ten kills twenty times over: two in every stage."""
    form = FORMS[seed % 3]
    kinds = (*KINDS, "source") if form == "live" else KINDS
    check_kills(server, tmp_path, form, plan=(seed, 2 * STAGES, kinds), messages=3000)


Plan = tuple[int, tuple[str, ...], tuple[str, ...]]


def check_kills(server: Server, folder: Path, form: str, *, plan: Plan, messages: int) -> None:
    """`plan`: seed, stages and kinds for `plan_kills`."""
    with ExitStack() as opened:
        url, source, sections = make_source(opened, folder, form, messages)
        whole = server.new_database()
        assert call("run", "-c", write_config(folder / "whole.toml", url, whole, sections)).code == 0
        expected, progress = digest_database(whole), Watcher(whole).look()
        killer = Killer(plan_kills(*plan), progress, PREPARED, server.revive, source)
        for _ in range(len(killer.aims) + 1):
            broken = server.new_database()
            config = write_config(folder / "broken.toml", url, broken, sections)
            run_to_the_end(killer, config, broken)
            assert digest_database(broken) == expected, (plan, killer.killed)
            if killer.done:
                break
        assert killer.done, (plan, killer.killed)
        assert {stage for _, stage in killer.killed} >= set(plan[1]) - {"reconcile"}, (plan, killer.killed)
        if messages > 1000:
            assert call("verify", "-c", config, "--level", "roundtrip").code == 0


def make_source(
    opened: ExitStack, folder: Path, form: str, messages: int
) -> tuple[str, mongo.Server | None, dict[str, Any]]:
    """Returns the URL of talks in one of FORMS, its server, and settings: chunks are embedded by a slow service."""
    made, lessons = make_talks(messages=messages), make_lessons(5, 60)
    for name in ("users", "files"):
        made[name] = made.get(name, []) + lessons.bson()[name]
    service = opened.enter_context(serving())
    service.behave(latency=0.05)
    embedding = {"provider": "openai", "base_url": service.url, "api_key": "k", "concurrency": 2, "batch": 4}
    sections = {"engine": ENGINE, "chunks": lessons.write(folder)["chunks"], "embedding": embedding}
    if form == "live":
        source = opened.enter_context(mongo.server_in(folder / "mongo"))
        mongo.fill(source.url, "chat", made)
        return f"{source.url}/chat?serverSelectionTimeoutMS=3000", source, sections
    if form == "folder":
        return f"dump:{write_folder(folder / 'dump', made)}", None, sections
    return f"dump:{write_archive(folder / 'dump', {'chat': made})}", None, sections
