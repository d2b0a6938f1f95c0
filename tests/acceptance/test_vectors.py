"""Vectors that chunks bring with them: plan, run, embed, verify, export and revert, for each kind of vector."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bson
import psycopg
import pytest
from bson import ObjectId

from migrator.documents.codec import decode
from migrator.documents.vectors import describe_form, read_vector, restore_form, to_binary
from migrator.embedding.provider import PROBE
from migrator.errors import StoppedError
from migrator.sources.auxiliary.base import Origin
from migrator.sources.auxiliary.langchain_store import LangchainStore
from migrator.stages import embed
from tests.acceptance.test_interruptions import finish, interrupt
from tests.archive_writer import write_folder
from tests.chunks import ask, count_wrong, digest
from tests.driving import Answer, call, digest_database, dump_database, hurried
from tests.embedding_server import Running, serving, vector_of
from tests.killing import COMMITS
from tests.scenarios import write_config

pytestmark = pytest.mark.usefixtures("quick")

FILE = "f0000000-0000-4000-8000-000000000001"
DIMENSIONS = 8
MODEL = "text-embedding-3-small"
STORE = """
    CREATE EXTENSION IF NOT EXISTS vector;
    CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, cmetadata json);
    CREATE TABLE langchain_pg_embedding (id varchar PRIMARY KEY, collection_id uuid, embedding {kind},
      document varchar, cmetadata jsonb)
"""


@pytest.fixture
def service(server_url: str) -> Iterator[Running]:
    with serving() as running, hurried(server_url):
        running.behave(dimensions=DIMENSIONS)
        yield running


@dataclass(frozen=True, slots=True)
class Chunks:
    """A source with one file, and chunks with vectors as JSON Lines or in a database."""

    folder: Path
    target: str
    service: Running

    def write_lines(self, vectors: dict[str, str | None]) -> str:
        """Write chunks with their vectors as JSON (None: no field), by text; return the URL."""
        lines = [
            json.dumps({"_id": f"c{n:05}", "file_id": FILE, "content": text})[:-1]
            + ("}" if vector is None else f', "embedding": {vector}}}')
            for n, (text, vector) in enumerate(vectors.items())
        ]
        (self.folder / "chunks.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return f"jsonl:{self.folder / 'chunks.jsonl'}"

    def configure(self, url: str, *, name: str = "migrate.toml", **settings: Any) -> Path:
        """Write a migrate.toml that reuses vectors. `settings`: of [chunks] and [embedding], by section."""
        user, file = ObjectId("64a000000000000000000101"), ObjectId("64a000000000000000000501")
        documents: dict[str, list[dict[str, Any]]] = {
            "users": [{"_id": user, "email": "u@example.com"}],
            "files": [
                {"_id": file, "file_id": FILE, "user": user, "filename": "f.txt", "filepath": "/f",
                 "type": "text/plain", "bytes": 1, "source": "local", "embedded": True}
            ],
        }  # fmt: skip
        if not (self.folder / "dump").exists():
            write_folder(self.folder / "dump", {n: [bson.encode(each) for each in d] for n, d in documents.items()})
        embedding = {"provider": "openai", "base_url": self.service.url, "dimensions": DIMENSIONS}
        sections = {
            "chunks": {"url": url, "vectors": "reuse", "model": MODEL, **settings.get("chunks", {})},
            "embedding": {**embedding, **settings.get("embedding", {})},
            "engine": settings.get("engine", {}),
        }
        return write_config(self.folder / name, f"dump:{self.folder / 'dump'}", self.target, sections)


@pytest.fixture
def chunks(tmp_path: Path, database: str, service: Running) -> Chunks:
    return Chunks(tmp_path, database, service)


def vector_as_list(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    return list(memoryview(vector_of(text, dimensions)).cast("f"))


def as_json(text: str) -> str:
    return json.dumps(vector_as_list(text))


def texts(count: int) -> list[str]:
    return [f"Text {number}" for number in range(count)]


def paid(chunks: Chunks) -> dict[str, int]:
    """Return how often the service has sent the vector of each text, without the request that checks it."""
    return {text: count for text, count in chunks.service.stats()["paid"].items() if text != digest(PROBE)}


def succeed(*arguments: object) -> Answer:
    answer = call(*arguments)
    assert answer.code == 0, answer.told
    return answer


def failed_checks(config: Path, level: str) -> dict[str, dict[str, Any]]:
    told = call("verify", "-c", config, "--json", "--level", level).json
    return {check["check"]: check for check in told["checks"] if not check["ok"]}


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def fill_store(url: str, kind: str, found: Sequence[str], missing: Sequence[str] = ()) -> None:
    """Create the store of the RAG API with texts that have a vector in a column of type `kind`, and others."""
    execute(url, *STORE.format(kind=kind).split(";"))
    cast = {"text": "%s", "jsonb": "%s::jsonb"}.get(kind, f"%s::vector::{'' if kind == 'vector' else 'real[]::'}{kind}")
    insert = (
        f"INSERT INTO langchain_pg_embedding VALUES (%s, NULL, {cast}, %s,"  # noqa: S608
        f" jsonb_build_object('file_id', '{FILE}', 'chunk_index', %s::int))"
    )
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        rows: list[tuple[Any, ...]] = [(f"c{n:05}", as_json(text), text, n) for n, text in enumerate(found)]
        rows += [(f"d{n:05}", None, text, 10_000 + n) for n, text in enumerate(missing)]
        cursor.executemany(insert.encode(), rows)


# --- the whole life -----------------------------------------------------------------------------------------------


def check_life(chunks: Chunks, url: str, found: Sequence[str], missing: Sequence[str]) -> Path:
    """Plan, run, verify and revert a source in which `found` have a vector; return the folder of an export."""
    config = chunks.configure(url)
    before = dump_database(chunks.target)
    estimate = succeed("plan", "-c", config, "--json").json["estimate"]["embedding"]
    assert {name: estimate[name] for name in ("chunks", "reused", "not_used", "unusable")} == {
        "chunks": len(missing), "reused": len(found), "not_used": 0, "unusable": 0,
    }  # fmt: skip
    assert dump_database(chunks.target) == before
    report = succeed("run", "-c", config, "--json").json
    assert {name: report["embedding"][name] for name in ("model", "dimensions", "missing", "reused")} == {
        "model": MODEL, "dimensions": DIMENSIONS, "missing": 0, "reused": len(found),
    }  # fmt: skip
    assert paid(chunks) == {digest(text): 1 for text in missing}
    assert count_wrong(chunks.target, DIMENSIONS) == 0
    assert not failed_checks(config, "roundtrip")
    succeed("export", chunks.folder / "export", "-c", config)
    succeed("revert", "-c", config, "--yes")
    assert dump_database(chunks.target) == before
    return chunks.folder / "export"


LONG_KINDS = [
    pytest.param(kind, marks=pytest.mark.long) for kind in ("halfvec", "real[]", "double precision[]", "text")
]


@pytest.mark.parametrize("kind", ["vector", "jsonb", *LONG_KINDS])
def test_store(chunks: Chunks, new_database: Callable[[], str], kind: str) -> None:
    """Vectors of the store are loaded, whatever the type of the column; only missing ones are computed."""
    store = new_database()
    # halfvec holds numbers of 11 bits: those of these texts need more, so equal vectors are computed from the store.
    fill_store(store, kind, texts(5), ["no vector", "neither"])
    if kind != "halfvec":
        check_life(chunks, store, texts(5), ["no vector", "neither"])
        return
    config = chunks.configure(store)
    answer = succeed("plan", "-c", config)
    assert "halfvec" in answer.out
    assert "5 reused" in answer.out
    succeed("run", "-c", config)
    stored = ask(
        store, "SELECT document, embedding::real[]::text FROM langchain_pg_embedding WHERE id < 'd' ORDER BY 1"
    )
    width = f"(embedding::real[])[1:{DIMENSIONS}]::text"
    loaded = ask(chunks.target, f"SELECT content, {width} FROM document_chunks WHERE content LIKE 'Text%' ORDER BY 1")  # noqa: S608
    assert loaded == stored
    assert not failed_checks(config, "roundtrip")


def test_lines(chunks: Chunks) -> None:
    """The same from JSON Lines; the export is a source from which a run gives the same rows."""
    found = {text: as_json(text) for text in texts(5)} | {"as text": json.dumps(as_json("as text"))}
    url = chunks.write_lines({**found, "missing": None, "null": "null"})
    exported = check_life(chunks, url, list(found), ["missing", "null"])
    again = chunks.configure(f"jsonl:{exported / 'document_chunks.jsonl'}")
    assert succeed("run", "-c", again, "--json").json["embedding"]["reused"] == len(found)
    assert count_wrong(chunks.target, DIMENSIONS) == 0


def test_without_provider(chunks: Chunks) -> None:
    """Without a provider, vectors are loaded all the same, and `embed` computes the missing ones later."""
    url = chunks.write_lines({**{text: as_json(text) for text in texts(3)}, "missing": None})
    none = chunks.configure(url, embedding={"provider": "none"})
    report = succeed("run", "-c", none, "--json").json["embedding"]
    assert (report["reused"], report["missing"]) == (3, 1)
    assert not failed_checks(none, "rows")
    config = chunks.configure(url)
    assert succeed("embed", "-c", config, "--json").json["filled"] == 1
    assert paid(chunks) == {digest("missing"): 1}
    assert not failed_checks(config, "roundtrip")


def test_other_model_later(chunks: Chunks) -> None:
    """`embed` does not mix vectors of another model with those of the source; neither does a resumed run."""
    url = chunks.write_lines({"one": as_json("one"), "missing": None})
    succeed("run", "-c", chunks.configure(url, embedding={"provider": "none"}))
    answer = call("embed", "-c", chunks.configure(url, embedding={"model": "another"}))
    assert answer.code == 2
    assert "cannot be compared" in answer.err
    answer = call("run", "-c", chunks.configure(url, chunks={"model": "another"}, embedding={"model": "another"}))
    assert answer.code == 2
    assert "configuration (chunks.model, embedding.model)" in answer.err


def test_reembed(chunks: Chunks, new_database: Callable[[], str]) -> None:
    """By default all vectors are computed again; the plan and the findings say how many of the source are not used."""
    store = new_database()
    fill_store(store, "vector", texts(3), ["no vector"])
    config = chunks.configure(store, chunks={"vectors": "reembed"})
    answer = succeed("plan", "-c", config)
    assert 'Vectors of the source: 3 not used (vectors = "reembed")' in answer.out
    assert "To embed: 4 chunks" in answer.out
    report = succeed("run", "-c", config, "--json").json
    assert report["findings"]["vector_not_used"] == 3
    assert set(paid(chunks)) == set(map(digest, [*texts(3), "no vector"]))
    assert not failed_checks(config, "roundtrip")


# --- vectors that cannot be used ----------------------------------------------------------------------------------


KINDS = {  # a vector as JSON, the finding
    "missing": (None, None),
    "null": ("null", None),
    "list": (json.dumps(vector_as_list("list")), "vector_reused"),
    "text": (json.dumps(as_json("text")), "vector_reused"),
    "short": ("[0.5, 1.0]", "vector_dimensions"),
    "long": (json.dumps([0.5] * (DIMENSIONS + 1)), "vector_dimensions"),
    "of the column": (json.dumps([0.5] * 1536), "vector_dimensions"),
    "nan": (json.dumps([float("nan")] * DIMENSIONS), "vector_unusable"),
    "infinity": (json.dumps([float("inf")] + [0.5] * (DIMENSIONS - 1)), "vector_unusable"),
    "empty": ("[]", "vector_unusable"),
    "zero": (json.dumps([0.0] * DIMENSIONS), "vector_unusable"),
    "word": ('"vector"', "vector_unusable"),
    "object": ('{"0": 0.5}', "vector_unusable"),
    "nested": (json.dumps([[0.5] * DIMENSIONS]), "vector_unusable"),
    "strings": (json.dumps(["0.5"] * DIMENSIONS), "vector_unusable"),
}


def test_kinds(chunks: Chunks) -> None:
    """Each vector that cannot be used has its finding and is computed; every document is restored."""
    url = chunks.write_lines({name: vector for name, (vector, _) in KINDS.items()} | dict.fromkeys(["x"], as_json("x")))
    config = chunks.configure(url)
    planned = succeed("plan", "-c", config, "--json").json
    report = succeed("run", "-c", config, "--json").json
    assert report["embedding"]["unusable"] == planned["estimate"]["embedding"]["unusable"] == 11
    found = dict(
        ask(
            chunks.target,
            "SELECT c.content, f.code FROM document_chunks c JOIN migrator.ledger l ON l.target_id = c.id::text"
            " LEFT JOIN migrator.findings f USING (collection, source_id) WHERE c.content <> 'x'",
        )
    )
    assert found == {name: code for name, (_, code) in KINDS.items()}
    assert set(paid(chunks)) == {digest(name) for name, (_, code) in KINDS.items() if code != "vector_reused"}
    assert count_wrong(chunks.target, DIMENSIONS) == 0
    assert not failed_checks(config, "roundtrip")
    details = ask(chunks.target, "SELECT DISTINCT detail FROM migrator.findings WHERE code = 'vector_unusable'")
    assert ("embedding: the vector contains NaN or infinity",) in details


@pytest.mark.parametrize(
    ("settings", "vectors", "words"),
    [
        ({"chunks": {"model": "another"}}, {"a": as_json("a")}, "vectors of two models cannot be compared"),
        (
            {"embedding": {"provider": "local"}},
            {"a": as_json("a")},
            "the model of [embedding] is wordllama/l2_supercat",
        ),
        ({}, {"a": "[1.0, 2.0]", "b": "[1.0, 2.0]", "c": as_json("c")}, "have 2 dimensions, but embedding.dimensions"),
        ({}, {"a": '"none"', "b": "[true]"}, "none of the first 2 vectors of the source is readable"),
        # The first 100 vectors are right, most of the others are not: only the complete rehearsal finds that.
        (
            {},
            {text: as_json(text) if n < 100 else "[1.0]" for n, text in enumerate(texts(201))},
            "101 of 201 vectors of the source have other dimensions",
        ),
    ],
)
def test_blockers(chunks: Chunks, settings: dict[str, Any], vectors: dict[str, str | None], words: str) -> None:
    """Another model, or other dimensions of most vectors: `plan` and `check` block, `run` refuses before it writes."""
    config = chunks.configure(chunks.write_lines(vectors), **settings)
    before = dump_database(chunks.target)
    commands = ("plan",) if len(vectors) > 100 else ("check", "plan", "run")
    for command in commands:
        answer = call(command, "-c", config)
        assert (answer.code, words in answer.told) == (3, True), answer.told
        assert "reembed" in answer.told
    assert dump_database(chunks.target) == before
    assert not paid(chunks)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"model": ""}, "chunks.model"),
        ({"vectors": "keep"}, "chunks.vectors"),
        ({"url": "files:."}, "requires a url of stored vectors"),
    ],
)
def test_wrong_settings(chunks: Chunks, section: dict[str, str], words: str) -> None:
    """Settings that contradict each other are refused with their names."""
    answer = call("plan", "-c", chunks.configure("jsonl:chunks.jsonl", chunks=section))
    assert (answer.code, words in answer.err) == (2, True), answer.told


def test_model_is_required(chunks: Chunks) -> None:
    """The model of the vectors is never assumed."""
    config = chunks.configure("jsonl:chunks.jsonl")
    config.write_text(config.read_text().replace(f'model = "{MODEL}"', ""))
    answer = call("plan", "-c", config)
    assert (answer.code, "requires the key `model`" in answer.err) == (2, True), answer.told


# --- verification -------------------------------------------------------------------------------------------------


def test_corruption_is_found(chunks: Chunks) -> None:
    """A reused vector that was changed or removed in the target differs from the source; the others do not."""
    url = chunks.write_lines({text: as_json(text) for text in texts(4)} | {"missing": None})
    config = chunks.configure(url)
    succeed("run", "-c", config)
    execute(
        chunks.target,
        "UPDATE document_chunks SET embedding = (SELECT embedding FROM document_chunks WHERE content = 'missing')"
        " WHERE content = 'Text 1'",
    )
    failed = failed_checks(config, "rows")
    assert failed.keys() == {"vectors: source"}
    assert failed["vectors: source"]["differences"] == 1
    assert "likely cause: the target changed" in str(failed["vectors: source"])
    assert failed_checks(config, "roundtrip").keys() == {"vectors: source", "round trip"}
    execute(chunks.target, "UPDATE document_chunks SET embedding = NULL WHERE content = 'Text 2'")
    assert failed_checks(config, "rows")["vectors: source"]["differences"] == 2
    assert call("export", chunks.folder / "export", "-c", config).code == 4


def test_changed_source(chunks: Chunks, new_database: Callable[[], str]) -> None:
    """A vector that was changed in the store afterwards is a difference, and prevents a resumed run."""
    store = new_database()
    fill_store(store, "vector", texts(3))
    config = chunks.configure(store)
    succeed("run", "-c", config)
    execute(
        store, "UPDATE langchain_pg_embedding SET embedding = (embedding::real[] || 1::real)[2:] WHERE id = 'c00001'"
    )
    assert "vectors: source" in failed_checks(config, "rows")
    answer = call("run", "-c", config)
    assert (answer.code, "changed since the migration in this target began: chunks" in answer.err) == (2, True)


# --- interruptions and retries ------------------------------------------------------------------------------------


def test_killed_run_resumes(chunks: Chunks, new_database: Callable[[], str]) -> None:
    """A run that is killed in the load and stopped before the embedding has the result of an uninterrupted run."""
    found = texts(60)
    url = chunks.write_lines({text: as_json(text) if n % 5 else None for n, text in enumerate(found)})
    engine = {"batch_rows": 4}
    config = chunks.configure(url, engine=engine)
    succeed("run", "-c", config)
    digests = digest_database(chunks.target)
    other = Chunks(chunks.folder, new_database(), chunks.service)
    config = other.configure(url, engine=engine, name="other.toml")
    assert interrupt(config, other.target, signal.SIGKILL, 8, COMMITS) in (0, -signal.SIGKILL)
    with patch.object(embed, "open_provider", side_effect=StoppedError("interrupted")):
        assert call("run", "-c", config).code in (0, 5)
    assert finish(config).code == 0
    assert digest_database(other.target) == digests
    assert paid(chunks) == {digest(text): 2 for text in found[::5]}  # once for each of the two targets
    assert not failed_checks(config, "roundtrip")


def test_retry_keeps_vectors(chunks: Chunks) -> None:
    """A retry loads rejected chunks with their vectors, and leaves those of all other rows."""
    url = chunks.write_lines({text: as_json(text) for text in texts(3)} | {"missing": None})
    path = chunks.folder / "chunks.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace('"content"', '"other"'), lines[3]]))
    config = chunks.configure(url)
    assert succeed("run", "-c", config, "--json").json["rejects"] == {"missing_required": 1}
    path.write_text("\n".join(lines))
    retried = succeed("rejects", "retry", "-c", config, "--json").json
    assert (retried["loaded"], retried["embedding"]["reused"]) == (1, 3)
    assert count_wrong(chunks.target, DIMENSIONS) == 0
    assert paid(chunks) == {digest("missing"): 1}
    assert not failed_checks(config, "roundtrip")


@pytest.mark.long
def test_many_vectors(chunks: Chunks, new_database: Callable[[], str]) -> None:
    """20,000 vectors of 1,536 dimensions: nothing is computed, and every one equals that of the store."""
    store = new_database()
    chunks.service.behave(dimensions=1536)
    execute(store, *STORE.format(kind="vector").split(";"))
    with psycopg.connect(store) as connection:
        connection.execute(
            "INSERT INTO langchain_pg_embedding SELECT 'c' || n, NULL, (SELECT array_agg(random() - 0.5 + 0 * m * n)"
            " FROM generate_series(1, 1536) m)::real[]::vector, 'text ' || n, jsonb_build_object('file_id', %s::text,"
            " 'chunk_index', n) FROM generate_series(1, 20000) n",
            (FILE,),
        )
    config = chunks.configure(store, embedding={"dimensions": 1536})
    report = succeed("run", "-c", config, "--json").json
    assert (report["embedding"]["reused"], report["embedding"]["missing"]) == (20_000, 0)
    assert not paid(chunks)
    assert not failed_checks(config, "roundtrip")


def test_text_form_of_pgvector(database: str) -> None:
    """The shortest decimals are those that pgvector writes, so that its text is restored without a residue."""
    execute(database, *STORE.format(kind="vector").split(";"))
    insert = "INSERT INTO langchain_pg_embedding VALUES (%s, NULL, %s, 'x', '{}')"
    numbers = [1e-30, 1.17549435e-38, 1.1e-5, 0.0001, 0.1, 0.3, 1 / 3, -2.5, 123456.0, 99999.99, 16777216.0 / 3e3, -0.0]
    with psycopg.connect(database) as connection:
        connection.execute(insert, ("a", str(numbers)))
    (found,) = (
        LangchainStore(Origin("document_chunks", "chunks"), database, None, with_vectors=True).sample_vectors(9).values
    )
    ((text,),) = ask(database, "SELECT embedding::text FROM langchain_pg_embedding")
    vector = read_vector(found)
    assert vector == read_vector(text)
    assert vector is not None
    stored = to_binary(vector, 1536)
    form = describe_form(text, stored)
    assert form == {"form": "text", "dimensions": len(numbers)}, text
    assert restore_form(form, stored) == text
    assert decode(bson.encode({"v": found}))["v"] == found
