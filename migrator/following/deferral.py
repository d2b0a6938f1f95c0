"""Makes the foreign keys of tables to themselves deferrable while changes are applied, and restores them.

A batch loads the rows of a tree in the order of `_id`, and corrects invalid parents afterwards. The keys are checked at
the end of the transaction. ALTER CONSTRAINT changes the catalog only: no row is read.
"""

from __future__ import annotations

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.postgres import schema_changes, schema_undo
from migrator.postgres.statements import Ref
from migrator.postgres.table_names import name_of
from migrator.rows.store import RowStore

_FIND = """
    SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = confrelid AND condeferrable = %s
       AND conrelid = %s::regclass
"""


def make_deferrable(rows: RowStore) -> None:
    """Make the foreign keys of all trees deferrable, and record how to restore them. Can be repeated."""
    for collection in rows.mappings.values():
        if collection.tree is not None:
            for name in _keys(rows, collection):
                with schema_changes.translate_errors(), rows.connection.transaction():
                    schema_changes.limit_lock_wait(rows.connection)
                    rows.connection.execute(
                        _statement(rows, collection, name, "DEFERRABLE INITIALLY IMMEDIATE").encode()
                    )
                    ref = Ref("foreign_key", name_of(collection.table), name + schema_changes.MADE_DEFERRABLE)
                    restored = _statement(rows, collection, name, "NOT DEFERRABLE")
                    schema_changes.insert(rows.connection, ref, "deferred", restored, restored)


def defer(rows: RowStore, *, only_own: bool) -> None:
    """Check the keys of trees at the end of the transaction. `only_own`: and every other constraint at once."""
    if not only_own:
        rows.connection.execute("SET CONSTRAINTS ALL DEFERRED")
        return
    rows.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    trees = [each for each in rows.mappings.values() if each.tree is not None]
    for name in {name for each in trees for name in _keys(rows, each, is_deferrable=True)}:
        chosen = sql.Identifier(rows.namespace.rows, name)
        rows.connection.execute(sql.SQL("SET CONSTRAINTS {} DEFERRED").format(chosen))


def restore(rows: RowStore) -> None:
    """Make the keys not deferrable again."""
    for record in schema_changes.read(rows.connection):
        if record.action == "deferred" and record.name.endswith(schema_changes.MADE_DEFERRABLE):
            with schema_changes.translate_errors(), rows.connection.transaction():
                schema_changes.limit_lock_wait(rows.connection)
                schema_undo.execute_undo(rows.connection, record)
                schema_changes.delete(rows.connection, record.ref)


def _keys(rows: RowStore, collection: Collection, *, is_deferrable: bool = False) -> list[str]:
    """Return the names of the keys of a table to itself that are, or are not, deferrable."""
    values = (is_deferrable, rows.table(collection).as_string(rows.connection))
    return [row[0] for row in rows.connection.execute(_FIND, values)]


def _statement(rows: RowStore, collection: Collection, name: str, how: str) -> str:
    alter = sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} ").format(rows.table(collection), sql.Identifier(name))
    return alter.as_string(rows.connection) + how
