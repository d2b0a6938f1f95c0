"""Rows of the target: gone, added, changed by the least amount, moved in their tree, to another owner or tenant."""

from __future__ import annotations

from collections.abc import Callable

from tests.mutations.base import Bench, Kind, Planted, table_of

ROWS: dict[str, Kind] = {}
plant = table_of(ROWS)
ALONE = ("rows exist", "rows")
OTHER = "0190b5a0-0000-7000-8000-0000000000ff"
LEAVES = ("memories", "modules", "transactions")  # tables that nothing refers to


def set_value(bench: Bench, kind: str, expression: str, where: str = "{column} IS NOT NULL") -> Planted:
    """A column of a kind in a random row gets another value: an SQL expression over `{column}`."""
    table, column, row = bench.column(kind, where)
    bench.change(f"UPDATE {{table}} SET {{column}} = {expression} WHERE id::text = %s", row, table=table, column=column)
    return Planted(checks=("rows",), row=row, column=column)


@plant("row gone")
def row_gone(bench: Bench) -> Planted:
    table = bench.chance.choice(LEAVES)
    (row,) = bench.pick(table)
    bench.change("DELETE FROM {table} WHERE id::text = %s", row, table=table)
    return Planted(checks=ALONE, row=row)


@plant("message gone")
def message_gone(bench: Bench) -> Planted:
    (row,) = bench.pick("messages", where="NOT EXISTS (SELECT FROM messages c WHERE c.parent_id = t.id)")
    bench.change("DELETE FROM messages WHERE id::text = %s", row)
    return Planted(checks=ALONE, row=row)


@plant("row added")
def row_added(bench: Bench) -> Planted:
    table = bench.chance.choice(LEAVES)
    (row,) = bench.pick(table)
    made = bench.run("SELECT gen_random_uuid()::text")[0][0]
    unique = " || '{\"stripe_session_id\": null}'::jsonb" if table == "transactions" else ""
    bench.change(
        "INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(t)"
        f" || jsonb_build_object('id', %s::text){unique.replace('{', '{{').replace('}', '}}')})).*"
        " FROM {table} t WHERE t.id::text = %s",
        made, row, table=table,
    )  # fmt: skip
    return Planted(checks=("rows exist",), row=made)


@plant("text: a trailing space")
def text_space(bench: Bench) -> Planted:
    return set_value(bench, "text", "{column} || ' '")


@plant("text: a letter's case")
def text_case(bench: Bench) -> Planted:
    where = "left({column}, 1) <> upper(left({column}, 1)) AND octet_length({column}) < 500"
    return set_value(bench, "text", "upper(left({column}, 1)) || substr({column}, 2)", where)


@plant("text: the last character lost")
def text_shorter(bench: Bench) -> Planted:
    return set_value(bench, "text", "left({column}, -1)", "length({column}) > 1")


@plant("text: composed differently")
def text_normalized(bench: Bench) -> Planted:
    return set_value(bench, "text", "{column} || chr(8203)")


@plant("integer: one more")
def integer_more(bench: Bench) -> Planted:
    return set_value(bench, "integer", "{column} + 1")


@plant("integer: one less")
def integer_less(bench: Bench) -> Planted:
    return set_value(bench, "integer", "{column} - 1")


@plant("boolean: flipped")
def boolean_flipped(bench: Bench) -> Planted:
    return set_value(bench, "boolean", "NOT {column}")


@plant("timestamp: a millisecond later")
def timestamp_later(bench: Bench) -> Planted:
    return set_value(bench, "timestamp", "{column} + interval '1 millisecond'")


@plant("timestamp: a microsecond earlier")
def timestamp_earlier(bench: Bench) -> Planted:
    return set_value(bench, "timestamp", "{column} - interval '1 microsecond'")


@plant("derived date: a millisecond later")
def derived_date(bench: Bench) -> Planted:
    (row,) = bench.pick("conversations", where="last_message_at IS NOT NULL")
    bench.change(
        "UPDATE conversations SET last_message_at = last_message_at + interval '1 millisecond' WHERE id::text = %s", row
    )
    return Planted(checks=("rows",), row=row, column="last_message_at")


@plant("enum: another label")
def enum_other(bench: Bench) -> Planted:
    table, column, row = bench.column("enum")
    label = "CASE {column}::text WHEN 'admin' THEN 'user' ELSE 'admin' END::role"
    if column == "tier":
        label = "CASE {column}::text WHEN 'pro' THEN 'free' ELSE 'pro' END::tier"
    bench.change(f"UPDATE {{table}} SET {{column}} = {label} WHERE id::text = %s", row, table=table, column=column)
    return Planted(checks=("rows",), row=row, column=column)


@plant("null: a value lost")
def value_lost(bench: Bench) -> Planted:
    table = bench.chance.choice(("conversations", "courses", "memories", "messages"))
    column = {"conversations": "title", "courses": "description", "memories": "source", "messages": "model"}[table]
    found = bench.some(table, "id::text", f"{column} IS NOT NULL", 1)
    table, column = (table, column) if found else ("conversations", "title")
    (row,) = found[0] if found else bench.pick(table, where=f"{column} IS NOT NULL")
    bench.change("UPDATE {table} SET {column} = NULL WHERE id::text = %s", row, table=table, column=column)
    return Planted(checks=("rows",), row=row, column=column)


@plant("null: a text where there was none")
def text_found(bench: Bench) -> Planted:
    return set_value(bench, "text", "''", "{column} IS NULL")


@plant("null: a number where there was none")
def number_found(bench: Bench) -> Planted:
    return set_value(bench, "integer", "0", "{column} IS NULL")


@plant("null: false where there was null, or null where there was false")
def boolean_null(bench: Bench) -> Planted:
    return set_value(bench, "boolean", "CASE WHEN {column} IS NULL THEN false END", "true")


OBJECT = "jsonb_typeof({column}) = 'object' AND {column} <> '{}'::jsonb"
KEY = "(SELECT min(k) FROM jsonb_object_keys({column}) k)"


def set_json(bench: Bench, expression: str, where: str) -> Planted:
    braced = expression.replace("{}", "{{}}")
    return set_value(bench, "jsonb", braced, where)


@plant("jsonb: a key added")
def key_added(bench: Bench) -> Planted:
    return set_json(bench, "jsonb_set({column}, ARRAY['planted'], 'null'::jsonb)", OBJECT)


@plant("jsonb: a key lost")
def key_lost(bench: Bench) -> Planted:
    return set_json(bench, f"{{column}} - {KEY}", OBJECT)


@plant("jsonb: a value changed")
def value_changed(bench: Bench) -> Planted:
    return set_json(bench, f"jsonb_set({{column}}, ARRAY[{KEY}], '\"planted\"'::jsonb)", OBJECT)


@plant("jsonb: a key renamed")
def key_renamed(bench: Bench) -> Planted:
    renamed = f"({{column}} - {KEY}) || jsonb_build_object({KEY} || ' ', {{column}} -> {KEY})"
    return set_json(bench, renamed, OBJECT)


@plant("jsonb: 1 becomes 1.0")
def number_scale(bench: Bench) -> Planted:
    number = "{column}::text ~ ': [0-9]+[,}]'"
    return set_json(bench, "regexp_replace({column}::text, ': ([0-9]+)([,}}])', ': \\1.0\\2')::jsonb", number)


@plant("jsonb: an array's order")
def array_order(bench: Bench) -> Planted:
    where = (
        "jsonb_typeof({column}) = 'array' AND jsonb_array_length(CASE jsonb_typeof({column}) WHEN 'array'"
        " THEN {column} ELSE '[]' END) > 1 AND {column} -> 0 <> {column} -> -1"
    )
    order = "(SELECT jsonb_agg(v ORDER BY n DESC) FROM jsonb_array_elements({column}) WITH ORDINALITY e (v, n))"
    return set_json(bench, order, where)


@plant("jsonb: an array's last element lost")
def array_shorter(bench: Bench) -> Planted:
    where = "jsonb_typeof({column}) = 'array' AND {column} <> '[]'::jsonb"
    return set_json(bench, "{column} - -1", where)


@plant("two texts swapped")
def texts_swapped(bench: Bench) -> Planted:
    (one, first), (other, second) = bench.some("messages", "id::text, content", "role = 'user'", 2)
    bench.change("UPDATE messages SET content = %s WHERE id::text = %s", second, one)
    bench.change("UPDATE messages SET content = %s WHERE id::text = %s", first, other)
    return Planted(checks=("rows",), row=one, column="content")


def set_parent(bench: Bench, row: str, parent: str | None, *checks: str) -> Planted:
    bench.change("UPDATE messages SET parent_id = %s::uuid WHERE id::text = %s", parent, row)
    return Planted(checks=checks or ("rows",), row=row, column="parent_id")


@plant("parent: moved within the conversation")
def parent_within(bench: Bench) -> Planted:
    pair = bench.run(
        "SELECT c.id::text, p.id::text FROM messages c JOIN messages p USING (conversation_id)"
        " WHERE c.parent_id IS NOT NULL AND p.id <> c.parent_id AND p.id <> c.id AND p.created_at < c.created_at"
        " ORDER BY 1, 2"
    )
    return set_parent(bench, *bench.chance.choice(pair))


@plant("parent: moved into another conversation")
def parent_across(bench: Bench) -> Planted:
    row, talk = bench.pick("messages", "id::text, conversation_id::text", "parent_id IS NOT NULL")
    (parent,) = bench.pick("messages", where=f"conversation_id::text <> '{talk}'")
    return set_parent(bench, row, parent, "tree: parents")


@plant("parent: lost")
def parent_lost(bench: Bench) -> Planted:
    return set_parent(bench, bench.pick("messages", where="parent_id IS NOT NULL")[0], None)


@plant("parent: itself")
def parent_itself(bench: Bench) -> Planted:
    (row,) = bench.pick("messages")
    return set_parent(bench, row, row, "tree: parents")


@plant("a ring of messages")
def ring(bench: Bench) -> Planted:
    pairs = bench.run(
        "SELECT r.id::text, c.id::text FROM messages r JOIN messages c ON c.parent_id = r.id"
        " WHERE r.parent_id IS NOT NULL ORDER BY 1, 2"
    )
    row, child = bench.chance.choice(pairs)
    return set_parent(bench, row, child, "tree: rings")


@plant("a root lost to a ring")
def root_lost(bench: Bench) -> Planted:
    talks = bench.run(
        "SELECT r.id::text, c.id::text, r.conversation_id::text FROM messages r JOIN messages c ON c.parent_id = r.id"
        " WHERE r.parent_id IS NULL AND (SELECT count(*) FROM messages o WHERE o.conversation_id = r.conversation_id"
        " AND o.parent_id IS NULL) = 1 ORDER BY 1, 2"
    )
    row, child, talk = bench.chance.choice(talks)
    set_parent(bench, row, child)
    return Planted(checks=("tree: roots",), row=talk, column="parent_id", fault="")


@plant("a message moved to another conversation")
def message_moved(bench: Bench) -> Planted:
    row, talk = bench.pick("messages", "id::text, conversation_id::text")
    (other,) = bench.pick("conversations", where=f"id::text <> '{talk}'")
    bench.change("UPDATE messages SET conversation_id = %s::uuid WHERE id::text = %s", other, row)
    return Planted(checks=("rows",), row=row, column="conversation_id")


@plant("owner: another user")
def owner_other(bench: Bench) -> Planted:
    table = bench.chance.choice(("conversations", "files", "memories", "transactions"))
    row, owner = bench.pick(table, "id::text, user_id::text")
    (other,) = bench.pick("users", where=f"id::text <> '{owner}'")
    bench.change("UPDATE {table} SET user_id = %s::uuid WHERE id::text = %s", other, row, table=table)
    return Planted(checks=("rows",), row=row, column="user_id")


def add_tenant(bench: Bench) -> None:
    bench.change("INSERT INTO tenants (id, name, subdomain) VALUES (%s, 'Other', 'other')", OTHER)


@plant("tenant: a row is another's")
def tenant_other(bench: Bench) -> Planted:
    add_tenant(bench)
    table = bench.chance.choice(("files", "memories", "messages", "modules", "transactions"))
    (row,) = bench.pick(table)
    bench.change("UPDATE {table} SET tenant_id = %s WHERE id::text = %s", OTHER, row, table=table)
    return Planted(checks=("rows exist", "rows"), row=row, column="tenant_id")


@plant("tenant: what a row refers to is another's")
def tenant_reference(bench: Bench) -> Planted:
    add_tenant(bench)
    row, owner = bench.pick("conversations", "id::text, user_id::text")
    bench.change("UPDATE users SET tenant_id = %s WHERE id::text = %s", OTHER, owner)
    bench.run("UPDATE conversations SET tenant_id = %s WHERE user_id::text = %s AND id::text <> %s", OTHER, owner, row)
    return Planted(checks=("tenant",), row=row, column="user_id", fault="")


@plant("tenant: its own row gone, and all keys that would mind")
def tenant_gone(bench: Bench) -> Planted:
    table = bench.chance.choice(("files", "memories", "messages"))
    (row,) = bench.pick(table)
    name = f"{table}_tenant_id_tenants_id_fk"
    bench.run("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=name)
    bench.change("UPDATE {table} SET tenant_id = gen_random_uuid() WHERE id::text = %s", row, table=table)
    return Planted(checks=("foreign key",), row=row, column="tenant_id")


@plant("id: another one")
def id_other(bench: Bench) -> Planted:
    table = bench.chance.choice(LEAVES)
    (row,) = bench.pick(table)
    bench.change("UPDATE {table} SET id = gen_random_uuid() WHERE id::text = %s", row, table=table)
    return Planted(checks=ALONE, row=row)


def id_and_ledger(bench: Bench, made: Callable[[str], str]) -> Planted:
    table, collection = bench.chance.choice((("memories", "memoryentries"), ("modules", "modules")))
    found = bench.run(
        "SELECT t.id::text, encode(substr(l.source_id, 10, 12), 'hex') FROM {table} t JOIN migrator.ledger l"
        " ON l.target_id = t.id::text AND l.collection = %s ORDER BY 1",
        collection, table=table,
    )  # fmt: skip
    row, source_id = bench.chance.choice(found)
    bench.change("UPDATE {table} SET id = %s::uuid WHERE id::text = %s", made(row), row, table=table)
    bench.change("UPDATE migrator.ledger SET target_id = %s WHERE target_id = %s", made(row), row)
    return Planted(checks=("ids",), row=f"{collection} {source_id}", column="target_id")


@plant("id: not a v7, in the ledger neither")
def id_not_seven(bench: Bench) -> Planted:
    return id_and_ledger(bench, lambda row: row[:14] + "4" + row[15:])


@plant("id: a bit of the ObjectId, in the ledger, too")
def id_bit(bench: Bench) -> Planted:
    return id_and_ledger(bench, lambda row: row[:-4] + format(int(row[-4:], 16) ^ 0x0400, "04x"))
