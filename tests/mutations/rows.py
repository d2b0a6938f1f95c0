"""Mutations of rows: deleted, inserted, minimally changed, moved to another parent, owner or tenant."""

from __future__ import annotations

from collections.abc import Callable

from tests.mutations.base import Expectation, Mutation, MutationContext, make_decorator

ROWS: dict[str, Mutation] = {}
mutation = make_decorator(ROWS)
ALONE = ("rows exist", "rows")
OTHER = "0190b5a0-0000-7000-8000-0000000000ff"
LEAVES = ("memories", "modules", "transactions")  # tables without incoming references


def set_value(context: MutationContext, kind: str, expression: str, where: str = "{column} IS NOT NULL") -> Expectation:
    """Set a column of a kind in a random row to an SQL expression over `{column}`."""
    table, column, row = context.pick_value(kind, where)
    context.change_row(
        f"UPDATE {{table}} SET {{column}} = {expression} WHERE id::text = %s", row, table=table, column=column
    )
    return Expectation(checks=("rows",), row=row, column=column)


@mutation("row deleted")
def row_gone(context: MutationContext) -> Expectation:
    table = context.random.choice(LEAVES)
    (row,) = context.pick_row(table)
    context.change_row("DELETE FROM {table} WHERE id::text = %s", row, table=table)
    return Expectation(checks=ALONE, row=row)


@mutation("message deleted")
def message_gone(context: MutationContext) -> Expectation:
    (row,) = context.pick_row("messages", where="NOT EXISTS (SELECT FROM messages c WHERE c.parent_id = t.id)")
    context.change_row("DELETE FROM messages WHERE id::text = %s", row)
    return Expectation(checks=ALONE, row=row)


@mutation("row inserted")
def row_added(context: MutationContext) -> Expectation:
    table = context.random.choice(LEAVES)
    (row,) = context.pick_row(table)
    made = context.run("SELECT gen_random_uuid()::text")[0][0]
    unique = " || '{\"stripe_session_id\": null}'::jsonb" if table == "transactions" else ""
    context.change_row(
        "INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(t)"
        f" || jsonb_build_object('id', %s::text){unique.replace('{', '{{').replace('}', '}}')})).*"
        " FROM {table} t WHERE t.id::text = %s",
        made, row, table=table,
    )  # fmt: skip
    return Expectation(checks=("rows exist",), row=made)


@mutation("text: trailing space added")
def text_space(context: MutationContext) -> Expectation:
    return set_value(context, "text", "{column} || ' '")


@mutation("text: case of a letter changed")
def text_case(context: MutationContext) -> Expectation:
    where = "left({column}, 1) <> upper(left({column}, 1)) AND octet_length({column}) < 500"
    return set_value(context, "text", "upper(left({column}, 1)) || substr({column}, 2)", where)


@mutation("text: last character removed")
def text_shorter(context: MutationContext) -> Expectation:
    return set_value(context, "text", "left({column}, -1)", "length({column}) > 1")


@mutation("text: invisible character added")
def text_normalized(context: MutationContext) -> Expectation:
    return set_value(context, "text", "{column} || chr(8203)")


@mutation("integer: incremented")
def integer_more(context: MutationContext) -> Expectation:
    return set_value(context, "integer", "{column} + 1")


@mutation("integer: decremented")
def integer_less(context: MutationContext) -> Expectation:
    return set_value(context, "integer", "{column} - 1")


@mutation("boolean: inverted")
def boolean_flipped(context: MutationContext) -> Expectation:
    return set_value(context, "boolean", "NOT {column}")


@mutation("timestamp: 1 millisecond later")
def timestamp_later(context: MutationContext) -> Expectation:
    return set_value(context, "timestamp", "{column} + interval '1 millisecond'")


@mutation("timestamp: 1 microsecond earlier")
def timestamp_earlier(context: MutationContext) -> Expectation:
    return set_value(context, "timestamp", "{column} - interval '1 microsecond'")


@mutation("derived date: 1 millisecond later")
def derived_date(context: MutationContext) -> Expectation:
    (row,) = context.pick_row("conversations", where="last_message_at IS NOT NULL")
    context.change_row(
        "UPDATE conversations SET last_message_at = last_message_at + interval '1 millisecond' WHERE id::text = %s", row
    )
    return Expectation(checks=("rows",), row=row, column="last_message_at")


@mutation("enum: other label")
def enum_other(context: MutationContext) -> Expectation:
    table, column, row = context.pick_value("enum")
    label = "CASE {column}::text WHEN 'admin' THEN 'user' ELSE 'admin' END::role"
    if column == "tier":
        label = "CASE {column}::text WHEN 'pro' THEN 'free' ELSE 'pro' END::tier"
    context.change_row(
        f"UPDATE {{table}} SET {{column}} = {label} WHERE id::text = %s", row, table=table, column=column
    )
    return Expectation(checks=("rows",), row=row, column=column)


@mutation("NULL: value removed")
def value_lost(context: MutationContext) -> Expectation:
    table = context.random.choice(("conversations", "courses", "memories", "messages"))
    column = {"conversations": "title", "courses": "description", "memories": "source", "messages": "model"}[table]
    found = context.sample_rows(table, "id::text", f"{column} IS NOT NULL", 1)
    table, column = (table, column) if found else ("conversations", "title")
    (row,) = found[0] if found else context.pick_row(table, where=f"{column} IS NOT NULL")
    context.change_row("UPDATE {table} SET {column} = NULL WHERE id::text = %s", row, table=table, column=column)
    return Expectation(checks=("rows",), row=row, column=column)


@mutation("NULL: text added")
def text_found(context: MutationContext) -> Expectation:
    return set_value(context, "text", "''", "{column} IS NULL")


@mutation("NULL: number added")
def number_found(context: MutationContext) -> Expectation:
    return set_value(context, "integer", "0", "{column} IS NULL")


@mutation("NULL: NULL and false exchanged")
def boolean_null(context: MutationContext) -> Expectation:
    return set_value(context, "boolean", "CASE WHEN {column} IS NULL THEN false END", "true")


OBJECT = "jsonb_typeof({column}) = 'object' AND {column} <> '{}'::jsonb"
KEY = "(SELECT min(k) FROM jsonb_object_keys({column}) k)"


def set_json(context: MutationContext, expression: str, where: str) -> Expectation:
    braced = expression.replace("{}", "{{}}")
    return set_value(context, "jsonb", braced, where)


@mutation("jsonb: key added")
def key_added(context: MutationContext) -> Expectation:
    return set_json(context, "jsonb_set({column}, ARRAY['injected'], 'null'::jsonb)", OBJECT)


@mutation("jsonb: key removed")
def key_lost(context: MutationContext) -> Expectation:
    return set_json(context, f"{{column}} - {KEY}", OBJECT)


@mutation("jsonb: value changed")
def value_changed(context: MutationContext) -> Expectation:
    return set_json(context, f"jsonb_set({{column}}, ARRAY[{KEY}], '\"injected\"'::jsonb)", OBJECT)


@mutation("jsonb: key renamed")
def key_renamed(context: MutationContext) -> Expectation:
    renamed = f"({{column}} - {KEY}) || jsonb_build_object({KEY} || ' ', {{column}} -> {KEY})"
    return set_json(context, renamed, OBJECT)


@mutation("jsonb: 1 changed to 1.0")
def number_scale(context: MutationContext) -> Expectation:
    number = "{column}::text ~ ': [0-9]+[,}]'"
    return set_json(context, "regexp_replace({column}::text, ': ([0-9]+)([,}}])', ': \\1.0\\2')::jsonb", number)


@mutation("jsonb: array order changed")
def array_order(context: MutationContext) -> Expectation:
    where = (
        "jsonb_typeof({column}) = 'array' AND jsonb_array_length(CASE jsonb_typeof({column}) WHEN 'array'"
        " THEN {column} ELSE '[]' END) > 1 AND {column} -> 0 <> {column} -> -1"
    )
    order = "(SELECT jsonb_agg(v ORDER BY n DESC) FROM jsonb_array_elements({column}) WITH ORDINALITY e (v, n))"
    return set_json(context, order, where)


@mutation("jsonb: last array element removed")
def array_shorter(context: MutationContext) -> Expectation:
    where = "jsonb_typeof({column}) = 'array' AND {column} <> '[]'::jsonb"
    return set_json(context, "{column} - -1", where)


@mutation("texts of two rows swapped")
def texts_swapped(context: MutationContext) -> Expectation:
    (one, first), (other, second) = context.sample_rows("messages", "id::text, content", "role = 'user'", 2)
    context.change_row("UPDATE messages SET content = %s WHERE id::text = %s", second, one)
    context.change_row("UPDATE messages SET content = %s WHERE id::text = %s", first, other)
    return Expectation(checks=("rows",), row=one, column="content")


def set_parent(context: MutationContext, row: str, parent: str | None, *checks: str) -> Expectation:
    context.change_row("UPDATE messages SET parent_id = %s::uuid WHERE id::text = %s", parent, row)
    return Expectation(checks=checks or ("rows",), row=row, column="parent_id")


@mutation("parent: other message of the conversation")
def parent_within(context: MutationContext) -> Expectation:
    pair = context.run(
        "SELECT c.id::text, p.id::text FROM messages c JOIN messages p USING (conversation_id)"
        " WHERE c.parent_id IS NOT NULL AND p.id <> c.parent_id AND p.id <> c.id AND p.created_at < c.created_at"
        " ORDER BY 1, 2"
    )
    return set_parent(context, *context.random.choice(pair))


@mutation("parent: message of another conversation")
def parent_across(context: MutationContext) -> Expectation:
    row, conversation = context.pick_row("messages", "id::text, conversation_id::text", "parent_id IS NOT NULL")
    (parent,) = context.pick_row("messages", where=f"conversation_id::text <> '{conversation}'")
    return set_parent(context, row, parent, "tree: parents")


@mutation("parent: removed")
def parent_lost(context: MutationContext) -> Expectation:
    return set_parent(context, context.pick_row("messages", where="parent_id IS NOT NULL")[0], None)


@mutation("parent: the message itself")
def parent_itself(context: MutationContext) -> Expectation:
    (row,) = context.pick_row("messages")
    return set_parent(context, row, row, "tree: parents")


@mutation("parent cycle")
def ring(context: MutationContext) -> Expectation:
    pairs = context.run(
        "SELECT r.id::text, c.id::text FROM messages r JOIN messages c ON c.parent_id = r.id"
        " WHERE r.parent_id IS NOT NULL ORDER BY 1, 2"
    )
    row, child = context.random.choice(pairs)
    return set_parent(context, row, child, "tree: rings")


@mutation("parent cycle without a root")
def root_lost(context: MutationContext) -> Expectation:
    conversations = context.run(
        "SELECT r.id::text, c.id::text, r.conversation_id::text FROM messages r JOIN messages c ON c.parent_id = r.id"
        " WHERE r.parent_id IS NULL AND (SELECT count(*) FROM messages o WHERE o.conversation_id = r.conversation_id"
        " AND o.parent_id IS NULL) = 1 ORDER BY 1, 2"
    )
    row, child, conversation = context.random.choice(conversations)
    set_parent(context, row, child)
    return Expectation(checks=("tree: roots",), row=conversation, column="parent_id", fault="")


@mutation("message moved to another conversation")
def message_moved(context: MutationContext) -> Expectation:
    row, conversation = context.pick_row("messages", "id::text, conversation_id::text")
    (other,) = context.pick_row("conversations", where=f"id::text <> '{conversation}'")
    context.change_row("UPDATE messages SET conversation_id = %s::uuid WHERE id::text = %s", other, row)
    return Expectation(checks=("rows",), row=row, column="conversation_id")


@mutation("owner: other user")
def owner_other(context: MutationContext) -> Expectation:
    table = context.random.choice(("conversations", "files", "memories", "transactions"))
    row, owner = context.pick_row(table, "id::text, user_id::text")
    (other,) = context.pick_row("users", where=f"id::text <> '{owner}'")
    context.change_row("UPDATE {table} SET user_id = %s::uuid WHERE id::text = %s", other, row, table=table)
    return Expectation(checks=("rows",), row=row, column="user_id")


def add_tenant(context: MutationContext) -> None:
    context.change_row("INSERT INTO tenants (id, name, subdomain) VALUES (%s, 'Other', 'other')", OTHER)


@mutation("tenant: row of another tenant")
def tenant_other(context: MutationContext) -> Expectation:
    add_tenant(context)
    table = context.random.choice(("files", "memories", "messages", "modules", "transactions"))
    (row,) = context.pick_row(table)
    context.change_row("UPDATE {table} SET tenant_id = %s WHERE id::text = %s", OTHER, row, table=table)
    return Expectation(checks=("rows exist", "rows"), row=row, column="tenant_id")


@mutation("tenant: reference to another tenant's row")
def tenant_reference(context: MutationContext) -> Expectation:
    add_tenant(context)
    row, owner = context.pick_row("conversations", "id::text, user_id::text")
    context.change_row("UPDATE users SET tenant_id = %s WHERE id::text = %s", OTHER, owner)
    context.run(
        "UPDATE conversations SET tenant_id = %s WHERE user_id::text = %s AND id::text <> %s", OTHER, owner, row
    )
    return Expectation(checks=("tenant",), row=row, column="user_id", fault="")


@mutation("tenant: nonexistent tenant, foreign keys dropped")
def tenant_gone(context: MutationContext) -> Expectation:
    table = context.random.choice(("files", "memories", "messages"))
    (row,) = context.pick_row(table)
    name = f"{table}_tenant_id_tenants_id_fk"
    context.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    context.change_row("UPDATE {table} SET tenant_id = gen_random_uuid() WHERE id::text = %s", row, table=table)
    return Expectation(checks=("foreign key",), row=row, column="tenant_id")


@mutation("ID: changed")
def id_other(context: MutationContext) -> Expectation:
    table = context.random.choice(LEAVES)
    (row,) = context.pick_row(table)
    context.change_row("UPDATE {table} SET id = gen_random_uuid() WHERE id::text = %s", row, table=table)
    return Expectation(checks=ALONE, row=row)


def id_and_ledger(context: MutationContext, made: Callable[[str], str]) -> Expectation:
    table, collection = context.random.choice((("memories", "memoryentries"), ("modules", "modules")))
    found = context.run(
        "SELECT t.id::text, encode(substr(l.source_id, 10, 12), 'hex') FROM {table} t JOIN migrator.ledger l"
        " ON l.target_id = t.id::text AND l.collection = %s ORDER BY 1",
        collection, table=table,
    )  # fmt: skip
    row, source_id = context.random.choice(found)
    context.change_row("UPDATE {table} SET id = %s::uuid WHERE id::text = %s", made(row), row, table=table)
    context.change_row("UPDATE migrator.ledger SET target_id = %s WHERE target_id = %s", made(row), row)
    return Expectation(checks=("ids",), row=f"{collection} {source_id}", column="target_id")


@mutation("ID: not a version 7 UUID, also in the ledger")
def id_not_seven(context: MutationContext) -> Expectation:
    return id_and_ledger(context, lambda row: row[:14] + "4" + row[15:])


@mutation("ID: one bit changed, also in the ledger")
def id_bit(context: MutationContext) -> Expectation:
    return id_and_ledger(context, lambda row: row[:-4] + format(int(row[-4:], 16) ^ 0x0400, "04x"))
