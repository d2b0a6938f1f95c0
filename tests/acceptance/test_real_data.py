"""Real databases through the whole life of a migration: the demo, and a LibreChat as dumped, as folder and archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from migrator.commands import run
from migrator.translation import native
from tests.driving import Answer, call, digest_database, dump_database, hurried, spawn
from tests.processes import finish
from tests.scenarios import write_config

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.mark.parametrize(
    ("first", "second"),
    [pytest.param("demo", "demo", marks=pytest.mark.long), ("librechat", "librechat.archive.gz")],
)
def test_whole_life(first: str, second: str, database: str, server_url: str, tmp_path: Path) -> None:
    """What plan foretells happens, is proven, taken back, and happens again just so from another form of dump."""
    before = dump_database(database)
    digests = []
    with hurried(server_url):
        for name in (first, second):
            config = write_config(tmp_path / f"{name}.toml", f"dump:{FIXTURES / name}", database)
            planned = done(call("plan", "-c", config, "--json"))
            assert dump_database(database) == before
            check_accounts(planned, done(call("run", "-c", config, "--json")))
            levels = ("counts", "rows", "roundtrip") if name == first else ("roundtrip",)
            assert all(done(call("verify", "-c", config, "--level", level, "--json"))["ok"] for level in levels)
            digests.append(digest_database(database))
            done(call("revert", "-c", config, "--yes", "--json"))
            assert dump_database(database) == before
    assert digests[0] == digests[1]


def test_without_compiled_code_the_outcome_is_the_same(
    database: str, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no C compiler was there Python does all by itself, says so, and makes the same database."""
    config = write_config(tmp_path / "migrate.toml", f"dump:{FIXTURES / 'librechat'}", database)
    digests = []
    with hurried(server_url):
        for compiled in (True, False):
            if not compiled:
                monkeypatch.setattr(native, "Projector", None)
                monkeypatch.setattr(native, "TuplePacker", None)
            answer = call("run", "-c", config, "--json", "--workers", "1")
            assert answer.code == 0, answer.told
            assert (run.NOT_COMPILED in answer.err) == (native.Projector is None)
            digests.append(digest_database(database))
            done(call("revert", "-c", config, "--yes", "--json"))
    assert digests[0] == digests[1]


def test_demo_by_processes(database: str, tmp_path: Path) -> None:
    """The same commands as processes of their own, the rehearsal on a server of its own: nothing is lost."""
    config = write_config(tmp_path / "migrate.toml", f"dump:{FIXTURES / 'demo'}", database)
    planned = done(finish("plan", "-c", config, "--json"))
    outcome = done(spawn("run", "-c", config, "--json"))
    check_accounts(planned, outcome)
    assert (outcome["rejects"], outcome["findings"]) == ({}, {})
    assert done(finish("verify", "-c", config, "--level", "roundtrip", "--json"))["ok"]
    removed = {**outcome["tables"], "document_chunks": 0, "tenants": 1}
    assert done(finish("revert", "-c", config, "--yes", "--json"))["tables"] == removed


def done(answer: Answer) -> Any:
    assert answer.code == 0, answer.told
    return answer.json


def check_accounts(planned: dict[str, Any], outcome: dict[str, Any]) -> None:
    """Foretold and reported are one, collection for collection; nothing is left over."""
    foretold = {each["name"]: each for each in planned["source"]["collections"]}
    for name, counts in outcome["collections"].items():
        assert {key: counts[key] for key in ("loaded", "rejected", "archived")} == foretold[name]["predicted"]
        assert counts["source"] == counts["loaded"] + counts["rejected"] + counts["archived"]
        assert counts["source"] == foretold[name]["documents"]
    assert {name for name, each in foretold.items() if each["documents"]} <= outcome["collections"].keys()
