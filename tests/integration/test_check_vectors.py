"""`verify` of embeddings: every kind of damage is found by its check; a dry run sends no request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from migrator.verification.check_codes import CHECKS
from tests.chunks import DEMO, configure
from tests.driving import call, hurried
from tests.embedding_server import Running, serving
from tests.scenarios import write_config
from tests.templates import Templates

pytestmark = pytest.mark.usefixtures("quick")

CHUNKS = {"chunks": {"url": f"jsonl:{DEMO}-chunks.jsonl"}}


@pytest.fixture
def service(server_url: str) -> Iterator[Running]:
    with serving() as running, hurried(server_url):
        yield running


@pytest.fixture
def migrated(database: str, templates: Templates, tmp_path: Path, service: Running) -> Path:
    """Migrate the demo with embedded chunks; return its migrate.toml."""

    def build(url: str) -> None:
        told = call("run", "-c", configure(tmp_path / "migrate.toml", url, service, sections=CHUNKS), "--json")
        assert (told.code, told.json["embedding"]["missing"]) == (0, 0), told.told

    templates.copy("demo with vectors", database, build)
    return configure(tmp_path / "migrate.toml", database, service, sections=CHUNKS)


def failed(config: Path, *options: str) -> dict[str, dict[str, Any]]:
    """Return the names of the failed checks."""
    told = call("verify", "-c", config, "--json", *options).json
    assert {check["check"] for check in told["checks"]} >= {"vectors", "vectors: text", "vectors: search"}
    return {check["check"]: check for check in told["checks"] if not check["ok"]}


def give_first(database: str, value: LiteralString) -> None:
    """Set another vector for the first chunk."""
    query = sql.SQL(
        "UPDATE document_chunks SET embedding = {} WHERE id = (SELECT id FROM document_chunks ORDER BY id LIMIT 1)"
    )
    with psycopg.connect(database) as connection:
        connection.execute(query.format(sql.SQL(value)))


def execute(database: str, statement: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(statement.encode())


def test_everything_holds(migrated: Path, service: Running) -> None:
    """All checks pass at every level, and no text is sent again."""
    paid = service.stats()["paid"]
    told = call("verify", "-c", migrated, "--json", "--level", "roundtrip")
    assert told.code == 0, [check for check in told.json["checks"] if not check["ok"]]
    codes = {check["check"] for check in told.json["checks"]}
    assert (codes - CHECKS.keys(), CHECKS.keys() - codes) == (set(), {"vectors: again", "vectors: source"})
    isolation = next(check for check in told.json["checks"] if check["check"] == "vectors: tenant")
    assert isolation["actual"] == "no rows of other tenants"
    assert service.stats()["paid"] == paid


def test_missing_vector(migrated: Path, database: str) -> None:
    """A chunk without a vector is a difference, unless the provider is none."""
    give_first(database, "NULL")
    assert failed(migrated)["vectors"]["differences"] == 1
    execute(database, "UPDATE document_chunks SET embedding = NULL")
    none = write_config(migrated.with_name("none.toml"), f"dump:{DEMO}", database, {**CHUNKS, "embedding": {}})
    assert not failed(none)


def test_vector_of_another_text(migrated: Path, database: str) -> None:
    """A vector of another text, and a text that was changed afterwards, are found."""
    give_first(database, "(SELECT embedding FROM document_chunks ORDER BY id DESC LIMIT 1)")
    assert failed(migrated)["vectors: text"]["differences"] == 1
    execute(database, "UPDATE document_chunks SET content = content || '!'")
    assert failed(migrated)["vectors: text"]["differences"] == 17


def test_vector_of_length_zero(migrated: Path, database: str) -> None:
    """A zero vector is found, because no search by angle finds it."""
    give_first(database, "array_fill(0::real, ARRAY[1536])::vector")
    assert {"vectors: norm", "vectors: text"} <= failed(migrated).keys()


def test_service_with_another_opinion(migrated: Path, service: Running) -> None:
    """A sample is embedded again on request, which finds another model with the same name."""
    assert not failed(migrated, "--re-embed", "5")
    service.behave(rate=1.0, kinds=["other"])
    assert failed(migrated, "--re-embed", "5")["vectors: again"]["differences"] == 5


def test_tenant_that_is_not_kept_apart(migrated: Path, database: str) -> None:
    """A policy without a restriction is found: another role can read the vectors of another tenant."""
    execute(database, "CREATE POLICY everybody ON document_chunks USING (true)")
    found = failed(migrated)["vectors: tenant"]
    assert found["examples"] == [
        "search as another tenant: 17 rows of other tenants",
        "search without a tenant: 17 rows of other tenants",
    ]
    with psycopg.connect(database) as connection:
        roles = connection.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'migrate_probe%'").fetchone()
    assert roles == (0,)


def test_index_that_no_search_goes_by(migrated: Path, database: str) -> None:
    """An index with the right name that does not contain all rows is found."""
    execute(database, "DROP INDEX document_chunks_embedding_idx")
    execute(
        database,
        "CREATE INDEX document_chunks_embedding_idx ON document_chunks USING ivfflat (embedding vector_cosine_ops)"
        " WHERE content <> ''",
    )
    found = failed(migrated)["vectors: search"]
    assert found["examples"][0] == "index document_chunks_embedding_idx: searches do not use the index"


def test_rehearsals_ask_nobody(database: str, tmp_path: Path, service: Running) -> None:
    """`plan` and `run --dry-run` estimate the cost of embeddings and send nothing."""
    config = configure(tmp_path / "migrate.toml", database, service, sections=CHUNKS)
    forecast = call("plan", "-c", config, "--json").json["estimate"]["embedding"]
    assert (forecast["chunks"], forecast["tokens"]) == (17, 826)
    assert forecast["usd"] == pytest.approx(826 * 0.02 / 1_000_000, abs=1e-6)
    rehearsed = call("run", "-c", config, "--dry-run")
    assert rehearsed.code == 0, rehearsed.told
    assert not service.stats()["told"]


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        ({"api_key": "wrong"}, 7, "denies access"),
        ({"dimensions": 3072}, 2, "has 1536"),
        ({"model": "missing"}, 7, "404"),
    ],
)
def test_service_that_cannot_work_is_told_first(
    database: str, tmp_path: Path, service: Running, more: dict[str, Any], code: int, told: str
) -> None:
    """A run sends a test request before it writes, so that a wrong key does not end it after hours."""
    service.behave(key="right")
    config = configure(tmp_path / "migrate.toml", database, service, CHUNKS, **{"api_key": "right", **more})
    answer = call("run", "-c", config)
    assert (answer.code, told in answer.err) == (code, True), answer.told
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regnamespace('migrator')").fetchone() == (None,)


def test_plan_of_another_service(database: str, tmp_path: Path, service: Running) -> None:
    """A plan without costs is not executed with a service that has costs."""
    free = configure(tmp_path / "free.toml", database, provider="local", sections=CHUNKS)
    plan = tmp_path / "plan.json"
    assert call("plan", "-c", free, "--out", plan).code == 0
    paid = configure(tmp_path / "paid.toml", database, service, sections=CHUNKS)
    told = call("run", "-c", paid, "--plan", plan)
    assert told.code == 3
    assert "embedding" in told.err


def test_revert_after_embedding(database: str, migrated: Path) -> None:
    """Revert has no blockers and leaves nothing behind."""
    assert call("revert", "-c", migrated, "--yes").code == 0
    with psycopg.connect(database) as connection:
        left = connection.execute("SELECT to_regclass('document_chunks'), to_regnamespace('migrator')").fetchone()
    assert left == (None, None)


def test_embedding_later_is_no_change_of_others(database: str, tmp_path: Path, service: Running) -> None:
    """Revert also removes what `embed` wrote after a run without embeddings."""
    none = configure(tmp_path / "none.toml", database, sections=CHUNKS)
    assert call("run", "-c", none).code == 0
    config = configure(tmp_path / "migrate.toml", database, service, sections=CHUNKS)
    assert call("embed", "-c", config, "--json").json["filled"] == 17
    assert not failed(config)
    assert call("revert", "-c", config, "--yes").code == 0
