"""More targets with objects of their owner, as in test_owner_objects.py: unusual kinds, names and privileges."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.acceptance.test_owner_objects import EVENT, LOG, REJECTS, Case, check_case, make_documents, set_up
from tests.archive_writer import write_folder
from tests.target_server import Server

pytestmark = pytest.mark.usefixtures("quick")

# Of two names that differ in case only, one is rejected.
ONE_NAME = REJECTS["one user"]
LOGGING_RULE = "CREATE RULE told AS ON INSERT TO users DO ALSO INSERT INTO log VALUES ('user');"
NAMES = """
CREATE SCHEMA "my schema";
CREATE TABLE "my schema"."Names" ("The name" text PRIMARY KEY);
INSERT INTO "my schema"."Names" VALUES ('Ann'), ('ANN'), ('Bob');
"""
# The catalog says that it writes to two tables; there is no publisher.
SUBSCRIPTION = """
CREATE SUBSCRIPTION "Sub" CONNECTION 'host=/nowhere dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE);
INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
  SELECT s.oid, c.oid, 'r' FROM pg_subscription s, pg_class c
   WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND c.oid IN ('users'::regclass, 'messages'::regclass);
"""
ENABLE = """
UPDATE pg_subscription SET subenabled = true
 WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
"""
CASES: dict[str, Case] = {
    # Kinds of tables
    "a partitioned table": Case(
        "DROP TABLE messages CASCADE; CREATE TABLE messages (id uuid PRIMARY KEY) PARTITION BY HASH (id);",
        code=3, words=("table messages", "partitioned table"),
    ),
    "a table with a child": Case(
        "CREATE TABLE vip (rank integer) INHERITS (users);", code=3,
        words=("table public.vip inherits from users", "ALTER TABLE public.vip NO INHERIT users"),
    ),
    "a table with a parent": Case(
        "CREATE TABLE people (id uuid NOT NULL, name text); ALTER TABLE users INHERIT people;"
    ),
    "an unlogged table": Case(
        "ALTER TABLE messages SET UNLOGGED;", code=3, words=("unlogged table", "SET LOGGED")
    ),
    "a view with the name of a table": Case(
        "DROP TABLE messages CASCADE; CREATE VIEW messages AS SELECT 1 AS id;", code=3, words=("messages", "view")
    ),
    "a sequence with the name of a table": Case(
        "DROP TABLE memories CASCADE; CREATE SEQUENCE memories;", code=3, words=("memories", "sequence")
    ),
    "an index with a name of ours": Case(
        "CREATE TABLE notes (id integer); DROP INDEX users_tenant_id_idx;"
        "CREATE INDEX users_tenant_id_idx ON notes (id);",
        code=3, words=("users_tenant_id_idx",),
    ),
    "an enum with other labels": Case(
        "DO $$ BEGIN EXECUTE (SELECT format('ALTER TYPE %I ADD VALUE ''tool''', t.typname)"
        " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE a.attrelid = 'messages'::regclass AND a.attname = 'role'); END $$;", code=3, words=("enum", "'tool'"),
    ),
    "a table in a tablespace, and settings": Case(
        "ALTER TABLE messages SET (fillfactor = 70, autovacuum_enabled = off);"
        "ALTER TABLE users ALTER name SET STATISTICS 0; ALTER TABLE messages ALTER content SET STORAGE EXTERNAL;"
        "CREATE STATISTICS pair ON user_id, title FROM conversations; ALTER TABLE files REPLICA IDENTITY FULL;"
    ),
    "a dropped column": Case("ALTER TABLE users ADD COLUMN gone text; ALTER TABLE users DROP COLUMN gone;"),
    # Row-level security
    "a policy": Case(
        "ALTER TABLE messages ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON messages USING (false);"
    ),
    "a forced policy": Case(
        "ALTER TABLE messages ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON messages USING (false);"
        "ALTER TABLE messages FORCE ROW LEVEL SECURITY;", role=True, code=3, run_code=7,
        words=("row-level security hides rows", "BYPASSRLS"),
    ),
    # Privileges
    "a role that does not own the tables": Case(
        "", role=True, code=3,
        grants="CREATE ROLE keeper_{role}; ALTER TABLE messages OWNER TO keeper_{role};"
        "GRANT ALL ON messages TO {role};",
        words=("messages", "GRANT"),
    ),
    "a role with privileges on columns only": Case(
        "", role=True, code=3,
        grants="CREATE ROLE keeper_{role}; ALTER TABLE users OWNER TO keeper_{role};"
        "REVOKE ALL ON users FROM {role}; GRANT SELECT (id, email), INSERT (id, email) ON users TO {role};",
        words=("users", "GRANT"),
    ),
    "a default from a sequence that the role may not use": Case(
        "", role=True, code=3,
        grants="CREATE SEQUENCE numbers; ALTER TABLE users ADD COLUMN number bigint DEFAULT nextval('numbers');",
        words=("numbers", "GRANT"),
    ),
    "a check with a function that the role may not execute": Case(
        "", role=True, code=3,
        grants="CREATE FUNCTION ok(t text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';"
        "REVOKE EXECUTE ON FUNCTION ok FROM PUBLIC; ALTER TABLE users ADD CHECK (ok(name));",
        words=("ok", "GRANT EXECUTE"),
    ),
    # Triggers and rules
    "a trigger with transition tables": Case(
        LOG + "CREATE TRIGGER log_it AFTER INSERT ON messages REFERENCING NEW TABLE AS made EXECUTE FUNCTION log_it();"
    ),
    "a trigger with a condition": Case(
        LOG + "CREATE TRIGGER log_it AFTER UPDATE OF parent_id ON messages FOR EACH ROW WHEN (NEW.parent_id IS NULL)"
        " EXECUTE FUNCTION log_it();"
    ),
    "a trigger on TRUNCATE": Case(LOG + "CREATE TRIGGER log_it BEFORE TRUNCATE ON users EXECUTE FUNCTION log_it();"),
    "a rule that drops insertions": Case("CREATE RULE keep AS ON INSERT TO messages DO INSTEAD NOTHING;"),
    "a rule that logs": Case(LOG + LOGGING_RULE),
    # Event triggers
    "an event trigger that refuses dropped objects": Case(
        EVENT.format("RAISE EXCEPTION 'nothing goes';")
        + "CREATE EVENT TRIGGER on_ddl ON sql_drop EXECUTE FUNCTION on_ddl();",
        code=3, words=("nothing goes", "ALTER EVENT TRIGGER on_ddl DISABLE"),
    ),
    "an event trigger that refuses schemas": Case(
        EVENT.format("RAISE EXCEPTION 'no schemas';")
        + "CREATE EVENT TRIGGER on_ddl ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION on_ddl();",
        code=3, words=("no schemas", "ALTER EVENT TRIGGER on_ddl DISABLE"),
    ),
    "an event trigger that refuses policies": Case(
        EVENT.format("RAISE EXCEPTION 'no policies';")
        + "CREATE EVENT TRIGGER on_ddl ON ddl_command_start WHEN TAG IN ('CREATE POLICY') EXECUTE FUNCTION on_ddl();",
        code=3, words=("no policies", "ALTER EVENT TRIGGER on_ddl DISABLE"),
    ),
    "an event trigger for rewritten tables": Case(
        EVENT.format("RAISE EXCEPTION 'no rewrite';")
        + "CREATE EVENT TRIGGER on_ddl ON table_rewrite EXECUTE FUNCTION on_ddl();",
        code=3, words=("no rewrite", "ALTER EVENT TRIGGER on_ddl DISABLE"),
    ),
    "a disabled event trigger": Case(
        EVENT.format("RAISE EXCEPTION 'no';")
        + "CREATE EVENT TRIGGER on_ddl ON sql_drop EXECUTE FUNCTION on_ddl(); ALTER EVENT TRIGGER on_ddl DISABLE;"
    ),
    # Replication
    "a publication of some columns": Case(
        "CREATE PUBLICATION part FOR TABLE users (id, email);", words=()
    ),
    "a publication of columns without the key": Case(
        "CREATE PUBLICATION part FOR TABLE users (email);", code=3, words=("table users",)
    ),
    "a publication of a schema": Case("CREATE PUBLICATION part FOR TABLES IN SCHEMA public;"),
    "a publication of insertions": Case(
        "CREATE PUBLICATION part FOR TABLE messages WHERE (content <> '') WITH (publish = 'insert');"
    ),
    "a subscription": Case(
        SUBSCRIPTION + ENABLE, code=3,
        words=("subscription Sub writes to messages, users", 'ALTER SUBSCRIPTION "Sub" DISABLE'),
    ),
    "a disabled subscription": Case(SUBSCRIPTION),
    # Login event triggers
    "an event trigger at login that sets parameters": Case(
        EVENT.format("PERFORM set_config('search_path', 'nowhere', false), set_config('datestyle', 'german', false),"
                     " set_config('statement_timeout', '200ms', false);")
        + "CREATE EVENT TRIGGER on_ddl ON login EXECUTE FUNCTION on_ddl();", words=("fires at every login",),
    ),
    "an event trigger at login that refuses": Case(
        EVENT.format("IF current_setting('application_name') LIKE 'migrate%' THEN RAISE EXCEPTION 'closed'; END IF;")
        + "CREATE EVENT TRIGGER on_ddl ON login EXECUTE FUNCTION on_ddl();", code=7, words=("closed",),
    ),
    # Columns
    "a virtual generated column that would fail": Case(
        "ALTER TABLE conversations ADD COLUMN number integer GENERATED ALWAYS AS (length(title) / 0) VIRTUAL;"
    ),
    "a column of a domain": Case(
        "CREATE DOMAIN points AS integer DEFAULT 3 CHECK (VALUE > 2); ALTER TABLE users ADD COLUMN points points;"
    ),
    "a column of a domain that is not NULL": Case(
        "CREATE DOMAIN points AS integer NOT NULL; ALTER TABLE users ADD COLUMN points points;",
        code=3, words=("column points of users", "DEFAULT"),
    ),
    "a column of a domain that is not NULL, with a default": Case(
        "CREATE DOMAIN points AS integer NOT NULL DEFAULT 3 CHECK (VALUE > 2); ALTER TABLE users ADD COLUMN p points;"
    ),
    "a generated column of a domain that refuses": Case(
        "CREATE DOMAIN polite AS text CHECK (VALUE <> 'bad');"
        "ALTER TABLE conversations ADD COLUMN p polite GENERATED ALWAYS AS (title::polite) STORED;",
        rejects=REJECTS["one conversation"],
    ),
    "a serial column": Case("ALTER TABLE users ADD COLUMN number bigserial;"),
    "an identity column by default": Case(
        "ALTER TABLE users ADD COLUMN number bigint GENERATED BY DEFAULT AS IDENTITY UNIQUE;"
    ),
    "a column that needs a value of an enum": Case(
        "CREATE TYPE mood AS ENUM ('good'); ALTER TABLE users ADD COLUMN mood mood NOT NULL;",
        code=3, words=("column mood of users",),
    ),
    "a column of ours with another default": Case(
        "ALTER TABLE users ALTER name SET DEFAULT 'x';", code=3, words=("column name of users", "DEFAULT"),
    ),
    "a missing column of ours": Case(
        "ALTER TABLE conversations DROP COLUMN title;", code=3, words=("column title of conversations is missing",)
    ),
    # Constraints and indexes
    "a unique index with other columns": Case(
        "CREATE UNIQUE INDEX one_name ON users (lower(name)) INCLUDE (email);", rejects=ONE_NAME
    ),
    "a unique index whose NULLs are equal": Case(
        "CREATE UNIQUE INDEX one_agent ON conversations (user_id, agent_id) NULLS NOT DISTINCT;",
        rejects={"conversations": {"target_constraint": 3}, "messages": {"orphan": 6}},
    ),
    "a constraint that is not enforced": Case(
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (title <> 'bad') NOT ENFORCED;"
    ),
    "a foreign key that is not enforced": Case(
        "CREATE TABLE names (name text PRIMARY KEY);"
        "ALTER TABLE users ADD CONSTRAINT known FOREIGN KEY (name) REFERENCES names NOT ENFORCED;"
    ),
    "an invalid index": Case(
        "CREATE UNIQUE INDEX one_name ON users (lower(name));"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'one_name'::regclass;", rejects=ONE_NAME,
    ),
    "a BRIN index, a GIN index and a hash index on an expression": Case(
        "CREATE INDEX a ON messages USING brin (created_at); "
        "CREATE INDEX b ON messages USING gin (string_to_array(content, ' '));"
        "CREATE INDEX c ON conversations USING hash (lower(title));"
    ),
    "a check with a function that reads a table": Case(
        "CREATE TABLE words (word text); INSERT INTO words VALUES ('bad');"
        "CREATE FUNCTION polite(t text) RETURNS boolean STABLE LANGUAGE sql AS"
        " $$ SELECT NOT EXISTS (SELECT FROM public.words WHERE word = t) $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (public.polite(title));",
        words=("constraint polite of conversations cannot be rehearsed (function polite uses tables",),
        rejects=REJECTS["one conversation"], unpredicted=True,
    ),
    "a check with a function of the definer": Case(
        "CREATE SCHEMA app; CREATE FUNCTION app.bad() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'bad' $$;"
        "CREATE FUNCTION app.polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = app AS $$ BEGIN RETURN t <> bad(); END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (app.polite(title));",
        rejects=REJECTS["one conversation"],
    ),
    "a check with a function that finds others by the search path": Case(
        "CREATE FUNCTION bad() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'bad' $$;"
        "CREATE FUNCTION polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN t <> bad(); END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (polite(title));",
        rejects=REJECTS["one conversation"],
    ),
    "a check of the whole row": Case(
        "ALTER TABLE users ADD CONSTRAINT filled CHECK (users IS NOT NULL OR name <> 'Bob');",
        rejects={"users": {"target_constraint": 1}, "conversations": {"orphan": 2}, "messages": {"orphan": 4}},
    ),
    "a foreign key of several columns": Case(
        "CREATE TABLE names (name text, number integer, PRIMARY KEY (name, number));"
        "INSERT INTO names VALUES ('Ann', 1);"
        "ALTER TABLE users ADD COLUMN number integer DEFAULT 1;"
        "ALTER TABLE users ADD CONSTRAINT known FOREIGN KEY (name, number) REFERENCES names;",
        rejects={"users": {"target_constraint": 3}, "conversations": {"orphan": 5}, "messages": {"orphan": 10}},
    ),
    "a foreign key to a table in another schema, and a trigger there": Case(
        NAMES + LOG + 'CREATE TRIGGER log_it AFTER INSERT ON "my schema"."Names" EXECUTE FUNCTION log_it();'
        'ALTER TABLE users ADD CONSTRAINT "known ""name""" FOREIGN KEY (name) REFERENCES "my schema"."Names";',
        rejects=REJECTS["the last user"],
    ),
    # Names
    "names with percent signs, braces and quotes": Case(
        'CREATE SCHEMA "100% {0}"; CREATE TABLE "100% {0}"."50% {x} of ""it""" (id integer PRIMARY KEY,'
        ' "%s" uuid REFERENCES users ON DELETE SET NULL);'
        'ALTER TABLE users ADD COLUMN "100%(a)s" text DEFAULT \'5%\'; ALTER TABLE users ADD COLUMN "{0}" integer;'
        'ALTER TABLE users ADD CONSTRAINT "99% {a} ""b""" CHECK ("100%(a)s" LIKE \'5%%\');'
        'CREATE INDEX "by %s {}" ON users ("100%(a)s");'
        'CREATE VIEW "%d" AS SELECT * FROM users;'
    ),
    "a trigger and a rule with odd names": Case(
        LOG + 'CREATE TRIGGER "Log % {} ""it""" AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION log_it();'
        'CREATE RULE "100% {}" AS ON UPDATE TO users DO ALSO NOTHING;'
    ),
    "a schema named migrator with tables of others": Case(
        "CREATE SCHEMA migrator; CREATE TABLE migrator.notes (id integer); INSERT INTO migrator.notes VALUES (1);"
    ),
    "tables that differ from ours in case": Case(
        'CREATE TABLE "Users" (id integer); CREATE TABLE "MESSAGES" (id integer);'
        'CREATE TYPE "Message_Role" AS ENUM (\'a\');'
    ),
    # Views
    "a materialized view of columns that change": Case(
        "CREATE MATERIALIZED VIEW last AS SELECT user_id, max(last_message_at) FROM conversations GROUP BY 1;"
        "CREATE UNIQUE INDEX ON last (user_id);"
        "CREATE VIEW threads WITH (security_barrier) AS SELECT m.*, c.title FROM messages m"
        " JOIN conversations c ON c.id = m.conversation_id;"
        "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER noop INSTEAD OF INSERT ON threads FOR EACH ROW EXECUTE FUNCTION noop();"
    ),
    # Embeddings
    "a check of embeddings": Case(
        "ALTER TABLE document_chunks ADD CONSTRAINT unit CHECK (vector_norm(embedding) < 2);", code=3,
        words=("constraint unit of document_chunks", "column embedding", "DROP CONSTRAINT unit"),
        settings={"embedding": {"provider": "local"}},
    ),
    "a unique index of embeddings": Case(
        "CREATE UNIQUE INDEX one ON document_chunks ((md5(embedding::text)));", code=3,
        words=("index one of document_chunks", "DROP INDEX one"), settings={"embedding": {"provider": "local"}},
    ),
    "a generated column of embeddings": Case(
        "ALTER TABLE document_chunks ADD COLUMN norm float8 GENERATED ALWAYS AS (vector_norm(embedding)) STORED;",
        code=3, words=("generated column norm of document_chunks",), settings={"embedding": {"provider": "local"}},
    ),
    "a vector index of the owner": Case(
        "CREATE INDEX near ON document_chunks USING hnsw (embedding vector_cosine_ops);"
        "CREATE INDEX half ON document_chunks USING hnsw ((embedding::halfvec(1536)) halfvec_cosine_ops);",
        settings={"embedding": {"provider": "local"}},
    ),
    "a check of embeddings, and no provider": Case(
        "ALTER TABLE document_chunks ADD CONSTRAINT unit CHECK (vector_norm(embedding) < 2);"
    ),
}  # fmt: skip
QUICK = frozenset(
    {"a table with a child", "a role that does not own the tables", "names with percent signs, braces and quotes",
     "a check of embeddings"}
)  # fmt: skip


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("owner") / "dump", make_documents())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in CASES]
)
def test_a_target_with_unusual_objects(name: str, server: Server, template: str, dump: Path, tmp_path: Path) -> None:
    """`plan` predicts the outcome; a run that it permits is verified and reverted; any other run writes nothing."""
    case = CASES[name]
    url = set_up(server, template, case)
    if "subscription" in name:  # a database with a subscription cannot be dropped
        database = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
        statements = ('ALTER SUBSCRIPTION "Sub" DISABLE', 'DROP SUBSCRIPTION "Sub"')
        server.exits.callback(server.execute, *statements, database=database)
    check_case(case, url, server, dump, tmp_path)
