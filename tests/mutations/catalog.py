"""Mutations of the catalog: schema objects, row-level security, privileges, and additional objects."""

from __future__ import annotations

from tests.mutations.base import Expectation, Mutation, MutationContext, make_decorator

CATALOG: dict[str, Mutation] = {}
mutation = make_decorator(CATALOG)
BEYOND = "catalog: rights and other objects"
# (table, column, referenced table) of tables that have rows
REFERENCES = (
    ("messages", "conversation_id", "conversations"),
    ("conversations", "user_id", "users"),
    ("files", "user_id", "users"),
    ("memories", "user_id", "users"),
    ("transactions", "user_id", "users"),
    ("modules", "course_id", "courses"),
)


def pick_object(context: MutationContext, query: str) -> tuple[str, str]:
    """Return a random (table, name) from a catalog query."""
    found = context.run(query)
    return context.random.choice(sorted(found))


CONSTRAINTS = (
    "SELECT c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
    " WHERE c.relnamespace = 'public'::regnamespace AND k.contype = "
)
INDEXES = (
    "SELECT tablename, indexname FROM pg_indexes i WHERE schemaname = 'public' AND NOT EXISTS"
    " (SELECT FROM pg_constraint k WHERE k.conname = i.indexname)"
)
POLICIES = "SELECT tablename, policyname FROM pg_policies WHERE schemaname = 'public'"


def orphan(context: MutationContext, then: str) -> Expectation:
    """Make a dangling reference: without the foreign key, or with one that is not validated."""
    table, column, other = context.random.choice(REFERENCES)
    name = f"{table}_{column}_{other}_id_fk"
    (row,) = context.pick_row(table)
    context.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    context.change_row(
        "UPDATE {table} SET {column} = gen_random_uuid() WHERE id::text = %s", row, table=table, column=column
    )
    if then:
        context.run(
            "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {other} (id)"
            " ON DELETE CASCADE NOT VALID",
            table=table, column=column, other=other, name=name,
        )  # fmt: skip
    return Expectation(checks=("foreign key",), row=row, column=column)


@mutation("foreign key: dropped, with a dangling reference")
def key_dropped_orphan(context: MutationContext) -> Expectation:
    return orphan(context, "")


@mutation("foreign key: NOT VALID, with a dangling reference")
def key_unchecked_orphan(context: MutationContext) -> Expectation:
    return orphan(context, "NOT VALID")


@mutation("foreign key: dropped")
def key_dropped(context: MutationContext) -> Expectation:
    table, name = pick_object(context, CONSTRAINTS + "'f'")
    context.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    return Expectation(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@mutation("foreign key: ON DELETE action changed")
def key_action(context: MutationContext) -> Expectation:
    table, column, other = context.random.choice(REFERENCES)
    name = f"{table}_{column}_{other}_id_fk"
    context.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    context.run(
        "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {other} (id)",
        table=table, column=column, other=other, name=name,
    )  # fmt: skip
    return Expectation(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@mutation("foreign key: NOT VALID")
def key_unchecked(context: MutationContext) -> Expectation:
    table, column, other = context.random.choice(REFERENCES)
    name = f"{table}_{column}_{other}_id_fk"
    context.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    context.run(
        "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {other} (id) ON DELETE CASCADE"
        " NOT VALID",
        table=table, column=column, other=other, name=name,
    )  # fmt: skip
    return Expectation(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@mutation("foreign key: triggers disabled")
def key_disabled(context: MutationContext) -> Expectation:
    table, column, other = context.random.choice(REFERENCES)
    context.run("ALTER TABLE {table} DISABLE TRIGGER ALL", table=table)
    return Expectation(checks=(BEYOND,), row=f"internal trigger RI_FKey_check_ins of {table}_{column}_{other}_id_fk")


@mutation("unique constraint: dropped")
def unique_dropped(context: MutationContext) -> Expectation:
    table, name = pick_object(context, CONSTRAINTS + "'u'")
    context.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    return Expectation(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@mutation("primary key: dropped")
def primary_dropped(context: MutationContext) -> Expectation:
    table, name = pick_object(context, CONSTRAINTS + "'p'")
    context.run("ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE", table=table, name=name)
    return Expectation(checks=("catalog: constraints",), row=f"constraint {table}.{name}")


@mutation("constraint: added")
def check_added(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run("ALTER TABLE {table} ADD CONSTRAINT injected CHECK (id IS NOT NULL)", table=table)
    return Expectation(checks=(BEYOND,), row=f"constraint {table}.injected")


@mutation("index: dropped")
def index_dropped(context: MutationContext) -> Expectation:
    table, name = pick_object(context, INDEXES)
    context.run("DROP INDEX {name}", name=name)
    return Expectation(checks=("catalog: indexes",), row=f"index {table}.{name}")


@mutation("index: same name, other column")
def index_altered(context: MutationContext) -> Expectation:
    table, name = pick_object(context, INDEXES + " AND indexname <> 'users_email_idx'")
    context.run("DROP INDEX {name}", name=name)
    context.run("CREATE INDEX {name} ON {table} (created_at)", name=name, table=table)
    return Expectation(checks=("catalog: indexes",), row=f"index {table}.{name}")


@mutation("index: invalid")
def index_invalid(context: MutationContext) -> Expectation:
    table, name = pick_object(context, INDEXES)
    context.change_row("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", name)
    return Expectation(checks=("catalog: indexes",), row=f"index {table}.{name}")


@mutation("index: added")
def index_added(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run("CREATE INDEX injected ON {table} (updated_at)", table=table)
    return Expectation(checks=(BEYOND,), row=f"index {table}.injected")


@mutation("policy: dropped")
def policy_dropped(context: MutationContext) -> Expectation:
    table, name = pick_object(context, POLICIES)
    context.run("DROP POLICY {name} ON {table}", name=name, table=table)
    return Expectation(checks=("catalog: policies",), row=f"policy {table}.{name}")


@mutation("policy: changed to USING (true)")
def policy_altered(context: MutationContext) -> Expectation:
    table, name = pick_object(context, POLICIES)
    context.run("ALTER POLICY {name} ON {table} USING (true)", name=name, table=table)
    return Expectation(checks=("catalog: policies",), row=f"policy {table}.{name}")


@mutation("policy: added with USING (true)")
def policy_seen(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run("CREATE POLICY injected ON {table} USING (true)", table=table)
    return Expectation(checks=("row security",), row=f"table {table}", column="without a tenant", fault="")


@mutation("policy: added with USING (false)")
def policy_added(context: MutationContext) -> Expectation:
    table, _ = pick_object(context, POLICIES)
    context.run("CREATE POLICY injected ON {table} FOR SELECT USING (false)", table=table)
    return Expectation(checks=(BEYOND,), row=f"policy {table}.injected")


@mutation("row-level security: disabled")
def security_off(context: MutationContext) -> Expectation:
    table, _ = pick_object(context, POLICIES)
    context.run("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY", table=table)
    return Expectation(checks=("catalog: row security",), row=f"row_security {table}")


@mutation("row-level security: forced")
def security_forced(context: MutationContext) -> Expectation:
    table, _ = pick_object(context, POLICIES)
    context.run("ALTER TABLE {table} FORCE ROW LEVEL SECURITY", table=table)
    return Expectation(checks=("catalog: row security",), row=f"row_security {table}")


@mutation("enum: label added")
def label_added(context: MutationContext) -> Expectation:
    name = context.random.choice(("role", "tier"))
    context.run("ALTER TYPE {name} ADD VALUE 'injected'", name=name)
    return Expectation(checks=("catalog: enums",), row=f"enum {name}")


@mutation("enum: label renamed")
def label_renamed(context: MutationContext) -> Expectation:
    name, label = context.random.choice((("role", "user"), ("tier", "free"), ("tier", "pro")))
    context.run(f"ALTER TYPE {{name}} RENAME VALUE '{label}' TO 'injected'", name=name)
    return Expectation(checks=("catalog: enums",), row=f"enum {name}")


def pick_column(context: MutationContext, where: str) -> tuple[str, str]:
    return pick_object(
        context,
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND "
        + where,
    )


@mutation("column: default dropped")
def default_dropped(context: MutationContext) -> Expectation:
    table, column = pick_column(context, "column_default IS NOT NULL")
    context.run("ALTER TABLE {table} ALTER {column} DROP DEFAULT", table=table, column=column)
    return Expectation(checks=("catalog: columns",), row=f"column {table}.{column}")


@mutation("column: default added")
def default_added(context: MutationContext) -> Expectation:
    table, column = pick_column(context, "column_default IS NULL AND data_type = 'text'")
    context.run("ALTER TABLE {table} ALTER {column} SET DEFAULT ''", table=table, column=column)
    return Expectation(checks=("catalog: columns",), row=f"column {table}.{column}")


@mutation("column: NOT NULL dropped")
def null_allowed(context: MutationContext) -> Expectation:
    table, column = pick_column(context, "is_nullable = 'NO' AND column_name <> 'id'")
    context.run("ALTER TABLE {table} ALTER {column} DROP NOT NULL", table=table, column=column)
    return Expectation(checks=("catalog: columns",), row=f"column {table}.{column}")


@mutation("column: type changed")
def type_other(context: MutationContext) -> Expectation:
    where = "data_type = 'text' AND column_name NOT IN ('id', 'content', 'value', 'key', 'agent_id')"
    table, column = pick_column(context, where)
    context.run("ALTER TABLE {table} ALTER {column} TYPE varchar(100000)", table=table, column=column)
    return Expectation(checks=("catalog: columns",), row=f"column {table}.{column}")


@mutation("column: dropped")
def column_gone(context: MutationContext) -> Expectation:
    table, column = pick_column(context, "column_name NOT IN ('id', 'tenant_id')")
    context.run("ALTER TABLE {table} DROP COLUMN {column} CASCADE", table=table, column=column)
    return Expectation(checks=("catalog: columns",), row=f"column {table}.{column}")


@mutation("column: added")
def column_added(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run("ALTER TABLE {table} ADD COLUMN injected text", table=table)
    return Expectation(checks=(BEYOND,), row=f"column {table}.injected")


@mutation("column: renamed")
def column_renamed(context: MutationContext) -> Expectation:
    table, column = pick_column(context, "column_name NOT IN ('id', 'tenant_id')")
    context.run("ALTER TABLE {table} RENAME {column} TO injected", table=table, column=column)
    return Expectation(checks=("catalog: columns",), row=f"column {table}.{column}")


@mutation("table: dropped")
def table_gone(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run("DROP TABLE {table} CASCADE", table=table)
    return Expectation(checks=("catalog: tables",), row=f"table {table}")


@mutation("table: set to unlogged")
def table_unlogged(context: MutationContext) -> Expectation:
    table = context.random.choice(("memories", "transactions", "modules", "document_chunks"))
    context.run("ALTER TABLE {table} SET UNLOGGED", table=table)
    return Expectation(checks=("catalog: tables",), row=f"table {table}")


@mutation("privileges: granted to PUBLIC")
def rights_public(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    right = context.random.choice(("SELECT", "INSERT", "UPDATE", "DELETE"))
    context.run(f"GRANT {right} ON {{table}} TO PUBLIC", table=table)
    return Expectation(checks=(BEYOND,), row=f"privilege {table} {right} to PUBLIC")


@mutation("privileges: granted on a column")
def rights_column(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run("GRANT UPDATE (created_at) ON {table} TO PUBLIC", table=table)
    return Expectation(checks=(BEYOND,), row=f"privilege {table}.created_at UPDATE to PUBLIC")


@mutation("privileges: revoked from the owner")
def rights_revoked(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run("REVOKE TRUNCATE ON {table} FROM CURRENT_USER", table=table)
    return Expectation(checks=(BEYOND,), row=f"privilege {table} TRUNCATE to ")


@mutation("owner: other role")
def owner_other(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run("ALTER TABLE {table} OWNER TO pg_monitor", table=table)
    return Expectation(checks=(BEYOND,), row=f"owner of {table}")


@mutation("trigger: added")
def trigger_added(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run(
        "CREATE TRIGGER injected BEFORE UPDATE ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        table=table,
    )
    return Expectation(checks=(BEYOND,), row=f"trigger injected of {table}")


@mutation("rule: added")
def rule_added(context: MutationContext) -> Expectation:
    table, *_ = context.random.choice(REFERENCES)
    context.run("CREATE RULE injected AS ON DELETE TO {table} DO INSTEAD NOTHING", table=table)
    return Expectation(checks=(BEYOND,), row=f"rule injected of {table}")


@mutation("sequence: added")
def sequence_added(context: MutationContext) -> Expectation:
    context.run("CREATE SEQUENCE injected")
    return Expectation(checks=(BEYOND,), row="sequence injected")


@mutation("table: added")
def table_added(context: MutationContext) -> Expectation:
    context.run("CREATE TABLE injected AS SELECT id FROM messages")
    return Expectation(checks=(BEYOND,), row="relation injected")


@mutation("view: added")
def view_added(context: MutationContext) -> Expectation:
    context.run("CREATE VIEW injected AS SELECT email, password FROM users")
    return Expectation(checks=(BEYOND,), row="relation injected")


@mutation("function: added")
def function_added(context: MutationContext) -> Expectation:
    context.run("CREATE FUNCTION injected() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    return Expectation(checks=(BEYOND,), row="function injected()")
