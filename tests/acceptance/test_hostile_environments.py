"""Targets that are unusual as a whole: their collation, their extensions, their sessions, their limits.

The contract is that of test_owner_objects.py: `plan` and `run` agree, and what was written is verified and reverted.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.test_owner_objects import EVENT, LOG, REJECTS, ROW, Case, check_case, make_documents, set_up
from tests.archive_writer import write_folder
from tests.target_server import Server

pytestmark = pytest.mark.usefixtures("quick")

DATABASE = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {}', current_database()); END $$;"
TELL = "CREATE FUNCTION public.tell() RETURNS void LANGUAGE sql AS $$ INSERT INTO public.log VALUES ('x') $$;"
ON_DDL = "CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl();"
CASES: dict[str, Case] = {
    "a default operator class of the owner": Case(
        "CREATE OPERATOR FAMILY public.f USING btree;"
        "CREATE FUNCTION public.backwards(uuid, uuid) RETURNS integer IMMUTABLE LANGUAGE sql"
        " AS 'SELECT uuid_cmp($2, $1)';"
        "CREATE OPERATOR CLASS public.uuid_ops FOR TYPE uuid USING btree FAMILY public.f"
        " AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <,"
        " FUNCTION 1 public.backwards(uuid, uuid);"
        "CREATE UNIQUE INDEX one ON messages (conversation_id public.uuid_ops, id public.uuid_ops);"
    ),
    "a check with an operator of the owner": Case(
        "CREATE FUNCTION public.differs(a text, b text) RETURNS boolean IMMUTABLE LANGUAGE sql"
        " AS $$ SELECT lower(a) IS DISTINCT FROM lower(b) $$;"
        "CREATE OPERATOR public.<!> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.differs);"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (title OPERATOR(public.<!>) 'BAD');",
        rejects=REJECTS["one conversation"], unpredicted=True,
        words=("constraint polite of conversations cannot be rehearsed",),
    ),
    "a temporary schema first, and a schema that does not exist": Case(
        DATABASE.format("SET search_path = pg_temp, nowhere, \"$user\", public")
        + "CREATE FUNCTION bad() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'bad'::text $$;"
        "CREATE FUNCTION polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN t <> bad(); END $$;"
        "ALTER TABLE public.conversations ADD CONSTRAINT polite CHECK (public.polite(title));",
        rejects=REJECTS["one conversation"],
    ),
    "an empty search path": Case(
        DATABASE.format("SET search_path = ''''")
        + "CREATE FUNCTION public.bad() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'bad'::text $$;"
        "CREATE FUNCTION public.polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN t <> public.bad(); END $$;"
        "ALTER TABLE public.conversations ADD CONSTRAINT polite CHECK (public.polite(title));",
        rejects=REJECTS["one conversation"],
    ),
    "schemas with odd names in the search path": Case(
        'CREATE SCHEMA "a, b"; CREATE SCHEMA "Say ""it""";'
        "CREATE FUNCTION \"Say \"\"it\"\"\".bad() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'bad'::text $$;"
        "CREATE FUNCTION \"a, b\".polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN t <> bad(); END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (\"a, b\".polite(title));"
        + DATABASE.format('SET search_path = "a, b", "Say ""it""", public'),
        rejects=REJECTS["one conversation"],
    ),
    "a function that changes the search path": Case(
        "CREATE FUNCTION polite(t text) RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM set_config('search_path', 'nowhere', false); RETURN t <> 'bad'; END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (polite(title));",
        rejects=REJECTS["one conversation"],
    ),
    "a function that changes parameters of the session": Case(
        "CREATE FUNCTION polite(t text) RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM set_config('datestyle', 'German', false), set_config('timezone', 'Asia/Tokyo', false),"
        " set_config('extra_float_digits', '-15', false), set_config('bytea_output', 'escape', false),"
        " set_config('standard_conforming_strings', 'off', false); RETURN t <> 'bad'; END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (polite(title));",
        rejects=REJECTS["one conversation"],
    ),
    "a check that depends on the session": Case(
        "ALTER TABLE users ADD CONSTRAINT mine CHECK (current_setting('application_name') <> 'psql');"
        "ALTER TABLE users ADD COLUMN made_by text DEFAULT current_setting('application_name');"
        "ALTER TABLE users ADD COLUMN who name DEFAULT current_user;"
    ),
    "a default that fails": Case(
        "ALTER TABLE users ADD COLUMN part integer;"
        "ALTER TABLE users ALTER part SET DEFAULT 1 / (length(current_user) - length(current_user));",
        rejects={"users": {"target_constraint": 4}, "conversations": {"orphan": 7}, "messages": {"orphan": 14}},
        words=("column part of users cannot be rehearsed",), unpredicted=True,
    ),
    "a check that waits": Case(
        "CREATE FUNCTION slow(t text) RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_sleep(0.01); RETURN t <> 'bad'; END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (slow(title));"
        + DATABASE.format("SET lock_timeout = 1"),
        rejects=REJECTS["one conversation"],
    ),
    "a type with the name of an enum in a schema that is searched first": Case(
        "CREATE SCHEMA app; CREATE TABLE app.users (id integer); CREATE TABLE app.messages (id integer);"
        "CREATE TYPE app.message_role AS ENUM ('x'); CREATE FUNCTION app.vector() RETURNS integer LANGUAGE sql"
        " AS 'SELECT 1';"
        "CREATE DOMAIN app.vector AS text;" + DATABASE.format("SET search_path = app, public")
    ),
    "a privilege that the owner of a table lacks": Case(
        "", role=True, grants="REVOKE UPDATE ON conversations FROM {role};", code=3,
        words=("lacks the privilege UPDATE on table conversations", 'GRANT UPDATE ON'),
    ),
    "collations of the owner": Case(
        "CREATE COLLATION public.posix (locale = 'C'); CREATE UNIQUE INDEX one ON users (name COLLATE public.posix);"
        "CREATE DOMAIN public.low AS text COLLATE public.posix CHECK (VALUE <> 'bad');"
        "ALTER TABLE conversations ADD COLUMN low public.low GENERATED ALWAYS AS (title::public.low) STORED;",
        rejects=REJECTS["one conversation"],
    ),
    "an event trigger that logs indexes only": Case(
        LOG + TELL + EVENT.format("IF TG_TAG = 'CREATE INDEX' THEN PERFORM public.tell(); END IF;") + ON_DDL,
        code=3, words=("writes to public.log", "ALTER EVENT TRIGGER on_ddl DISABLE"),
    ),
    "an event trigger that finds a function by the search path": Case(
        EVENT.format("PERFORM tell();") + "CREATE FUNCTION tell() RETURNS void LANGUAGE sql AS 'SELECT NULL::void';"
        + ON_DDL,
        code=3, words=("a schema change fails", "ALTER EVENT TRIGGER on_ddl DISABLE"),
    ),
    "a dropped column, and a partial index of another": Case(
        ROW.format(name="x") + "CREATE TABLE notes (id integer);"
        "ALTER TABLE users ADD COLUMN a text, ADD COLUMN b text;"
        "ALTER TABLE users DROP COLUMN a; CREATE INDEX ON users (b) WHERE b IS NOT NULL;"
    ),
}  # fmt: skip
QUICK = frozenset({"schemas with odd names in the search path"})


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("owner") / "dump", make_documents())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in CASES]
)
def test_an_unusual_target(name: str, server: Server, template: str, dump: Path, tmp_path: Path) -> None:
    """`plan` predicts the outcome; a run that it permits is verified and reverted; any other run writes nothing."""
    case = CASES[name]
    check_case(case, set_up(server, template, case), server, dump, tmp_path)
