"""Targets whose owner has functions, operators, casts, types and relations that fit better than those of pg_catalog.

PostgreSQL chooses the best match over all schemas of the search path, so an owner's object can replace the one that a
statement means. Sessions of migrate search no schema of the owner; the owner's own functions see the owner's path.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.test_owner_objects import REJECTS, ROW, Case, check_case, make_documents, set_up
from tests.archive_writer import write_folder
from tests.driving import call, dump_database
from tests.scenarios import write_config
from tests.target_server import Server

pytestmark = pytest.mark.usefixtures("quick")

WRONG = "RAISE EXCEPTION 'the function of the owner was used';"


def function(name: str, arguments: str, result: str = "text", schema: str = "public") -> str:
    """A function that fails when it is called."""
    body = f"$$ BEGIN {WRONG} END $$"
    return f"CREATE FUNCTION {schema}.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS {body};"


def functions(*signatures: str, schema: str = "public") -> str:
    """Functions given as `name(arguments) result`."""
    made = []
    for each in signatures:
        name, _, rest = each.partition("(")
        arguments, _, result = rest.rpartition(")")
        made.append(function(name, arguments, result.strip() or "text", schema))
    return "".join(made)


def operators(*signatures: str, result: str = "boolean") -> str:
    """Operators given as `left operator right`; they fail when they are used."""
    made = ""
    for number, each in enumerate(signatures):
        left, name, right = each.split()
        made += functions(f"op_{number}_{result}({left}, {right}) {result}")
        made += (
            f"CREATE OPERATOR public.{name} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = op_{number}_{result});"
        )
    return made


def aggregate(name: str, argument: str) -> str:
    """An aggregate that fails when it is used."""
    step = f"step_{name}_{argument}".replace("[]", "s")
    return (
        functions(f"{step}(bigint, {argument}) bigint")
        + f"CREATE AGGREGATE public.{name}({argument}) (SFUNC = public.{step}, STYPE = bigint, INITCOND = '7');"
    )


AGGREGATES = "".join(
    aggregate(name, argument)
    for name, argument in [
        ("count", "anyelement"), ("max", "uuid"), ("min", "uuid"), ("array_agg", "text"), ("array_agg", "uuid"),
        ("string_agg", "text"), ("sum", "smallint"), ("bool_or", "anyelement"),
    ]
)  # fmt: skip
SETS = functions(
    "unnest(uuid[]) SETOF uuid", "unnest(text[]) SETOF text", "unnest(bytea[]) SETOF bytea",
    "unnest(smallint[]) SETOF smallint", "unnest(name[]) SETOF name", "generate_series(integer, bigint) SETOF bigint",
    "pg_options_to_table(varchar[]) SETOF record",
)  # fmt: skip
VALUES = functions(
    "lower(varchar)", "md5(varchar)", "md5(name)", "length(varchar) integer", "array_length(uuid[], integer) integer",
    "jsonb_build_object(text, text) jsonb", "to_jsonb(bigint) jsonb", "to_jsonb(text) jsonb",
    "jsonb_set(jsonb, varchar[], jsonb) jsonb", "coalesce_it(text, text)", "concat_ws(text, text, text)",
    "to_tsvector(text, text) tsvector", "starts_with(varchar, varchar) boolean", "array_send(real[]) bytea",
    "hashtextextended(text, integer) bigint", "array_to_string(text[], text)", "format(text, name)",
    "format(text, text, text)", "quote_ident(name)", "octet_length(varchar) integer", "age(xid, xid) integer",
    "format_type(oid, bigint)", "pg_get_constraintdef(oid, text)", "pg_get_expr(pg_node_tree, bigint)",
    "obj_description(oid, varchar)", "to_regclass(varchar) regclass", "set_config(varchar, varchar, boolean)",
    "current_setting(varchar)", "current_setting(varchar, boolean)", "has_table_privilege(oid, varchar) boolean",
    "pg_table_size(oid) bigint", "greatest_of(text, text)", "regexp_replace(text, varchar, varchar)",
    "md5(text)", "now() timestamptz", "lower(text)", "length(text) integer", "set_config(text, text, boolean)",
    "sha256(text) bytea", "has_schema_privilege(name, varchar) boolean", "array_position(uuid[], uuid) integer",
    "array_remove(text[], text) text[]", "num_nulls(text, text) integer",
)  # fmt: skip
COMPARISONS = operators(
    "uuid = text", "text = uuid", "varchar = varchar", "name = varchar", "uuid[] = uuid[]", "text[] = text[]",
    "uuid <> text", "varchar <> varchar", "jsonb = text", "bytea = text", "smallint = oid", "oid = bigint",
    "xid = integer", "timestamp > text", "uuid = uuid", "text = text", "name = text",
)  # fmt: skip
COMBINATIONS = (
    operators("text || uuid", "text || bigint", "text || text[]", "uuid || text", "varchar || varchar", result="text")
    + operators("jsonb -> varchar", "json ->> name", "jsonb ->> varchar", result="text")
    + operators("timestamp + text", "bigint * integer", "bigint + text", result="bigint")
)
TYPES = (
    "".join(
        f'CREATE DOMAIN public."{name}" AS pg_catalog.int4;'
        for name in (
            "text",
            "jsonb",
            "bytea",
            "timestamptz",
            "timestamp",
            "name",
            "regclass",
            "oid",
            "xid",
            "tid",
            "int8",
        )
    )
    + "CREATE TYPE public.uuid AS ENUM ('a'); CREATE TYPE public.tsvector AS (a pg_catalog.int4);"
)
RELATIONS = "".join(
    f"CREATE TABLE public.{name} (id pg_catalog.int4);"
    for name in (
        "pg_class",
        "pg_attribute",
        "pg_namespace",
        "pg_constraint",
        "pg_index",
        "pg_type",
        "pg_settings",
        "pg_roles",
        "pg_proc",
        "pg_depend",
        "pg_stat_activity",
        "pg_database",
        "runs",
        "ledger",
        "steps",
        "listed_rows",
        "marked",
        "compared_ids",
        "changed_residues",
        "invalid_parents",
        "migrator_owned_rows",
        "incoming_users",
    )
) + (
    "CREATE VIEW public.pg_trigger AS SELECT 1 AS tgname;CREATE VIEW public.pg_extension AS SELECT 'vector' AS extname;"
)
# All names are found by the owner's search path only, at the time of the call.
HELPERS = (
    "SET check_function_bodies = off; CREATE SCHEMA app; CREATE DOMAIN app.word AS text;"
    "CREATE FUNCTION app.bad() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'bad'::text $$;"
    "CREATE FUNCTION app.polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
    " AS $$ DECLARE w word; BEGIN w := bad(); RETURN t <> w; END $$;"
    "CREATE FUNCTION app.polite_sql(t text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT t <> bad() $$;"
    "CREATE FUNCTION app.short(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql"
    " AS $$ BEGIN RETURN left(t, 3) || bad(); END $$;"
)
IN_APP = (
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = {}', current_database()); END $$;"
    + HELPERS
    + "SET search_path = app, public;"
    + "ALTER TABLE public.conversations ADD CONSTRAINT polite CHECK (app.polite(title));"
    "ALTER TABLE public.users ADD COLUMN short text DEFAULT app.short('x');"
    "ALTER TABLE public.users ADD COLUMN low text GENERATED ALWAYS AS (app.short(name)) STORED;"
)
CASES: dict[str, Case] = {
    "aggregates": Case(AGGREGATES),
    "functions that return sets": Case(SETS + ROW.format(name="x")),
    "functions": Case(VALUES),
    "operators that compare": Case(COMPARISONS),
    "operators that combine": Case(COMBINATIONS),
    "types": Case(TYPES),
    "relations": Case(RELATIONS),
    "functions, operators, types and relations": Case(
        AGGREGATES + SETS + VALUES + COMPARISONS + COMBINATIONS + RELATIONS + TYPES,
        settings={"embedding": {"provider": "local"}},
    ),
    "the same, and rows": Case(
        ROW.format(name="x") + AGGREGATES + SETS + VALUES + COMPARISONS + COMBINATIONS + RELATIONS + TYPES
    ),
    "the same, and constraints that refuse rows": Case(
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (title <> 'bad');"
        "ALTER TABLE conversations ADD CONSTRAINT recent CHECK (last_message_at IS NULL OR title <> '17');"
        + AGGREGATES + SETS + VALUES + COMPARISONS + COMBINATIONS + RELATIONS + TYPES,
        rejects={"conversations": {"target_constraint": 2}, "messages": {"orphan": 4}},
    ),
    "a text search configuration and a collation": Case(
        "CREATE TEXT SEARCH CONFIGURATION public.english (COPY = pg_catalog.simple);"
        "CREATE COLLATION public.\"C\" (locale = 'C.UTF-8'); CREATE COLLATION public.\"default\" (locale = 'C');"
    ),
    # Casts
    "an implicit cast from uuid to integer": Case(
        function("to_number", "uuid", "integer")
        + "CREATE CAST (uuid AS integer) WITH FUNCTION to_number(uuid) AS IMPLICIT;"
    ),
    "a cast from text to an enum": Case(
        "DO $$ BEGIN EXECUTE (SELECT format('CREATE CAST (text AS %s) WITH INOUT AS IMPLICIT', a.atttypid::regtype)"
        " FROM pg_attribute a WHERE a.attrelid = 'messages'::regclass AND a.attname = 'role'); END $$;"
    ),
    "a cast from varchar to uuid": Case("CREATE CAST (varchar AS uuid) WITH INOUT AS IMPLICIT;"),
    "a cast from text to jsonb": Case("CREATE CAST (text AS jsonb) WITH INOUT AS IMPLICIT;"),
    "an implicit cast from uuid to text": Case("CREATE CAST (uuid AS text) WITH INOUT AS IMPLICIT;"),
    "an implicit cast from bigint to text": Case("CREATE CAST (bigint AS text) WITH INOUT AS IMPLICIT;"),
    "implicit casts from and to text": Case(
        "".join(
            f"CREATE CAST ({one} AS text) WITH INOUT AS IMPLICIT; CREATE CAST (text AS {one}) WITH INOUT AS IMPLICIT;"
            for one in ("uuid", "integer", "bigint", "timestamp", "bytea", "jsonb", "interval", "double precision")
        )
    ),
    "a cast from uuid to text by a function": Case(
        "CREATE FUNCTION public.as_text(uuid) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 'x'; END $$;"
        "CREATE CAST (uuid AS text) WITH FUNCTION public.as_text(uuid);",
        code=3, words=("cast", "public.as_text(uuid)", "DROP CAST (uuid AS text)"),
    ),
    "a cast from text to uuid by a function": Case(
        "CREATE FUNCTION public.as_uuid(text) RETURNS uuid IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN gen_random_uuid(); END $$;"
        "CREATE CAST (text AS uuid) WITH FUNCTION public.as_uuid(text) AS ASSIGNMENT;",
        code=3, words=("cast", "public.as_uuid(text)", "DROP CAST (text AS uuid)"),
    ),
    "a cast of an own type": Case(
        "CREATE TYPE public.point3 AS (x integer);"
        "CREATE FUNCTION public.as_text(point3) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'x' $$;"
        "CREATE CAST (public.point3 AS text) WITH FUNCTION public.as_text(public.point3) AS IMPLICIT;"
    ),
    # The search path of the owner
    "the owner searches public before pg_catalog": Case(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());"
        " END $$;"
        + functions(
            "lower(text)", "now() timestamptz", "length(text) integer", "current_setting(text)",
            "pg_backend_pid() integer",
            "set_config(text, text, boolean)", "max(timestamp) timestamp", "to_regclass(text) regclass",
        )
        + operators("uuid = uuid", "text = text", "timestamp <> timestamp", "tid = tid", "oid = oid")
        + RELATIONS + TYPES
    ),
    "functions that find others by the search path of the database": Case(
        IN_APP.format("app, public"), rejects=REJECTS["one conversation"]
    ),
    "the same, with a schema of the role": Case(
        "", role=True, rejects=REJECTS["one conversation"],
        grants="CREATE SCHEMA {role}; ALTER SCHEMA {role} OWNER TO {role};"
        + HELPERS.replace("CREATE SCHEMA app; ", "").replace("app.", "{role}.")
        + "ALTER TABLE public.conversations ADD CONSTRAINT polite CHECK ({role}.polite(title));",
    ),
    "functions that need what a rehearsal does not have": Case(
        "CREATE TYPE pair AS (word text); CREATE FUNCTION polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
        " AS $$ DECLARE w pair; BEGIN w.word := 'bad'; RETURN t <> w.word; END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (polite(title));",
        words=("constraint polite of conversations cannot be rehearsed",), rejects=REJECTS["one conversation"],
        unpredicted=True,
    ),
    "an index on a function that finds others by the search path": Case(
        "CREATE FUNCTION bad() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'bad'::text $$;"
        "CREATE FUNCTION low(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN CASE WHEN to_regprocedure('bad()') IS NULL THEN 'x' ELSE lower(t) END; END $$;"
        "CREATE UNIQUE INDEX one_name ON users (low(name));", rejects=REJECTS["one user"]
    ),
    "a trigger of another table that a deletion fires": Case(
        ROW.format(name="x")
        + "CREATE FUNCTION bad() RETURNS integer LANGUAGE sql AS 'SELECT 7';"
        "CREATE TABLE notes (id integer PRIMARY KEY, user_id uuid REFERENCES users ON DELETE SET NULL);"
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := bad(); RETURN NEW; END $$;"
        "CREATE TRIGGER tell BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION tell();"
    ),
}  # fmt: skip
QUICK = frozenset(
    {"functions, operators, types and relations", "functions that find others by the search path of the database"}
)


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("owner") / "dump", make_documents())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in CASES]
)
def test_a_target_whose_objects_fit_better(
    name: str, server: Server, template: str, dump: Path, tmp_path: Path
) -> None:
    """`plan` predicts the outcome; a run that it permits is verified and reverted; any other run writes nothing."""
    case = CASES[name]
    check_case(case, set_up(server, template, case), server, dump, tmp_path)


def test_a_function_that_cannot_work(server: Server, template: str, dump: Path, tmp_path: Path) -> None:
    """`plan` names the error as a blocker; a run without a plan stops with it, and `revert` restores the target."""
    case = Case(
        "CREATE FUNCTION polite(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN gone(); END $$;"
        "ALTER TABLE conversations ADD CONSTRAINT polite CHECK (polite(title));"
    )
    url = set_up(server, template, case)
    config = write_config(tmp_path / "migrate.toml", f"dump:{dump}", url, {"engine": {"workers": 1}})
    before = dump_database(url)
    for arguments, code in ((["plan"], 3), (["run", "--yes"], 7)):
        told = call(*arguments, "-c", config)
        assert told.code == code, told.told
        assert "a function of the target's owner fails: function gone() does not exist" in told.told
    reverted = call("revert", "--yes", "-c", config)
    assert reverted.code == 0, reverted.told
    assert dump_database(url) == before
