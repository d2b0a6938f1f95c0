"""Filling missing embeddings: equal texts, cache, rejected texts, other models, index, `run` and `embed`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.chunks import add_chunks, ask, configure, count_wrong, digest, make_texts, migrate, unfinish
from tests.driving import call, dump_database
from tests.embedding_server import Running, serving
from tests.templates import Templates

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def service() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture
def target(database: str, templates: Templates, tmp_path: Path) -> str:
    """A database with the migrated demo."""
    templates.copy("demo", database, lambda url: migrate(tmp_path, url))
    return database


def findings(database: str) -> list[Any]:
    return ask(database, "SELECT code, count(*) FROM migrator.findings WHERE collection = 'document_chunks' GROUP BY 1")


def test_equal_texts_are_paid_once(target: str, tmp_path: Path, service: Running) -> None:
    """Equal texts are billed once, within a page, across pages and in a later call."""
    texts = make_texts(30)
    add_chunks(target, texts * 40)
    config = configure(tmp_path / "openai.toml", target, service, batch=7)
    told = call("embed", "-c", config, "--json")
    assert (told.code, told.json["filled"], told.json["failed"]) == (0, 1200, 0), told.told
    assert count_wrong(target) == 0
    with psycopg.connect(target) as connection:
        connection.execute("UPDATE document_chunks SET embedding = NULL")
    assert call("embed", "-c", config, "--json").json["tokens"] == 0
    assert count_wrong(target) == 0
    assert service.stats()["paid"] == {digest(text): 1 for text in texts}


def test_run_embeds_before_the_vector_index(target: str, tmp_path: Path, service: Running) -> None:
    """A resumed run fills missing embeddings, then builds the index, and reports model, tokens and missing rows."""
    add_chunks(target, make_texts(50))
    unfinish(target)
    told = call("run", "-c", configure(tmp_path / "openai.toml", target, service))
    assert told.code == 0, told.told
    assert told.out.index("Computing embeddings: done") < told.out.index("Creating indexes and constraints: done")
    assert count_wrong(target) == 0
    again = call("run", "-c", configure(tmp_path / "openai.toml", target, service), "--json").json["embedding"]
    assert (again["model"], again["dimensions"], again["missing"]) == ("text-embedding-3-small", 1536, 0)
    assert again["tokens"] == sum(len(text) // 4 for text in make_texts(50))


def test_bad_texts_are_findings_and_the_rest_goes_on(target: str, tmp_path: Path, service: Running) -> None:
    """A rejected, a blank and a long text get findings that do not quote them, and no second finding on a retry."""
    add_chunks(target, [*make_texts(20), "POISON", " \n", "words " * 3000])
    config = configure(tmp_path / "openai.toml", target, service, input_tokens=2000)
    for _ in range(2):
        told = call("embed", "-c", config)
        assert told.code == 0
        assert "1 chunks have no embedding" in told.out
        assert sorted(findings(target)) == [("embedding_failed", 1), ("text_empty", 1), ("text_split", 1)]
    assert ask(target, "SELECT count(*) FROM document_chunks WHERE embedding IS NULL") == [(2,)]
    assert not ask(target, "SELECT FROM migrator.findings WHERE detail ILIKE '%poison%'")


def test_models_do_not_mix(target: str, tmp_path: Path, service: Running) -> None:
    """Vectors of two models cannot be compared: a second model is refused with a hint."""
    add_chunks(target, make_texts(5))
    assert call("embed", "-c", configure(tmp_path / "one.toml", target, service)).code == 0
    add_more = "UPDATE document_chunks SET embedding = NULL WHERE content LIKE 'Chunk 3:%'"
    with psycopg.connect(target) as connection:
        connection.execute(add_more)
    told = call("embed", "-c", configure(tmp_path / "other.toml", target, service, model="another"))
    assert told.code == 2
    assert "cannot be compared" in told.err
    assert "text-embedding-3-small" in told.err
    with psycopg.connect(target) as connection:
        connection.execute("UPDATE document_chunks SET embedding = NULL")
    assert call("embed", "-c", configure(tmp_path / "other.toml", target, service, model="another")).code == 0


def test_rows_of_others_are_left_alone(target: str, tmp_path: Path, service: Running) -> None:
    """A row that is not in the ledger gets no embedding, because revert could not remove it."""
    add_chunks(target, make_texts(3))
    with psycopg.connect(target) as connection:
        connection.execute("DELETE FROM migrator.ledger WHERE collection = 'document_chunks'")
    assert call("embed", "-c", configure(tmp_path / "openai.toml", target, service), "--json").json["chunks"] == 0
    assert not service.stats()["paid"]


def test_service_that_goes_away(target: str, tmp_path: Path, service: Running) -> None:
    """Access is denied during the work: exit code 7, and all billed vectors are kept."""
    add_chunks(target, make_texts(60))
    config = configure(tmp_path / "openai.toml", target, service, batch=2, api_key="right", concurrency=2)
    service.behave(key="right", latency=0.02)
    assert call("embed", "-c", config).code == 0
    with psycopg.connect(target) as connection:
        connection.execute("UPDATE document_chunks SET embedding = NULL")
        connection.execute(
            "DELETE FROM migrator.embeddings WHERE ctid IN (SELECT ctid FROM migrator.embeddings LIMIT 30)"
        )
    service.behave(key="other")
    told = call("embed", "-c", config)
    assert told.code == 7
    assert "api_key" in told.err
    assert "right" not in told.told.replace("access right", "")
    assert ask(target, "SELECT count(*) FROM document_chunks WHERE embedding IS NOT NULL") == [(30,)]


def test_vectors_find_themselves_through_the_index(target: str, tmp_path: Path, service: Running) -> None:
    """An index that was built over an empty column is rebuilt after the vectors are stored."""
    add_chunks(target, make_texts(300))
    before = ask(target, "SELECT pg_relation_filenode('document_chunks_embedding_idx')")
    assert call("embed", "-c", configure(tmp_path / "openai.toml", target, service)).code == 0
    assert ask(target, "SELECT pg_relation_filenode('document_chunks_embedding_idx')") != before
    assert not ask(target, "SELECT FROM pg_index WHERE NOT indisvalid")


def test_revert_takes_the_cache_with_it(database: str, tmp_path: Path, service: Running) -> None:
    """Revert removes the vectors and their cache."""
    before = dump_database(database)
    migrate(tmp_path, database)
    add_chunks(database, make_texts(5))
    config = configure(tmp_path / "openai.toml", database, service)
    assert call("embed", "-c", config).code == 0
    assert call("revert", "-c", config, "--yes", "--force").code == 0
    assert dump_database(database) == before


def test_text_as_a_vector(target: str, tmp_path: Path, service: Running) -> None:
    """`embed --text` returns the vector of a text, padded to the dimensions of the column."""
    add_chunks(target, make_texts(3))
    config = configure(tmp_path / "local.toml", target, provider="local")
    assert call("embed", "-c", config).code == 0
    vector = call("embed", "-c", config, "--text", make_texts(3)[1]).out.strip()
    with psycopg.connect(target) as connection:
        nearest = "SELECT content FROM document_chunks ORDER BY embedding <=> %s::vector LIMIT 1"
        assert connection.execute(nearest, (vector,)).fetchone() == (make_texts(3)[1],)


def test_before_a_run(database: str, tmp_path: Path) -> None:
    """`embed` requires a finished migration."""
    told = call("embed", "-c", configure(tmp_path / "none.toml", database))
    assert told.code == 2


@pytest.mark.parametrize("poison", ["400", pytest.param("403", marks=pytest.mark.long), "empty"])
def test_poisoned_text_does_not_stop_a_run(target: str, tmp_path: Path, service: Running, poison: str) -> None:
    """The text gets a finding, every other chunk its vector, and the run builds the vector index."""
    add_chunks(target, [*make_texts(20), "POISON"])
    unfinish(target)
    service.behave(poison=poison, body="html")
    told = call("run", "-c", configure(tmp_path / "openai.toml", target, service))
    assert told.code == 0, told.told
    assert findings(target) == [("embedding_failed", 1)]
    assert ask(target, "SELECT content FROM document_chunks WHERE embedding IS NULL") == [("POISON",)]
    assert ask(target, "SELECT count(*) FROM pg_class WHERE relname = 'document_chunks_embedding_idx'") == [(1,)]
    assert ask(target, "SELECT status FROM migrator.runs") == [("done",)]
