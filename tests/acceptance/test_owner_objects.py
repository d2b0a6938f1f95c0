"""Targets with triggers, constraints, indexes and columns of their owner: `plan` and `run` agree about each of them.

Either the migration runs, `verify` finds no difference and `revert` restores the database, or `plan` and `run` refuse
with a remedy and nothing is written.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import psycopg
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from tests.archive_writer import write_folder
from tests.conftest import with_database
from tests.driving import call, dump_database
from tests.integration.schemas import CONTRACT
from tests.scenarios import write_config
from tests.target_server import Server

pytestmark = pytest.mark.usefixtures("quick")

LONG = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))
TITLES = ("Good", "bad", LONG, "good", "17", "18", "19")
NAMES = ("Ann", "ANN", "Bob", "Eve")


@dataclass(frozen=True)
class Case:
    """What an owner has in the database, and what must come of a migration into it.

    `code`: the exit code of `plan` and `run`; `words`: parts of what `plan` says; `rejects`: rejected documents by
    collection and reason. `role`: whether the target role is no superuser; `grants`: statements of an administrator
    after the others, with the name of this role. `run_code`: the exit code of `run`, if it differs. `unpredicted`:
    whether `plan` says that it cannot predict the rejects.
    """

    statements: str
    code: int = 0
    words: tuple[str, ...] = ()
    rejects: dict[str, dict[str, int]] = field(default_factory=dict)
    role: bool = False
    grants: str = ""
    run_code: int = 0
    unpredicted: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


TRIGGER = """
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON conversations FOR EACH ROW EXECUTE FUNCTION touch();
"""
RAISE = """
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
"""
LOG = """
CREATE TABLE log (line text);
CREATE FUNCTION public.log_it() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN INSERT INTO public.log (line) VALUES (TG_OP); RETURN NULL; END $$;
"""
EVENT = "CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;"
ROW = """
INSERT INTO tenants (id, name, subdomain) VALUES ('0190b5a0-0000-7000-8000-00000000000a', 'T', 'other');
INSERT INTO users (id, tenant_id, email, name) SELECT id, id, 'other@x.example', '{name}' FROM tenants;
"""
REJECTS: dict[str, dict[str, dict[str, int]]] = {
    "one user": {
        "users": {"target_constraint": 1}, "conversations": {"orphan": 2}, "messages": {"orphan": 4},
    },
    "the last user": {
        "users": {"target_constraint": 1}, "conversations": {"orphan": 1}, "messages": {"orphan": 2},
    },
    "two users": {
        "users": {"target_constraint": 2}, "conversations": {"orphan": 3}, "messages": {"orphan": 6},
    },
    "one conversation": {"conversations": {"target_constraint": 1}, "messages": {"orphan": 2}},
}  # fmt: skip
EVENT_LOG = EVENT.format("PERFORM 1; INSERT INTO public.log (line) VALUES (TG_TAG);")
CASES: dict[str, Case] = {
    "nothing": Case(""),
    # Triggers and rules
    "a trigger that sets updated_at": Case(TRIGGER),
    "a trigger that drops rows": Case(
        "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER drop_row BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION drop_row();"
    ),
    "a trigger that logs": Case(
        LOG + "CREATE TRIGGER log_it AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION log_it();"
    ),
    "a statement trigger that logs": Case(
        LOG + "CREATE TRIGGER log_it AFTER INSERT OR DELETE ON users EXECUTE FUNCTION log_it();"
    ),
    "a trigger that refuses rows": Case(
        RAISE + "CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION refuse();"
    ),
    "a trigger that refuses deletions": Case(
        RAISE + "CREATE TRIGGER refuse BEFORE DELETE ON messages FOR EACH ROW EXECUTE FUNCTION refuse();"
    ),
    "a constraint trigger": Case(
        RAISE + "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION refuse();"
    ),
    "a trigger on tenants": Case(
        LOG + "CREATE TRIGGER log_it AFTER INSERT OR DELETE ON tenants FOR EACH ROW EXECUTE FUNCTION log_it();"
    ),
    "a trigger that is always enabled": Case(
        TRIGGER + "ALTER TABLE conversations ENABLE ALWAYS TRIGGER touch;",
        code=3,
        words=(
            "trigger touch of conversations",
            "ENABLE ALWAYS",
            'ALTER TABLE "conversations" DISABLE TRIGGER "touch"',
        ),
    ),
    "a trigger for replicas": Case(TRIGGER + "ALTER TABLE conversations ENABLE REPLICA TRIGGER touch;"),
    "triggers for replicas and others": Case(
        TRIGGER
        + LOG
        + "ALTER TABLE conversations ENABLE REPLICA TRIGGER touch;"
        + "CREATE TRIGGER log_it AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION log_it();",
        code=3,
        words=("trigger touch of conversations", "ENABLE REPLICA"),
    ),
    "a disabled trigger": Case(TRIGGER + "ALTER TABLE conversations DISABLE TRIGGER touch;"),
    "a trigger on another table": Case(
        TRIGGER.replace("ON conversations", "ON notes").replace(
            "CREATE TRIGGER", "CREATE TABLE notes (updated_at timestamp); CREATE TRIGGER"
        )
        + "ALTER TABLE notes ENABLE ALWAYS TRIGGER touch;"
    ),
    "a trigger, and a role that may not suspend it": Case(
        TRIGGER,
        role=True,
        code=3,
        words=("trigger touch of conversations", "GRANT SET ON PARAMETER", "DISABLE TRIGGER"),
    ),
    "a trigger, and a role that may suspend it": Case(
        TRIGGER, role=True, grants="GRANT SET ON PARAMETER session_replication_role TO {role}"
    ),
    "a role without privileges, and no trigger": Case("", role=True),
    "a rule that drops updates": Case("CREATE RULE keep AS ON UPDATE TO conversations DO INSTEAD NOTHING;"),
    "a rule that drops deletions": Case("CREATE RULE keep AS ON DELETE TO messages DO INSTEAD NOTHING;"),
    "a rule, and a role that may not suspend it": Case(
        "CREATE RULE keep AS ON UPDATE TO conversations DO INSTEAD NOTHING;",
        role=True,
        code=3,
        words=("rule keep of conversations", "DISABLE RULE"),
    ),
    "a trigger and a deferrable constraint": Case(
        TRIGGER + "ALTER TABLE users ADD CONSTRAINT one_name UNIQUE (name) DEFERRABLE;",
        code=3,
        words=("constraint one_name of users is not enforced while trigger touch",),
    ),
    # Event triggers
    "an event trigger": Case(
        EVENT.format("NULL;") + "CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl();",
        words=("event trigger on_ddl fires",),
    ),
    "an event trigger that refuses": Case(
        EVENT.format("RAISE EXCEPTION 'no DDL today';")
        + "CREATE EVENT TRIGGER on_ddl ON ddl_command_start WHEN TAG IN ('DROP INDEX') EXECUTE FUNCTION on_ddl();",
        code=3,
        words=("no DDL today", "ALTER EVENT TRIGGER on_ddl DISABLE"),
    ),
    "an event trigger that logs": Case(
        LOG + EVENT_LOG + "CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl();",
        code=3,
        words=("writes to public.log", "ALTER EVENT TRIGGER on_ddl DISABLE"),
    ),
    # Publications
    "a publication of all tables": Case("CREATE PUBLICATION everything FOR ALL TABLES;", words=("FOR ALL TABLES",)),
    "a publication of all tables, and no replica identity": Case(
        "CREATE PUBLICATION everything FOR ALL TABLES; ALTER TABLE messages REPLICA IDENTITY NOTHING;",
        code=3,
        words=("table messages", "REPLICA IDENTITY DEFAULT"),
    ),
    "a publication of some rows": Case(
        "CREATE PUBLICATION part FOR TABLE conversations WHERE (title <> '');",
        code=3,
        words=("table conversations", "row filters"),
    ),
    # Constraints, indexes and columns that refuse rows
    "a unique index on an expression": Case(
        "CREATE UNIQUE INDEX one_name ON users (lower(name));", rejects=REJECTS["one user"]
    ),
    "a unique index on an expression, and a row": Case(
        "CREATE UNIQUE INDEX one_name ON users (lower(name));" + ROW.format(name="EVE"),
        rejects=REJECTS["two users"],
    ),
    "a partial unique index": Case(
        "CREATE UNIQUE INDEX one_title ON conversations (lower(title)) WHERE title <> '17';",
        rejects={"conversations": {"target_constraint": 2}, "messages": {"orphan": 4}},  # one title is too long for it
    ),
    "a unique constraint": Case("ALTER TABLE users ADD CONSTRAINT one_name UNIQUE (tenant_id, name);"),
    "a deferred unique constraint": Case(
        "ALTER TABLE conversations ADD COLUMN one integer DEFAULT 1;"
        "ALTER TABLE messages ADD COLUMN one integer DEFAULT 1;"
        "ALTER TABLE messages ADD CONSTRAINT single UNIQUE (conversation_id, one) DEFERRABLE INITIALLY DEFERRED;",
        rejects={"messages": {"target_constraint": 7}},
    ),
    "a check": Case(
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (title <> 'bad');", rejects=REJECTS["one conversation"]
    ),
    "a check that existing rows violate": Case(
        ROW.format(name="x") + "ALTER TABLE users ADD CONSTRAINT long_name CHECK (length(name) > 2) NOT VALID;"
    ),
    "a check with a function": Case(
        "CREATE FUNCTION is_polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN t <> 'bad'; END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (public.is_polite(title));",
        rejects=REJECTS["one conversation"],
    ),
    "a check with a function that raises": Case(
        "CREATE FUNCTION is_polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN IF t = 'bad' THEN RAISE EXCEPTION 'not %', t; END IF; RETURN true; END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (public.is_polite(title));",
        rejects=REJECTS["one conversation"],
    ),
    "a check with a function in another schema": Case(
        "CREATE SCHEMA app; CREATE FUNCTION app.is_polite(t text) RETURNS boolean IMMUTABLE"
        " LANGUAGE sql AS $$ SELECT t <> 'bad' $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (app.is_polite(title));",
        rejects=REJECTS["one conversation"],
    ),
    "a check on messages": Case(
        "ALTER TABLE messages ADD CONSTRAINT short CHECK (content NOT IN ('Text 1', 'Text 12'));",
        rejects={"messages": {"target_constraint": 2}},
    ),
    "an exclusion constraint": Case(
        "ALTER TABLE users ADD CONSTRAINT one_name EXCLUDE (lower(name) WITH =);", rejects=REJECTS["one user"]
    ),
    "an index that is too small for a title": Case(
        "CREATE INDEX by_title ON conversations (title);", rejects=REJECTS["one conversation"]
    ),
    "an index on an expression that is too small for a title": Case(
        "CREATE INDEX by_title ON conversations (lower(title), id);", rejects=REJECTS["one conversation"]
    ),
    "an index on an expression that fails": Case(
        "CREATE INDEX by_number ON conversations ((title::integer));",
        rejects={"conversations": {"target_constraint": 4}, "messages": {"orphan": 8}},
    ),
    "an index on columns of a fixed size": Case("CREATE INDEX by_date ON conversations (user_id, created_at DESC);"),
    "a hash index": Case("CREATE INDEX by_title ON conversations USING hash (title);"),
    "a foreign key to a table of the owner": Case(
        "CREATE TABLE names (name text PRIMARY KEY); INSERT INTO names VALUES ('Ann'), ('ANN'), ('Bob');"
        "ALTER TABLE users ADD CONSTRAINT known_name FOREIGN KEY (name) REFERENCES names;",
        rejects=REJECTS["the last user"],
    ),
    "a foreign key to its own table": Case(
        "ALTER TABLE users ADD CONSTRAINT own FOREIGN KEY (id) REFERENCES users (id);"
    ),
    "a foreign key of another table": Case(
        "CREATE TABLE notes (id integer PRIMARY KEY, user_id uuid REFERENCES users ON DELETE SET NULL);"
    ),
    "a column": Case("ALTER TABLE users ADD COLUMN nickname text;"),
    "a column with a default": Case("ALTER TABLE users ADD COLUMN points integer NOT NULL DEFAULT 7;"),
    "an identity column": Case("ALTER TABLE users ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;"),
    "a generated column": Case(
        "ALTER TABLE users ADD COLUMN short text GENERATED ALWAYS AS (left(name, 1)) STORED NOT NULL;"
    ),
    "a generated column that fails": Case(
        "ALTER TABLE conversations ADD COLUMN number integer GENERATED ALWAYS AS (title::integer) STORED;",
        rejects={"conversations": {"target_constraint": 4}, "messages": {"orphan": 8}},
    ),
    "a unique generated column": Case(
        "ALTER TABLE users ADD COLUMN low text GENERATED ALWAYS AS (lower(name)) STORED UNIQUE;",
        rejects=REJECTS["one user"],
    ),
    "a column that needs a value": Case(
        "ALTER TABLE users ADD COLUMN phone text NOT NULL;", code=3, words=("column phone of users", "DEFAULT")
    ),
    "a column of ours that must not be NULL": Case(
        "ALTER TABLE conversations ALTER title SET NOT NULL;", code=3, words=("column title of conversations",)
    ),
    "a column of ours with a domain": Case(
        "CREATE DOMAIN name AS text CHECK (VALUE <> 'x'); ALTER TABLE users ALTER name TYPE public.name;",
        code=3,
        words=("column name of users",),
    ),
    "a view": Case("CREATE VIEW people AS SELECT id, name FROM users WHERE name <> '';"),
    "a materialized view": Case("CREATE MATERIALIZED VIEW people AS SELECT id, name FROM users;"),
    "a trigger, a check and an index": Case(
        TRIGGER + "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (title <> 'bad');"
        "CREATE INDEX by_title ON conversations (title);",
        rejects={"conversations": {"target_constraint": 2}, "messages": {"orphan": 4}},
    ),
    "a trigger on a table with rows, and foreign keys": Case(
        ROW.format(name="x")
        + LOG
        + "CREATE TRIGGER log_it AFTER INSERT OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION log_it();"
    ),
}


def oid(kind: int, number: int) -> ObjectId:
    return ObjectId(f"65a00000{kind:08x}{number:08x}")


def make_documents() -> dict[str, list[bytes]]:
    """Users, conversations and messages; some have names and titles that a constraint may refuse."""
    dates = {"createdAt": DatetimeMS(1_704_067_200_000), "updatedAt": DatetimeMS(1_704_067_201_000)}
    users = [{"_id": oid(1, n), "email": f"u{n}@x.example", "name": name, **dates} for n, name in enumerate(NAMES)]
    conversations = [
        {
            "_id": oid(2, n), "conversationId": str(UUID(int=n + 1)), "user": str(oid(1, n % len(NAMES))),
            "title": title, "endpoint": "openAI", "model": "gpt-4o", **dates,
        }
        for n, title in enumerate(TITLES)
    ]  # fmt: skip
    messages = [
        {
            "_id": oid(3, n), "messageId": str(UUID(int=0xA << 124 | n)),
            "conversationId": str(UUID(int=n % len(TITLES) + 1)), "user": str(oid(1, n % len(TITLES) % len(NAMES))),
            "parentMessageId": "00000000-0000-0000-0000-000000000000", "sender": "User", "text": f"Text {n}",
            "isCreatedByUser": True, "endpoint": "openAI", **dates,
        }
        for n in range(2 * len(TITLES))
    ]  # fmt: skip
    made: dict[str, list[dict[str, Any]]] = {"users": users, "conversations": conversations, "messages": messages}
    return {name: [bson.encode(each) for each in documents] for name, documents in made.items()}


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("owner") / "dump", make_documents())


def set_up(server: Server, template: str, case: Case) -> str:
    """Create the database of a case; return the URL for its target role."""
    if not case.role:
        name = server.create(f"TEMPLATE {template}")
        server.execute(case.statements, database=name)
        return server.url_of(name)
    name = server.create()
    role = server.role(name)
    url = server.url_of(name, role)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(CONTRACT.encode())
        connection.execute(case.statements.encode())
    if case.grants:
        server.execute(case.grants.format(role=role), database=name)
        server.exits.callback(server.execute, f"REVOKE SET ON PARAMETER session_replication_role FROM {role}")
    return url


def count_rejects(url: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    with psycopg.connect(url) as connection:
        query = "SELECT collection, reason, count(*) FROM migrator.rejects GROUP BY 1, 2"
        for collection, reason, count in connection.execute(query):
            found.setdefault(collection, {})[reason] = count
    return found


def predicted_rejects(plan: Any) -> dict[str, dict[str, int]]:
    found = {
        each["name"]: {f["code"]: f["count"] for f in each["findings"] if f["severity"] == "reject"}
        for each in plan["source"]["collections"]
    }
    return {name: counts for name, counts in found.items() if counts}


# Those that every test run executes; `make test-long` executes all of them.
QUICK = frozenset(
    {
        "a trigger that sets updated_at", "a trigger that is always enabled",
        "a trigger, and a role that may not suspend it", "a publication of all tables",
        "a unique index on an expression, and a row", "a check with a function",
        "an index that is too small for a title", "a foreign key to a table of the owner", "a generated column",
        "a column that needs a value",
    }
)  # fmt: skip
PARAMETERS = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in CASES]


def dump_without_sequences(url: str) -> str:
    """What `dump_database` returns, without the positions of sequences, which no transaction restores."""
    return "\n".join(line for line in dump_database(url).splitlines() if "pg_catalog.setval" not in line)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_target_with_objects_of_its_owner(
    name: str, server: Server, template: str, dump: Path, tmp_path: Path
) -> None:
    """`plan` predicts the outcome; a run that it permits is verified and reverted; any other run writes nothing."""
    case = CASES[name]
    check_case(case, set_up(server, template, case), server, dump, tmp_path)


def check_case(case: Case, url: str, server: Server, dump: Path, folder: Path) -> None:
    """Plan, run, verify and revert a migration into the database of a case, and compare with what must come of it."""
    settings = {"engine": {"workers": 1}, **case.settings}
    config = write_config(folder / "migrate.toml", f"dump:{dump}", url, settings)
    readable = with_database(server.url, str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]))
    before = dump_without_sequences(readable)
    planned = call("plan", "-c", config, "--json")
    assert planned.code == case.code, planned.told
    for words in case.words:
        assert words in planned.told.replace('\\"', '"')
    ran = call("run", "-c", config, "--yes")
    assert "internal error" not in (planned.told + ran.told).lower()
    assert ran.code == (case.run_code or case.code), ran.told
    if case.code:
        assert dump_without_sequences(readable) == before
        return

    assert count_rejects(readable) == case.rejects
    assert predicted_rejects(planned.json) == ({} if case.unpredicted else case.rejects)
    verified = call("verify", "-c", config, "--level", "roundtrip")
    assert verified.code == 0, verified.told
    reverted = call("revert", "--yes", "-c", config)
    assert reverted.code == 0, reverted.told
    assert dump_without_sequences(readable) == before


def test_refused_documents_are_loaded_after_the_constraint_is_dropped(
    server: Server, template: str, dump: Path, tmp_path: Path
) -> None:
    """`rejects retry` rejects them again while the constraint exists, and loads them when it does not."""
    case = CASES["a trigger, a check and an index"]
    url = set_up(server, template, case)
    config = write_config(tmp_path / "migrate.toml", f"dump:{dump}", url, {"engine": {"batch_rows": 2}})
    assert call("run", "-c", config, "--yes").code == 0
    again = call("rejects", "retry", "-c", config, "--json")
    assert (again.code, again.json["loaded"]) == (0, 0), again.told
    assert count_rejects(url) == case.rejects
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE conversations DROP CONSTRAINT polite; DROP INDEX by_title")
    retried = call("rejects", "retry", "-c", config, "--json")
    assert (retried.code, retried.json["loaded"]) == (0, 6), retried.told
    verified = call("verify", "-c", config, "--level", "roundtrip")
    assert verified.code == 0, verified.told


def test_a_document_that_is_refused_during_reconciliation_is_rejected(
    server: Server, template: str, tmp_path: Path
) -> None:
    """Of two conversations with one ID the one with the smaller `_id` is refused, so the other one keeps the ID."""
    documents = make_documents()
    first, second = (bson.decode(each) for each in documents["conversations"][1:3])
    second |= {"conversationId": first["conversationId"], "title": "fine", "user": first["user"]}
    documents["conversations"][1:3] = [bson.encode(second), bson.encode(first)]
    source = write_folder(tmp_path / "dump", documents)
    url = set_up(server, template, CASES["a check"])
    config = write_config(tmp_path / "migrate.toml", f"dump:{source}", url, {"engine": {"batch_rows": 1}})
    planned = call("plan", "-c", config, "--json")
    assert planned.code == 0, planned.told
    ran = call("run", "-c", config, "--yes")
    assert ran.code == 0, ran.told
    assert count_rejects(url)["conversations"] == {"target_constraint": 1}
    assert predicted_rejects(planned.json) == count_rejects(url)
    verified = call("verify", "-c", config, "--level", "roundtrip")
    assert verified.code == 0, verified.told
