"""Which rows already have an ID or a unique value, and whether they may be removed."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.foreign_keys import ForeignKey, Relation, find_keys
from migrator.postgres.table_names import name_of
from migrator.reconciliation.order import Incumbent
from migrator.rows.plain_values import as_parameter, plain_value
from migrator.rows.rebuild import read_loaded, rebuild_raw
from migrator.rows.store import RowStore
from migrator.state.row_keys import column_of, key_of, referring_columns
from migrator.translation.encoder import format_target_id


class ExistingRows:
    """The rows in the table of one collection."""

    def __init__(self, rows: RowStore, collection: Collection) -> None:
        self._rows, self._collection = rows, collection

    def find_incumbents(self, row: Row) -> list[tuple[str, Incumbent]]:
        """Return the rows that have the ID or a unique value of `row`: (reject reason, incumbent)."""
        columns = {self._collection.key.column: "duplicate_id", **self._collection.unique}
        found = []
        for column, reason in columns.items():
            found += [(reason, self._incumbent(row_id)) for row_id in self.find_ids(column, row[column])]
        return found

    def find_ids(self, column: str, value: Any) -> list[Any]:
        """Return the IDs of the rows that have a value in a column."""
        found = column_of(self._collection, column)
        expression, given = as_parameter(value, found.kind)
        query = sql.SQL("SELECT {} FROM {} WHERE {} = {}").format(
            key_of(self._collection).value(), self._rows.table(self._collection), found.value(), expression
        )
        rows = self._rows.connection.execute(query, (given,)).fetchall()
        return [plain_value(row_id) for (row_id,) in rows]

    def can_yield(self, incumbent: Incumbent, requested_id: Any) -> bool:
        """Return whether a row may be removed for a row that gets the ID `requested_id`.

        A row that other tables refer to stays, because its removal would delete their rows too. If the new row gets the
        same ID, the references remain valid.
        """
        if incumbent.row_id == requested_id:
            return True
        row_id = format_target_id(incumbent.row_id)
        return not any(self._is_referenced(key, row_id) for key in self._referencing_keys)

    def _is_referenced(self, key: ForeignKey, row_id: str) -> bool:
        query = sql.SQL("SELECT FROM {} WHERE {} LIMIT 1").format(
            key.child.identifier, referring_columns(self._collection, key).is_in()
        )
        return self._rows.connection.execute(query, ([row_id],)).fetchone() is not None

    @cached_property
    def _referencing_keys(self) -> list[ForeignKey]:
        """The foreign keys from other tables to the IDs of this table."""
        relation = Relation.named(name_of(self._collection.table), self._rows.namespace.rows)
        found = find_keys(self._rows.connection, self._collection.table.metadata, self._rows.namespace.rows)
        wanted = key_of(self._collection).columns
        own = {
            relation,
            *(Relation.named(name_of(rule.table), self._rows.namespace.rows) for rule in self._collection.children),
        }
        return [
            key
            for key in found
            if key.parent == relation and {*key.parent_columns} == {*wanted} and key.child not in own
        ]

    def _incumbent(self, row_id: Any) -> Incumbent:
        found = list(read_loaded(self._rows, self._collection, [format_target_id(row_id)]))
        if not found:
            return Incumbent(row_id, None, None, None)
        source_id, row, residue = found[0]
        return Incumbent(row_id, source_id, rebuild_raw(self._collection, source_id, row, residue), row)
