"""Tables, columns, constraints, indexes, enums, policies, row security, rights, and what should not be there at all."""

from __future__ import annotations

from tests.mutations.base import Bench, Kind, Planted, table_of

CATALOG: dict[str, Kind] = {}
plant = table_of(CATALOG)
BEYOND = "catalog: rights and other objects"
# (table, column, what it refers to), of tables with rows
REFERENCES = (
    ("messages", "conversation_id", "conversations"),
    ("conversations", "user_id", "users"),
    ("files", "user_id", "users"),
    ("memories", "user_id", "users"),
    ("transactions", "user_id", "users"),
    ("modules", "course_id", "courses"),
)


def pick_object(bench: Bench, query: str) -> tuple[str, str]:
    """A random (table, name) of what a query of the catalog finds."""
    found = bench.run(query)
    return bench.chance.choice(sorted(found))


CONSTRAINTS = (
    "SELECT c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
    " WHERE c.relnamespace = 'public'::regnamespace AND k.contype = "
)
INDEXES = (
    "SELECT tablename, indexname FROM pg_indexes i WHERE schemaname = 'public' AND NOT EXISTS"
    " (SELECT FROM pg_constraint k WHERE k.conname = i.indexname)"
)
POLICIES = "SELECT tablename, policyname FROM pg_policies WHERE schemaname = 'public'"


def orphan(bench: Bench, then: str) -> Planted:
    """A row that refers to nothing, without its foreign key, or behind one that was never validated."""
    table, column, other = bench.chance.choice(REFERENCES)
    name = f"{table}_{column}_{other}_id_fk"
    (row,) = bench.pick(table)
    bench.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    bench.change("UPDATE {table} SET {column} = gen_random_uuid() WHERE id::text = %s", row, table=table, column=column)
    if then:
        bench.run(
            "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {other} (id)"
            " ON DELETE CASCADE NOT VALID",
            table=table, column=column, other=other, name=name,
        )  # fmt: skip
    return Planted(checks=("foreign key",), row=row, column=column)


@plant("foreign key: dropped, with an orphan")
def key_dropped_orphan(bench: Bench) -> Planted:
    return orphan(bench, "")


@plant("foreign key: NOT VALID, with an orphan behind it")
def key_unchecked_orphan(bench: Bench) -> Planted:
    return orphan(bench, "NOT VALID")


@plant("foreign key: dropped")
def key_dropped(bench: Bench) -> Planted:
    table, name = pick_object(bench, CONSTRAINTS + "'f'")
    bench.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    return Planted(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@plant("foreign key: another action on delete")
def key_action(bench: Bench) -> Planted:
    table, column, other = bench.chance.choice(REFERENCES)
    name = f"{table}_{column}_{other}_id_fk"
    bench.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    bench.run(
        "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {other} (id)",
        table=table, column=column, other=other, name=name,
    )  # fmt: skip
    return Planted(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@plant("foreign key: not validated")
def key_unchecked(bench: Bench) -> Planted:
    table, column, other = bench.chance.choice(REFERENCES)
    name = f"{table}_{column}_{other}_id_fk"
    bench.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    bench.run(
        "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {other} (id) ON DELETE CASCADE"
        " NOT VALID",
        table=table, column=column, other=other, name=name,
    )  # fmt: skip
    return Planted(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@plant("foreign key: its triggers disabled")
def key_disabled(bench: Bench) -> Planted:
    table, column, other = bench.chance.choice(REFERENCES)
    bench.run("ALTER TABLE {table} DISABLE TRIGGER ALL", table=table)
    return Planted(checks=(BEYOND,), row=f"internal trigger RI_FKey_check_ins of {table}_{column}_{other}_id_fk")


@plant("unique constraint: dropped")
def unique_dropped(bench: Bench) -> Planted:
    table, name = pick_object(bench, CONSTRAINTS + "'u'")
    bench.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    return Planted(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@plant("primary key: dropped")
def primary_dropped(bench: Bench) -> Planted:
    table, name = pick_object(bench, CONSTRAINTS + "'p'")
    bench.run("ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE", table=table, name=name)
    return Planted(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@plant("constraint: one more")
def check_added(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run("ALTER TABLE {table} ADD CONSTRAINT planted CHECK (id IS NOT NULL)", table=table)
    return Planted(checks=(BEYOND,), row=f"constraint {table}.planted")


@plant("index: dropped")
def index_dropped(bench: Bench) -> Planted:
    table, name = pick_object(bench, INDEXES)
    bench.run("DROP INDEX {name}", name=name)
    return Planted(checks=("catalog: indexes",), row=f"index {table}.{name}")


@plant("index: of the same name on another column")
def index_altered(bench: Bench) -> Planted:
    table, name = pick_object(bench, INDEXES + " AND indexname <> 'users_email_idx'")
    bench.run("DROP INDEX {name}", name=name)
    bench.run("CREATE INDEX {name} ON {table} (created_at)", name=name, table=table)
    return Planted(checks=("catalog: indexes",), row=f"index {table}.{name}")


@plant("index: invalid")
def index_invalid(bench: Bench) -> Planted:
    table, name = pick_object(bench, INDEXES)
    bench.change("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", name)
    return Planted(checks=("catalog: indexes",), row=f"index {table}.{name}")


@plant("index: one more")
def index_added(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run("CREATE INDEX planted ON {table} (updated_at)", table=table)
    return Planted(checks=(BEYOND,), row=f"index {table}.planted")


@plant("policy: dropped")
def policy_dropped(bench: Bench) -> Planted:
    table, name = pick_object(bench, POLICIES)
    bench.run("DROP POLICY {name} ON {table}", name=name, table=table)
    return Planted(checks=("catalog: policies",), row=f"policy {table}.{name}")


@plant("policy: lets everybody see")
def policy_altered(bench: Bench) -> Planted:
    table, name = pick_object(bench, POLICIES)
    bench.run("ALTER POLICY {name} ON {table} USING (true)", name=name, table=table)
    return Planted(checks=("catalog: policies",), row=f"policy {table}.{name}")


@plant("policy: really lets everybody see")
def policy_seen(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run("CREATE POLICY planted ON {table} USING (true)", table=table)
    return Planted(checks=("row security",), row=f"table {table}", column="without a tenant", fault="")


@plant("policy: one more")
def policy_added(bench: Bench) -> Planted:
    table, _ = pick_object(bench, POLICIES)
    bench.run("CREATE POLICY planted ON {table} FOR SELECT USING (false)", table=table)
    return Planted(checks=(BEYOND,), row=f"policy {table}.planted")


@plant("row security: off")
def security_off(bench: Bench) -> Planted:
    table, _ = pick_object(bench, POLICIES)
    bench.run("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY", table=table)
    return Planted(checks=("catalog: row security",), row=f"row_security {table}")


@plant("row security: forced")
def security_forced(bench: Bench) -> Planted:
    table, _ = pick_object(bench, POLICIES)
    bench.run("ALTER TABLE {table} FORCE ROW LEVEL SECURITY", table=table)
    return Planted(checks=("catalog: row security",), row=f"row_security {table}")


@plant("enum: a label more")
def label_added(bench: Bench) -> Planted:
    name = bench.chance.choice(("role", "tier"))
    bench.run("ALTER TYPE {name} ADD VALUE 'planted'", name=name)
    return Planted(checks=("catalog: enums",), row=f"enum {name}")


@plant("enum: a label renamed")
def label_renamed(bench: Bench) -> Planted:
    name, label = bench.chance.choice((("role", "user"), ("tier", "free"), ("tier", "pro")))
    bench.run(f"ALTER TYPE {{name}} RENAME VALUE '{label}' TO 'planted'", name=name)
    return Planted(checks=("catalog: enums",), row=f"enum {name}")


def pick_column(bench: Bench, where: str) -> tuple[str, str]:
    return pick_object(
        bench,
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND "
        + where,
    )


@plant("column: default dropped")
def default_dropped(bench: Bench) -> Planted:
    table, column = pick_column(bench, "column_default IS NOT NULL")
    bench.run("ALTER TABLE {table} ALTER {column} DROP DEFAULT", table=table, column=column)
    return Planted(checks=("catalog: columns",), row=f"column {table}.{column}")


@plant("column: a default of its own")
def default_added(bench: Bench) -> Planted:
    table, column = pick_column(bench, "column_default IS NULL AND data_type = 'text'")
    bench.run("ALTER TABLE {table} ALTER {column} SET DEFAULT ''", table=table, column=column)
    return Planted(checks=("catalog: columns",), row=f"column {table}.{column}")


@plant("column: may be null")
def null_allowed(bench: Bench) -> Planted:
    table, column = pick_column(bench, "is_nullable = 'NO' AND column_name <> 'id'")
    bench.run("ALTER TABLE {table} ALTER {column} DROP NOT NULL", table=table, column=column)
    return Planted(checks=("catalog: columns",), row=f"column {table}.{column}")


@plant("column: another type")
def type_other(bench: Bench) -> Planted:
    where = "data_type = 'text' AND column_name NOT IN ('id', 'content', 'value', 'key', 'agent_id')"
    table, column = pick_column(bench, where)
    bench.run("ALTER TABLE {table} ALTER {column} TYPE varchar(100000)", table=table, column=column)
    return Planted(checks=("catalog: columns",), row=f"column {table}.{column}")


@plant("column: gone")
def column_gone(bench: Bench) -> Planted:
    table, column = pick_column(bench, "column_name NOT IN ('id', 'tenant_id')")
    bench.run("ALTER TABLE {table} DROP COLUMN {column} CASCADE", table=table, column=column)
    return Planted(checks=("catalog: columns",), row=f"column {table}.{column}")


@plant("column: one more")
def column_added(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run("ALTER TABLE {table} ADD COLUMN planted text", table=table)
    return Planted(checks=(BEYOND,), row=f"column {table}.planted")


@plant("column: renamed")
def column_renamed(bench: Bench) -> Planted:
    table, column = pick_column(bench, "column_name NOT IN ('id', 'tenant_id')")
    bench.run("ALTER TABLE {table} RENAME {column} TO planted", table=table, column=column)
    return Planted(checks=("catalog: columns",), row=f"column {table}.{column}")


@plant("table: gone")
def table_gone(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run("DROP TABLE {table} CASCADE", table=table)
    return Planted(checks=("catalog: tables",), row=f"table {table}")


@plant("table: unlogged")
def table_unlogged(bench: Bench) -> Planted:
    table = bench.chance.choice(("memories", "transactions", "modules", "document_chunks"))
    bench.run("ALTER TABLE {table} SET UNLOGGED", table=table)
    return Planted(checks=("catalog: tables",), row=f"table {table}")


@plant("rights: granted to everybody")
def rights_public(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    right = bench.chance.choice(("SELECT", "INSERT", "UPDATE", "DELETE"))
    bench.run(f"GRANT {right} ON {{table}} TO PUBLIC", table=table)
    return Planted(checks=(BEYOND,), row=f"privilege {table} {right} to PUBLIC")


@plant("rights: on a column")
def rights_column(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run("GRANT UPDATE (created_at) ON {table} TO PUBLIC", table=table)
    return Planted(checks=(BEYOND,), row=f"privilege {table}.created_at UPDATE to PUBLIC")


@plant("rights: taken from the owner")
def rights_revoked(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run("REVOKE TRUNCATE ON {table} FROM CURRENT_USER", table=table)
    return Planted(checks=(BEYOND,), row=f"privilege {table} TRUNCATE to ")


@plant("owner: another role")
def owner_other(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run("ALTER TABLE {table} OWNER TO pg_monitor", table=table)
    return Planted(checks=(BEYOND,), row=f"owner of {table}")


@plant("trigger: one that was not there")
def trigger_added(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run(
        "CREATE TRIGGER planted BEFORE UPDATE ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        table=table,
    )
    return Planted(checks=(BEYOND,), row=f"trigger planted of {table}")


@plant("rule: one that was not there")
def rule_added(bench: Bench) -> Planted:
    table, *_ = bench.chance.choice(REFERENCES)
    bench.run("CREATE RULE planted AS ON DELETE TO {table} DO INSTEAD NOTHING", table=table)
    return Planted(checks=(BEYOND,), row=f"rule planted of {table}")


@plant("sequence: one that was not there")
def sequence_added(bench: Bench) -> Planted:
    bench.run("CREATE SEQUENCE planted")
    return Planted(checks=(BEYOND,), row="sequence planted")


@plant("table: one that was not there")
def table_added(bench: Bench) -> Planted:
    bench.run("CREATE TABLE planted AS SELECT id FROM messages")
    return Planted(checks=(BEYOND,), row="relation planted")


@plant("view: one that was not there")
def view_added(bench: Bench) -> Planted:
    bench.run("CREATE VIEW planted AS SELECT email, password FROM users")
    return Planted(checks=(BEYOND,), row="relation planted")


@plant("function: one that was not there")
def function_added(bench: Bench) -> Planted:
    bench.run("CREATE FUNCTION planted() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    return Planted(checks=(BEYOND,), row="function planted()")
