"""The records of archived documents, and the number of source documents, while changes are applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql

from migrator.following.batch import Newest, group_by_collection
from migrator.rows.update import batched
from migrator.stages.context import StageContext
from migrator.state.partitions import FOLLOW_PART, count_changed
from migrator.state.records import Connection, Namespace

BATCH_SIZE = 500  # documents


@dataclass(frozen=True, kw_only=True)
class DocumentRecords:
    """Writes these records. `archives_unmapped`: whether documents of collections without a mapping are archived.

    Requires a transaction.
    """

    stage: StageContext
    archives_unmapped: bool

    def archive(self, newest: Newest) -> None:
        """Replace the archived documents of collections without a mapping."""
        for name, source_ids in group_by_collection(newest).items():
            self._delete(name, sql.SQL(" AND source_id = ANY(%s)"), source_ids)
            if self.archives_unmapped:
                there = ((each, newest[name, each]) for each in source_ids)
                self._insert(name, [(source_id, raw) for source_id, raw in there if raw is not None])

    def replace_all(self, name: str, documents: Iterable[tuple[bytes, bytes]]) -> int:
        """Replace all archived documents (`source_id`, BSON) of a collection, and return their number."""
        removed, count = self._delete(name, sql.SQL("")), 0
        for batch in batched(documents, BATCH_SIZE):
            self._insert(name, batch)
            count += len(batch)
        self._add_to_count(name, count - removed)
        return count

    def _delete(self, name: str, chosen: sql.SQL, *values: object) -> int:
        """Delete the records of documents of a collection, and return the number of documents."""
        connection, namespace = self.stage.connection, self.stage.namespace
        connection.execute(namespace.sql("DELETE FROM {archive} WHERE collection = %s") + chosen, (name, *values))
        query = namespace.sql("DELETE FROM {ledger} WHERE collection = %s") + chosen
        return connection.execute(query, (name, *values)).rowcount

    def _insert(self, name: str, documents: list[tuple[bytes, bytes]]) -> None:
        connection, namespace = self.stage.connection, self.stage.namespace
        values = (name, [source_id for source_id, _ in documents], [raw for _, raw in documents])
        query = namespace.sql("INSERT INTO {archive} SELECT %s, * FROM unnest(%s::bytea[], %s::bytea[])")
        connection.execute(query, values)
        query = namespace.sql(
            "INSERT INTO {ledger} (collection, source_id, outcome) SELECT %s, i, 'archived' FROM unnest(%s::bytea[]) i"
        )
        connection.execute(query, values[:2])

    def count(self, newest: Newest) -> None:
        """Record how the number of source documents changes, before they are applied, for the accounting identity."""
        connection, namespace = self.stage.connection, self.stage.namespace
        change: Counter[str] = Counter()
        used = [key for key in newest if self.archives_unmapped or key[0] in self.stage.rows.mappings]
        query = namespace.sql("SELECT count(*) FROM {ledger} WHERE collection = %s AND source_id = ANY(%s)")
        for name, source_ids in group_by_collection(used).items():
            row = connection.execute(query, (name, source_ids)).fetchone()
            change[name] = sum(newest[name, each] is not None for each in source_ids) - (row[0] if row else 0)
        for name, difference in change.items():
            self._add_to_count(name, difference)

    def _add_to_count(self, name: str, difference: int) -> None:
        count_changed(self.stage.connection, self.stage.namespace, self.stage.run, name, difference)


def record_counts(connection: Connection, namespace: Namespace, run: int) -> None:
    """Record the number of documents in the ledger as the number of source documents, after both were compared."""
    query = namespace.sql(
        "INSERT INTO {batches} (collection, part, first_position, last_position, documents, bytes, last, run)"
        " SELECT collection, %s, 'follow', '', l.count - b.count, 0, false, %s"
        " FROM (SELECT collection, count(*) FROM {ledger} GROUP BY 1) l"
        " JOIN (SELECT collection, sum(documents) AS count FROM {batches} GROUP BY 1) b USING (collection)"
        " WHERE l.count <> b.count ON CONFLICT (collection, part, first_position)"
        " DO UPDATE SET documents = {batches}.documents + excluded.documents, committed = clock_timestamp()"
    )
    connection.execute(query, (FOLLOW_PART, run))
