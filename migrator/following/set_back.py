"""Sets documents back: removes their rows and records, and puts the documents into the queue of the batch.

Rows are removed with all rows that hang on them, dependent rows first, so that no foreign key deletes a row silently.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from bson.errors import InvalidBSON
from psycopg import sql

from migrator.documents.codec import decode_untrusted
from migrator.errors import StoppedError
from migrator.following.batch import Batch, DocumentKey, group_by_collection
from migrator.following.closure import Closure, RowIds
from migrator.mapping.collection import Collection
from migrator.postgres.foreign_keys import ForeignKey
from migrator.postgres.table_names import name_of
from migrator.rows.rebuild import read_bson
from migrator.rows.selection import delete_rows, values_of
from migrator.rows.store import RowStore
from migrator.state import wants
from migrator.state.records import Namespace
from migrator.state.row_keys import referring_columns
from migrator.state.wants import Wanted
from migrator.translation.encoder import format_target_id


class SetBack:
    """Sets documents of one batch back. `levels`: the mapped collections, each after those that it refers to."""

    def __init__(self, rows: RowStore, levels: list[list[str]], batch: Batch, closure: Closure) -> None:
        self._rows, self._batch = rows, batch
        self._order = [name for level in reversed(levels) for name in level if name in rows.mappings]
        self.closure = closure

    def documents(self, keys: Iterable[DocumentKey]) -> None:
        """Set documents of any outcome back, with all that hang on them."""
        loaded: RowIds = defaultdict(set)
        unloaded = self.closure.split_loaded(set(keys), loaded)
        self.rows(loaded, unloaded)

    def rows(self, start: Mapping[str, set[str]], unloaded: Iterable[DocumentKey] = ()) -> None:
        """Set rows and documents without a row back, with all that hang on them."""
        found, waiting = self.closure.expand(start)
        more: RowIds = defaultdict(set)
        released: set[Wanted] = set()
        for name, source_ids in group_by_collection({*unloaded, *waiting}).items():
            released |= self._take_unloaded(self._rows.mappings[name], source_ids, more)
        self._remove(found)
        others = self.closure.split_loaded(wants.find(self._rows.connection, self._rows.namespace, released), more)
        if others or any(more.values()):
            self.rows(more, others)

    # --- loaded documents ------------------------------------------------------------------------------------------

    def _remove(self, found: RowIds) -> None:
        for name, ids in found.items():
            if ids:
                self._note_scope(self._rows.mappings[name], sorted(ids))
        for name, ids in found.items():  # before any row is deleted: a document carries values of the rows it refers to
            if ids:
                self._batch.enqueue(name, read_bson(self._rows, self._rows.mappings[name], sorted(ids)))
        for name in self._order:
            if found.get(name):
                self._delete(self._rows.mappings[name], sorted(found[name]))

    def _note_scope(self, collection: Collection, ids: list[str]) -> None:
        """Record which groups, latest values and member lists these rows affect."""
        self._batch.note_scope(self._rows, collection, lambda column: values_of(self._rows, collection, column, ids))

    def _delete(self, collection: Collection, ids: list[str]) -> None:
        """Delete rows and every record about them."""
        connection, namespace, name = self._rows.connection, self._rows.namespace, collection.name
        in_target = namespace == Namespace()  # no key refers to the tables of a scratch schema
        for key in self.closure.keys_to(collection) if in_target else ():
            self._refuse_foreign_rows(key, collection, ids)
        delete_rows(self._rows, collection, ids)
        query = namespace.sql(
            "DELETE FROM {ledger} WHERE collection = %s AND outcome = 'loaded' AND target_id = ANY(%s)"
            " RETURNING source_id"
        )
        source_ids = [bytes(row[0]) for row in connection.execute(query, (name, ids), binary=True)]
        forget(self._rows, name, source_ids)
        listings = list(collection.link_names)
        query = namespace.sql("DELETE FROM {links} WHERE collection = ANY(%s) AND lister = ANY(%s)")
        if listings:
            connection.execute(query, (listings, ids))
        query = namespace.sql("DELETE FROM {aliases} WHERE collection = %s AND target = ANY(%s) RETURNING original_id")
        self._batch.asked[name] |= {row[0] for row in connection.execute(query, (name, ids))} | set(ids)

    def _refuse_foreign_rows(self, key: ForeignKey, collection: Collection, ids: list[str]) -> None:
        """Raises: `StoppedError` if a row that migrate did not load refers to one of the rows."""
        query = sql.SQL("SELECT FROM {} WHERE {} LIMIT 1").format(
            key.child.identifier, referring_columns(collection, key).is_in()
        )
        if self._rows.connection.execute(query, (ids,)).fetchone() is not None:
            raise StoppedError(
                f"a document of {collection.name} has changed, but rows of table {key.child.label} that migrate did not"
                f" load refer to its row in {name_of(collection.table)}",
                hint="Nothing was applied in this batch. Delete or change these rows, then run the same command again.",
            )

    # --- rejected and archived documents -----------------------------------------------------------------------------

    def _take_unloaded(self, collection: Collection, source_ids: list[bytes], more: RowIds) -> set[Wanted]:
        """Remove rejected and archived documents of a mapped collection from the records, and queue them.

        Add the rows to `more` whose documents they affect. Return the IDs of merged documents: a reference to one of
        them leads to another row.
        """
        connection, namespace, name = self._rows.connection, self._rows.namespace, collection.name
        values = (name, source_ids)
        query = namespace.sql(
            "DELETE FROM {rejects} WHERE collection = %s AND source_id = ANY(%s) RETURNING source_id, document"
        )
        rejected = [(bytes(row[0]), bytes(row[1])) for row in connection.execute(query, values, binary=True)]
        query = namespace.sql(
            "DELETE FROM {archive} WHERE collection = %s AND source_id = ANY(%s) RETURNING source_id, document"
        )
        archived = [(bytes(row[0]), bytes(row[1])) for row in connection.execute(query, values, binary=True)]
        query = namespace.sql(
            "DELETE FROM {ledger} WHERE collection = %s AND source_id = ANY(%s) AND outcome <> 'loaded'"
        )
        connection.execute(query, values)
        forget(self._rows, name, source_ids)
        self._batch.enqueue(name, [*rejected, *archived])
        asked = (_requested_id(collection, raw) for _, raw in (*rejected, *archived))
        self._batch.asked[name] |= {each for each in asked if each is not None}
        decided: set[str | None] = set()
        for _, raw in archived:
            if merged_into := self._remove_merge(collection, raw):
                more[name] |= merged_into
                decided.add(_requested_id(collection, raw))
        requested = {each for each in decided if each is not None}
        more[name] |= requested
        return {Wanted(name, collection.key.column, each) for each in requested}

    def _remove_merge(self, collection: Collection, raw: bytes) -> set[str]:
        """Delete the alias of a merged document; return the row that it was merged into."""
        requested = _requested_id(collection, raw)
        if requested is None:
            return set()
        query = self._rows.namespace.sql(
            "DELETE FROM {aliases} WHERE collection = %s AND original_id = %s AND owner IS NULL RETURNING target"
        )
        return {row[0] for row in self._rows.connection.execute(query, (collection.name, requested)) if row[0]}


def forget(rows: RowStore, name: str, source_ids: list[bytes]) -> None:
    """Delete the findings and wants of documents, and the records that the target refuses later changes of them."""
    query = rows.namespace.sql(
        "WITH f AS (DELETE FROM {findings} WHERE collection = %(name)s AND source_id = ANY(%(ids)s)),"
        " r AS (DELETE FROM {refusals} WHERE collection = %(name)s AND source_id = ANY(%(ids)s))"
        " DELETE FROM {wants} WHERE collection = %(name)s AND source_id = ANY(%(ids)s)"
    )
    rows.connection.execute(query, {"name": name, "ids": source_ids})


def _requested_id(collection: Collection, raw: bytes) -> str | None:
    """Return the ID, as text, that a document asks for by its key field; None if it has none."""
    try:
        value = decode_untrusted(raw).get(collection.key.path)
    except InvalidBSON:
        return None
    named = None if collection.key.text else collection.key.identify(value)
    return None if named is None else format_target_id(named)
