"""Recordings and chunks out of live PostgreSQL databases, as a user who may read and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from bson import Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS
from psycopg import sql

from migrator.documents.codec import Document, decode, encode
from migrator.errors import SourceError, UsageError
from migrator.sources.auxiliary.base import Origin
from migrator.sources.auxiliary.langchain_store import LangchainStore
from migrator.sources.auxiliary.postgres_table import PostgresTable
from tests.driving import call, digest_database
from tests.scenarios import FOLDER, read_scenario, write_config, write_dump

CHUNKS = Origin("document_chunks", "chunks")
RECORDINGS = Origin("recordings", "recordings")

SUPABASE = """
    CREATE TABLE recordings (
      id uuid PRIMARY KEY, stream_call_id text, stream_recording_url text, do_spaces_url text, do_spaces_key text,
      duration integer, participants jsonb, transcript_text text, transcript_url text, thumbnail_url text,
      posted_to_academy boolean, academy_module_id text, created_at timestamp, updated_at timestamp
    )
"""


@pytest.fixture
def reader(database: str) -> Iterator[str]:
    """The URL of a role that may read what is in the database's public schema when it is asked for."""
    name, password = f"reader_{uuid.uuid4().hex}", "s3cret-of-the-reader"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
        )
        grant = "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {}"
        connection.execute(sql.SQL(grant).format(sql.Identifier(name)))
    parts = urlsplit(database)
    yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def read(beside: PostgresTable | LangchainStore, skip: int = 0) -> list[Document]:
    return [decode(each) for each in beside.read(skip)]


# --- recordings -----------------------------------------------------------------------------------------------------


def test_a_table_gives_what_its_export_gives(
    database: str, reader: str, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """The rows of a live table, read by somebody who may only read, merge as those of its CSV export."""
    scenario = read_scenario("recordings-several")
    execute(database, SUPABASE, "ALTER TABLE recordings ALTER created_at TYPE timestamptz")
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        file = (FOLDER / scenario.name / "recordings.csv").read_text(encoding="utf-8")
        names = sql.SQL(", ").join(map(sql.Identifier, file.splitlines()[0].split(",")))
        with cursor.copy(sql.SQL("COPY recordings ({}) FROM STDIN (FORMAT csv, HEADER)").format(names)) as copy:
            copy.write(file)
    dump, digests = write_dump(scenario, tmp_path / "dump"), []
    for url in (scenario.settings["recordings"]["url"], reader):
        target = new_database()
        config = write_config(tmp_path / "migrate.toml", f"dump:{dump}", target, {"recordings": {"url": url}})
        assert call("run", "-c", config, "--json").code == 0
        answer = call("verify", "-c", config, "--level", "roundtrip", "--json")
        assert answer.code == 0, answer.told
        assert "s3cret" not in answer.told
        digests.append({name: d for name, d in digest_database(target).items() if name.count(".") == 0})
    assert digests[0] == digests[1]


def test_values_of_a_table(database: str, reader: str) -> None:
    """What BSON has a type for comes as that, exactly; everything else as PostgreSQL's text of it."""
    execute(
        database,
        "CREATE SCHEMA other",
        "CREATE DOMAIN seconds AS integer",
        """CREATE TABLE other.takes ("key" int8 PRIMARY KEY, i int8, n numeric, f float8, b boolean, j jsonb, k json,
           t timestamptz, u timestamp, day date, tags text[], raw bytea, gone text, d seconds)""",
        """INSERT INTO other.takes VALUES
           (2, 9223372036854775807, 1.10, 0.1, false, '{"a": [1, 2.5, null]}', '{"a": 1, "a": 2}',
            '2024-05-01 12:00:00.123+02', '2024-05-01 10:00:00.123456', '2024-05-01', '{a,"b c"}', '\\x00ff', NULL, 7),
           (1, 0, 'NaN', 'Infinity', NULL, 'null', NULL, 'infinity', '0044-03-15 00:00:00 BC', NULL, NULL, NULL, '',
            NULL)
        """,
        f"GRANT USAGE ON SCHEMA other TO {urlsplit(reader).username}",
        f"GRANT SELECT ON other.takes TO {urlsplit(reader).username}",
    )
    first, second = read(PostgresTable(RECORDINGS, reader, "other.takes", {"id": "key"}))
    assert list(first) == ["_id", "i", "n", "f", "b", "j", "k", "t", "u", "day", "tags", "raw", "gone", "d"]
    assert first == {
        "_id": 1, "i": 0, "n": first["n"], "f": float("inf"), "b": None, "j": "null", "k": None, "t": "infinity",
        "u": "0044-03-15 00:00:00 BC", "day": None, "tags": None, "raw": None, "gone": "", "d": None,
    }  # fmt: skip
    assert (str(first["n"]), str(second["n"])) == ("NaN", "1.10")
    assert second["t"].as_datetime().isoformat() == "2024-05-01T10:00:00.123000"
    assert {name: second[name] for name in ("i", "f", "b", "j", "k", "u", "day", "tags", "raw", "gone", "d")} == {
        "i": 2**63 - 1, "f": 0.1, "b": False, "j": {"a": [1, 2.5, None]}, "k": '{"a": 1, "a": 2}',
        "u": "2024-05-01 10:00:00.123456", "day": "2024-05-01", "tags": '{a,"b c"}', "raw": "\\x00ff", "gone": None,
        "d": 7,
    }  # fmt: skip
    assert read(PostgresTable(RECORDINGS, reader, "other.takes", {"id": "key"}), 1) == [second]


def test_nothing_can_be_written(database: str) -> None:
    """Even as a superuser, the transaction is one that cannot write."""
    execute(database, SUPABASE)
    with PostgresTable(RECORDINGS, database, "recordings", {})._reader.transaction() as connection:
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("on",)
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("repeatable read",)


def test_a_fingerprint_is_of_the_rows(database: str) -> None:
    """It changes with any value, and not with the order in which rows lie."""
    fill = "INSERT INTO recordings (id, duration) SELECT gen_random_uuid(), n FROM generate_series(1, 9) n"
    execute(database, SUPABASE, fill)
    table = PostgresTable(RECORDINGS, database, "recordings", {})
    before = table.fingerprint()
    execute(database, "CREATE TABLE again AS SELECT * FROM recordings ORDER BY duration DESC")
    assert PostgresTable(RECORDINGS, database, "again", {}).fingerprint() == before
    execute(database, "UPDATE recordings SET duration = NULL WHERE duration = 9")
    assert table.fingerprint() != before


# --- chunks ---------------------------------------------------------------------------------------------------------

OLD = """
    CREATE TABLE langchain_pg_collection (name varchar, cmetadata json, uuid uuid PRIMARY KEY);
    CREATE TABLE langchain_pg_embedding (collection_id uuid REFERENCES langchain_pg_collection, embedding text,
      document varchar, cmetadata json, custom_id varchar, uuid uuid PRIMARY KEY)
"""
NEW = """
    CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, cmetadata json);
    CREATE TABLE langchain_pg_embedding (id varchar PRIMARY KEY, collection_id uuid REFERENCES langchain_pg_collection,
      embedding text, document varchar, cmetadata jsonb)
"""
FIRST, SECOND = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
COLLECTIONS = """
    INSERT INTO langchain_pg_collection (uuid, name) VALUES
      ('00000000-0000-4000-8000-00000000000a', 'testcollection'), ('00000000-0000-4000-8000-00000000000b', 'x')
"""


def old_row(number: int, text: str, metadata: str, custom_id: str | None = "f1", collection: str = FIRST) -> str:
    name = "NULL" if custom_id is None else f"'{custom_id}'"
    values = f"('{number:08d}-0000-4000-8000-000000000000', '{collection}', '[0]', '{text}', '{metadata}', {name})"
    columns = "(uuid, collection_id, embedding, document, cmetadata, custom_id)"
    return f"INSERT INTO langchain_pg_embedding {columns} VALUES {values}"  # noqa: S608


def contents(found: list[Document]) -> list[tuple[Any, int, str]]:
    return [(each["file_id"], each["position"], each["content"]) for each in found]


def test_the_older_store(database: str, reader: str) -> None:
    """LibreChat's own: custom_id is the file's id; the order is by page, then as written, whatever the random uuid."""
    execute(
        database, *OLD.split(";"), COLLECTIONS,
        old_row(9, "p0 first", '{"page": 0, "file_id": "f1", "user_id": "u", "digest": "d"}'),
        old_row(1, "p0 second", '{"page": 0, "file_id": "f1"}'),
        old_row(5, "p10", '{"page": 10, "file_id": "f1"}'),
        old_row(7, "p2", '{"page": 2, "file_id": "f1"}'),
        old_row(3, "other, by custom_id", "{}", "f2", SECOND),
        old_row(4, "metadata goes before", '{"file_id": "f3"}', "f2"),
        old_row(6, "by start", '{"start_index": 90}', "f4"),
        old_row(8, "by start, before", '{"start_index": 7}', "f4"),
        old_row(2, "nobody", "[1]", None),
    )  # fmt: skip
    found = read(LangchainStore(CHUNKS, reader, None))
    assert contents(found) == [
        ("f1", 0, "p0 first"), ("f1", 1, "p0 second"), ("f1", 2, "p2"), ("f1", 3, "p10"),
        ("f2", 0, "other, by custom_id"), ("f3", 0, "metadata goes before"),
        ("f4", 0, "by start, before"), ("f4", 1, "by start"), (None, 0, "nobody"),
    ]  # fmt: skip
    assert found[0] == {
        "_id": "00000009-0000-4000-8000-000000000000", "file_id": "f1", "position": 0, "content": "p0 first",
        "metadata": {"page": 0, "file_id": "f1", "user_id": "u", "digest": "d"}, "collection": "testcollection",
        "collection_id": FIRST, "custom_id": "f1", "vector_omitted": True,
    }  # fmt: skip
    assert read(LangchainStore(CHUNKS, reader, None), 7) == found[7:]
    assert contents(read(LangchainStore(CHUNKS, reader, "x"))) == [("f2", 0, "other, by custom_id")]
    with pytest.raises(UsageError, match="no collection nowhere; collections found: testcollection, x") as caught:
        LangchainStore(CHUNKS, reader, "nowhere").fingerprint()
    assert "chunks" in caught.value.hint


def test_the_newer_store(database: str, reader: str) -> None:
    """langchain-postgres: a text id, jsonb, no custom_id; and a column of its own that follows from the text."""
    execute(
        database, *NEW.split(";"), COLLECTIONS,
        "ALTER TABLE langchain_pg_embedding ADD document_vector tsvector"
        " GENERATED ALWAYS AS (to_tsvector('english', document)) STORED",
        *(
            f"INSERT INTO langchain_pg_embedding VALUES ('{name}', '{FIRST}', NULL, '{text}', '{metadata}')"  # noqa: S608
            for name, text, metadata in [
                ("b", "second", '{"file_id": "f1", "chunk_index": 1}'),
                ("a", "first", '{"file_id": "f1", "chunk_index": 0}'),
                ("c", "page is no number", '{"file_id": "f2", "page": "iv"}'),
            ]
        ),
    )  # fmt: skip
    store = LangchainStore(CHUNKS, reader, "testcollection")
    found = read(store)
    assert contents(found) == [("f1", 0, "first"), ("f1", 1, "second"), ("f2", 0, "page is no number")]
    assert found[0] == {
        "_id": "a", "file_id": "f1", "position": 0, "content": "first",
        "metadata": {"file_id": "f1", "chunk_index": 0}, "collection": "testcollection", "collection_id": FIRST,
    }  # fmt: skip
    execute(database, "UPDATE langchain_pg_embedding SET embedding = '[1]'")
    with_vectors = LangchainStore(CHUNKS, reader, "testcollection", with_vectors=True)
    before, before_with_vectors = store.fingerprint(), with_vectors.fingerprint()
    execute(database, "UPDATE langchain_pg_embedding SET embedding = '[2]'")
    assert store.fingerprint() == before
    assert with_vectors.fingerprint() != before_with_vectors
    assert read(with_vectors)[0] == {**found[0], "embedding": "[2]"}
    execute(database, "UPDATE langchain_pg_embedding SET document = 'other' WHERE id = 'c'")
    assert store.fingerprint() != before


def test_a_view_of_a_store(database: str) -> None:
    """Where rows have no place in a table, the id decides."""
    execute(
        database,
        "CREATE VIEW langchain_pg_embedding AS SELECT * FROM (VALUES ('b', 'B', '{\"file_id\": \"f\"}'::jsonb),"
        " ('a', 'A', '{\"file_id\": \"f\"}')) v (id, document, cmetadata)",
    )
    assert contents(read(LangchainStore(CHUNKS, database, None))) == [("f", 0, "A"), ("f", 1, "B")]


ESCAPED = [  # cmetadata as text, metadata as read, whether the original text is preserved
    (r'{"file_id": "f1", "page": 0, "s": "a\u0000b"}', {"file_id": "f1", "page": 0, "s": "a\0b"}, False),
    (r'{"file_id": "f1", "page": 1, "s": "a\ud83db"}', {"file_id": "f1", "page": 1, "s": "a\ufffdb"}, True),
    (r'{"file_id": "f1", "page": 2, "s\u0000": "\ude00"}', {"file_id": "f1", "page": 2, "s": "\ufffd"}, True),
    (
        r'{"file_id": "f1", "page": 3, "s": "\\u0000 \\\u0000 \ud83d\ude00"}',
        {"file_id": "f1", "page": 3, "s": "\\u0000 \\\0 \U0001f600"},
        False,
    ),
    (
        '{"file_id": "f1", "page": 4, "n": [1e999, 123456789012345678901234567890]}',
        {"file_id": "f1", "page": 4, "n": [Decimal128("1E+999"), Decimal128("123456789012345678901234567890")]},
        False,
    ),
    ('{"file_id": "f1", "page": 5, "page": 6}', {"file_id": "f1", "page": 6}, True),
    (r'{"file_id": "f\ud83d\ude00", "s": "\u0000"}', {"file_id": "f\U0001f600", "s": "\0"}, False),
    (r'{"file_id": "f\\\ud83d\ude00\ud83d", "s": "x"}', {"file_id": "f\\\U0001f600\ufffd", "s": "x"}, True),
]


def test_metadata_that_the_operators_of_json_refuse(database: str, reader: str) -> None:
    """NUL, surrogates and large numbers in one row stop no other row and lose no metadata; the order stays."""
    rows = [old_row(number, f"text {number}", text.replace("'", "''")) for number, (text, _, _) in enumerate(ESCAPED)]
    execute(database, *OLD.split(";"), COLLECTIONS, *rows[::-1], old_row(99, "good", '{"file_id": "f1", "page": 9}'))
    found = {each["content"]: each for each in read(LangchainStore(CHUNKS, reader, None))}
    assert len(found) == len(ESCAPED) + 1
    for number, (text, metadata, is_changed) in enumerate(ESCAPED):
        chunk = found[f"text {number}"]
        assert chunk["metadata"] == metadata
        assert chunk.get("original_json") == (text if is_changed else None)
    assert [found[f"text {number}"]["position"] for number in range(6)] == [0, 1, 2, 3, 4, 5]
    assert found["good"]["position"] == 6
    assert [found[f"text {number}"]["file_id"] for number in (6, 7)] == ["f\U0001f600", "f\\\U0001f600"]


def test_chunks_with_unusual_metadata_are_migrated(
    database: str, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Every row is loaded or rejected for what it is, with findings; verify and export agree."""
    file_id = "11111111-1111-4111-8111-111111111111"
    user = ObjectId("63d9ab965a1e00ff80000001")
    documents: dict[str, list[Document]] = {
        "users": [{"_id": user, "email": "a@b.c"}],
        "files": [{"_id": ObjectId("63d9ab965a1e00ff80000002"), "file_id": file_id, "user": user, "filename": "a.txt",
                   "filepath": "/a", "type": "text/plain", "bytes": 1, "source": "local", "embedded": True}],
    }  # fmt: skip
    folder = tmp_path / "dump" / "academy"
    folder.mkdir(parents=True)
    for name, each in documents.items():
        (folder / f"{name}.bson").write_bytes(b"".join(map(encode, each)))
    metadata = [text.replace('"f1"', f'"{file_id}"').replace('"s"', '"section"') for text, _, _ in ESCAPED[:6]]
    rows = [old_row(number, f"text {number}", text, file_id) for number, text in enumerate(metadata)]
    execute(database, *OLD.split(";"), COLLECTIONS, *rows, old_row(99, "list", "[1]", file_id))
    lines = [
        *(f'{{"file_id": "{file_id}", "content": "x", "metadata": {text}}}' for text in metadata),
        f'{{"file_id": "{file_id}", "content": "a\\ud83db"}}',
        f'{{"file_id": "{file_id}", "content": "x", "position": 1e999}}',
        '{"a": ' + "[" * 90_000 + "]" * 90_000 + "}",
    ]  # fmt: skip
    (tmp_path / "chunks.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for url, expected in (
        (database, {"loaded": 7}),
        (f"jsonl:{tmp_path / 'chunks.jsonl'}", {"loaded": 6, "wrong_type": 2, "undecodable": 1}),
    ):
        target = new_database()
        config = write_config(tmp_path / "migrate.toml", f"dump:{folder.parent}", target, {"chunks": {"url": url}})
        answer = call("run", "-c", config, "--json")
        assert answer.code == 0, answer.told
        with psycopg.connect(target) as connection:
            outcomes = "SELECT reason, count(*) FROM migrator.rejects GROUP BY 1"
            loaded = "SELECT 'loaded', count(*) FROM document_chunks"
            found: dict[str, int] = dict(connection.execute(f"{outcomes} UNION ALL {loaded}".encode()).fetchall())
            codes: dict[str, int] = dict(
                connection.execute("SELECT code, count(*) FROM migrator.findings GROUP BY 1").fetchall()
            )
            pages = connection.execute("SELECT metadata ->> 'page' FROM document_chunks ORDER BY 1").fetchall()
        assert found == expected
        assert codes["nul_removed"] >= 2
        assert codes["json_replaced"] >= 3
        assert [page for (page,) in pages][:6] == ["0", "1", "2", "3", "4", "6"]
        answer = call("verify", "-c", config, "--level", "roundtrip", "--json")
        assert answer.code == 0, answer.told
        assert call("export", tmp_path / url[:5], "-c", config).code == 0


HIDING = [  # statements, the tables whose rows a policy may hide
    ("ALTER TABLE recordings ENABLE ROW LEVEL SECURITY", "recordings", "recordings"),
    (
        "ALTER TABLE recordings ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON recordings USING (duration > 5)",
        "recordings",
        "recordings",
    ),
    ("ALTER TABLE langchain_pg_embedding ENABLE ROW LEVEL SECURITY", "chunks", "langchain_pg_embedding"),
    ("ALTER TABLE langchain_pg_collection ENABLE ROW LEVEL SECURITY", "chunks", "langchain_pg_collection"),
    (
        "ALTER TABLE recordings RENAME TO r; ALTER TABLE r ENABLE ROW LEVEL SECURITY;"
        " CREATE VIEW recordings WITH (security_invoker = true) AS SELECT * FROM r",
        "recordings",
        '"r"',
    ),
]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("statements", "section", "table"), HIDING)
def test_hidden_rows_are_an_error(
    database: str,
    reader: str,
    new_database: Callable[[], str],
    tmp_path: Path,
    statements: str,
    section: str,
    table: str,
) -> None:
    """Row-level security that may hide rows: exit code 7, with table, role and remedy, before anything is written."""
    execute(database, SUPABASE, "INSERT INTO recordings (id, duration) VALUES (gen_random_uuid(), 1)")
    execute(database, *OLD.split(";"), COLLECTIONS, old_row(1, "x", '{"file_id": "f1"}'), *statements.split(";"))
    role = str(urlsplit(reader).username)
    dump, target = write_dump(read_scenario("recordings-several"), tmp_path / "dump"), new_database()
    settings = {section: {"url": reader} | ({"collection": "x"} if section == "chunks" else {})}
    config = write_config(tmp_path / "migrate.toml", f"dump:{dump}", target, settings)
    for command in ("plan", "run"):
        answer = call(command, "-c", config)
        assert answer.code == 7, answer.told
        assert all(word in answer.told for word in (table, role, "BYPASSRLS")), answer.told
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT to_regclass('users')").fetchone() == (None,)
    execute(database, f"ALTER ROLE {role} BYPASSRLS")
    answer = call("plan", "-c", config)
    assert "row-level" not in answer.told, answer.told
    assert answer.code == 0, answer.told


def test_the_settings_of_the_role_do_not_matter(database: str, reader: str) -> None:
    """Formats of values and timeouts are set for the transaction; the search path stays that of the role."""
    role = str(urlsplit(reader).username)
    execute(database, "CREATE SCHEMA rag", f"GRANT USAGE ON SCHEMA rag TO {role}")
    execute(database, "CREATE TABLE rag.recordings (id int, t timestamptz, f float8, b bytea)")
    execute(database, f"GRANT SELECT ON rag.recordings TO {role}")
    execute(database, "INSERT INTO rag.recordings VALUES (1, '2024-05-01 10:00+00', 0.1, '\\x00ff')")
    settings = {"search_path": "rag", "DateStyle": "'SQL, DMY'", "TimeZone": "'Asia/Tokyo'",
                "extra_float_digits": "-10", "bytea_output": "escape", "statement_timeout": "1000",
                "row_security": "on"}  # fmt: skip
    for name, value in settings.items():
        execute(database, f"ALTER ROLE {role} SET {name} = {value}")
    (found,) = read(PostgresTable(RECORDINGS, reader, "recordings", {}))
    assert found == {"_id": 1, "t": DatetimeMS(1714557600000), "f": 0.1, "b": "\\x00ff"}


# --- what can go wrong ----------------------------------------------------------------------------------------------


def test_what_is_not_there_is_said(database: str, reader: str, tmp_path: Path) -> None:
    """Exit code 7 with cause and remedy, before anything is written; the password is never shown."""
    execute(database, "CREATE TABLE secret (id int)", "REVOKE ALL ON secret FROM PUBLIC", "CREATE TABLE bare (key int)")
    execute(database, f"REVOKE ALL ON secret FROM {urlsplit(reader).username}")
    dump = write_dump(read_scenario("recordings-several"), tmp_path / "dump")
    parts = urlsplit(reader)
    wrong = urlunsplit(parts._replace(netloc=f"{parts.username}:wr0ng-password@{parts.netloc.rpartition('@')[2]}"))
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"recordings": {"url": reader}}, 7, "table recordings not found"),
        ({"recordings": {"url": reader, "table": "secret"}}, 7, "permission denied"),
        ({"recordings": {"url": reader, "table": "bare"}}, 2, "has no column id; columns found: key"),
        ({"recordings": {"url": "postgresql://u:s3cret-of-the-reader@127.0.0.1:1/x"}}, 7, "recordings.url"),
        ({"recordings": {"url": "csv:nowhere.csv"}}, 7, "cannot read"),
        ({"chunks": {"url": reader}}, 7, "table langchain_pg_embedding not found"),
        ({"chunks": {"url": "postgresql://u:s3cret-of-the-reader@127.0.0.1:1/x"}}, 7, "chunks.url"),
        ({"chunks": {"url": "jsonl:nowhere.jsonl"}}, 7, "cannot read"),
        ({"chunks": {"url": "files:nowhere"}}, 7, "is not a folder"),
    ]
    if _passwords_count(reader, wrong):
        cases.append(({"recordings": {"url": wrong}}, 7, "authentication failed"))
    for settings, code, words in cases:
        config = write_config(tmp_path / "migrate.toml", f"dump:{dump}", database, settings)
        for command in ("plan", "run"):
            answer = call(command, "-c", config)
            assert (answer.code, words in answer.told) == (code, True), answer.told
            assert "s3cret" not in answer.told
            assert "wr0ng" not in answer.told
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('migrator.runs'), to_regclass('users')").fetchone() == (
            None,
            None,
        )


def _passwords_count(right: str, wrong: str) -> bool:
    """Whether the server asks for passwords: the bundled one trusts everybody."""
    try:
        psycopg.connect(wrong).close()
    except psycopg.OperationalError:
        psycopg.connect(right).close()
        return True
    return False


def test_a_store_of_another_kind(database: str) -> None:
    """A table of that name that is none of langchain's."""
    execute(database, "CREATE TABLE langchain_pg_embedding (key int, document text, cmetadata json)")
    with pytest.raises(SourceError, match="no column id or uuid; columns found: key"):
        read(LangchainStore(CHUNKS, database, None))


def test_columns_that_are_not_there(database: str) -> None:
    """A configured name that the table has not."""
    execute(database, SUPABASE)
    with pytest.raises(UsageError, match=r"no column said \(for transcript_text\)"):
        read(PostgresTable(RECORDINGS, database, "recordings", {"transcript_text": "said"}))
