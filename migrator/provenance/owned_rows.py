"""Finds the rows of the target that the migration wrote, and the data that a revert would delete with them.

The migration owns a row if the transaction that last wrote it is recorded in `own_transactions` (a row's `xmin` is that
transaction), or if the ledger names the row. In the second case another client has modified the row since. Rows of
other clients matter only if they refer to an owned row or are in a table that the migration created.

Nothing here deletes. All queries run in one transaction of the caller. The rows found are kept in a temporary table by
`ctid`, which is stable while no other session writes to the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres import catalog, foreign_keys, schema_changes
from migrator.postgres.catalog_diff import compare
from migrator.postgres.foreign_keys import ForeignKey, Relation
from migrator.postgres.placement import schemas_in
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import tenancy_of
from migrator.provenance.losses import LOST, MAX_IDS, Loss, OwnershipKind
from migrator.state import journal, own_transactions
from migrator.state.ledger import count_outcomes
from migrator.state.records import Connection, Namespace, has_records
from migrator.state.row_keys import key_of
from migrator.state.tenant import STEP as TENANT_STEP

TABLE = sql.SQL("pg_temp.migrator_owned_rows")
CREATE = """
    CREATE TEMPORARY TABLE migrator_owned_rows (
      relation oid NOT NULL, row_ctid tid NOT NULL, kind text NOT NULL, depth integer NOT NULL,
      PRIMARY KEY (relation, row_ctid)
    ) ON COMMIT DROP
"""


class OwnedRows:
    """The rows of one migration, and the rows of other clients that a revert would affect.

    The constructor runs all queries and stores the result in the temporary table `TABLE`, by table and kind. Tables
    that the migration created and that no other has written to are not in it: `whole` has the number of their rows.
    """

    def __init__(self, connection: Connection, namespace: Namespace, definition: MigrationDefinition) -> None:
        self.connection, self.namespace, self.definition = connection, namespace, definition
        self._recorded = has_records(connection, namespace)
        created = schema_changes.created_tables(connection)
        self.created_tables = {Relation.named(name, namespace.rows) for name in created}
        self.whole = {each: rows for each in self.tables if (rows := self._count_if_whole(each)) is not None}
        connection.execute(CREATE)
        for relation in self.tables:
            if relation not in self.whole:
                self._find_owned(relation)
        self._analyze()
        self._find_in_dropped_tables()
        self._find_referrers()
        self._analyze()

    @cached_property
    def tables(self) -> list[Relation]:
        """The tables of the migration that exist in the target."""
        names = [
            Relation.named(name_of(table), self.namespace.rows) for table in self.definition.metadata.sorted_tables
        ]
        there = foreign_keys.existing(self.connection, names)
        return [name for name in names if name in there]

    @cached_property
    def keys(self) -> list[ForeignKey]:
        """The foreign keys of the target, including keys that a run has not created yet."""
        return foreign_keys.find_keys(self.connection, self.definition.metadata, self.namespace.rows)

    @cached_property
    def traceable(self) -> bool:
        """Whether `xmin` identifies the writer of a row. It does not in a database restored from a dump."""
        if not self._recorded:
            return True
        return own_transactions.is_traceable(self.connection, self.namespace)

    @cached_property
    def tenant(self) -> str | None:
        """The ID of the tenant, if the migration created it."""
        detail = journal.step_detail(self.connection, self.namespace, TENANT_STEP) if self._recorded else None
        return str(detail["id"]) if detail and detail["created"] else None

    def mappings_of(self, relation: Relation) -> list[Collection]:
        """Return the mappings whose documents become rows of a table."""
        return [each for each in self.definition.mappings.values() if name_of(each.table) == relation.label]

    # --- search ------------------------------------------------------------------------------------------------------

    def _count_if_whole(self, relation: Relation) -> int | None:
        """Return the number of rows of a table that the migration created, if it wrote all of them; otherwise None."""
        if relation not in self.created_tables or not self._recorded or not self.traceable:
            return None
        query = self.namespace.sql(
            "SELECT EXISTS (SELECT FROM {foreign_edits} WHERE table_name = {name})"
            " OR EXISTS (SELECT FROM {table} t WHERE NOT {own})",
            name=sql.Literal(relation.label),
            table=relation.identifier,
            own=own_transactions.written_by_migration(self.namespace),
        )
        return None if self.connection.execute(query).fetchone() == (True,) else self._count(relation)

    def _count(self, relation: Relation) -> int:
        found = self.connection.execute(sql.SQL("SELECT count(*) FROM {}").format(relation.identifier)).fetchone()
        return int(found[0]) if found else 0

    def _find_owned(self, relation: Relation) -> None:
        if not self._recorded:
            return
        own = own_transactions.written_by_migration(self.namespace)
        if self.traceable:
            self._add(relation, "owned", sql.SQL("FROM {} t WHERE {}").format(relation.identifier, own))
        for mapping in self.mappings_of(relation):
            in_ledger = self.namespace.sql(
                "EXISTS (SELECT FROM {ledger} l WHERE l.collection = {name} AND l.outcome = 'loaded'"
                " AND l.target_id = {key})",
                name=sql.Literal(mapping.name),
                key=key_of(mapping).text("t"),
            )
            self._add_modified(relation, own, in_ledger)
            edited = self.namespace.sql(
                "EXISTS (SELECT FROM {foreign_edits} o WHERE o.table_name = {name} AND o.id = {key})",
                name=sql.Literal(relation.label),
                key=key_of(mapping).text("t"),
            )
            self._mark_modified(relation, edited)
        tenancy = tenancy_of(self.definition.metadata)
        if tenancy is not None and relation.label == tenancy.table and self.tenant is not None:
            self._add_modified(relation, own, sql.SQL("t.id::text = {}").format(sql.Literal(self.tenant)))

    def _add_modified(self, relation: Relation, own: sql.Composable, migrated: sql.Composable) -> None:
        query = sql.SQL("FROM {} t WHERE NOT {} AND {}").format(relation.identifier, own, migrated)
        if not self.traceable:
            query = sql.SQL("FROM {} t WHERE {}").format(relation.identifier, migrated)
        self._add(relation, "modified" if self.traceable else "unattributable", query)

    def _mark_modified(self, relation: Relation, condition: sql.Composable) -> None:
        query = sql.SQL(
            "UPDATE {} b SET kind = 'modified' FROM {} t WHERE b.relation = t.tableoid AND b.row_ctid = t.ctid AND {}"
        )
        self.connection.execute(query.format(TABLE, relation.identifier, condition))

    def _add(self, relation: Relation, kind: OwnershipKind, source: sql.Composable, depth: int = 0) -> int:
        """Insert rows into `TABLE` and return their number. `source` starts with FROM and names the table `t`."""
        query = sql.SQL("INSERT INTO {} SELECT t.tableoid, t.ctid, {}, {} {} ON CONFLICT DO NOTHING")
        values = (TABLE, sql.Literal(kind), sql.Literal(depth), source)
        return self.connection.execute(query.format(*values)).rowcount

    def _find_in_dropped_tables(self) -> None:
        for relation in self.tables:
            if relation in self.created_tables and relation not in self.whole:
                query = sql.SQL("FROM {} t WHERE {}").format(relation.identifier, _NOT_FOUND_YET)
                self._add(relation, "in_dropped_table", query)

    def _find_referrers(self) -> None:
        """Find rows of other clients that refer to rows that will be deleted, then rows that refer to those, and so on.

        Each pass adds the referrers of the rows that the previous pass added (`depth`).
        """
        depth, found = 0, 1
        has_others = {key.child: self._has_other_rows(key.child) for key in self.keys}
        while found:
            depth, found = depth + 1, 0
            for key in self.keys:
                if has_others[key.child]:
                    found += self._add_referrers(key, depth)

    def _has_other_rows(self, relation: Relation) -> bool:
        if relation in self.whole:
            return False
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} t WHERE {})").format(relation.identifier, _NOT_FOUND_YET)
        return self.connection.execute(query).fetchone() == (True,)

    def _add_referrers(self, key: ForeignKey, depth: int) -> int:
        if key.parent in self.whole and depth > 1:
            return 0  # the first pass has found the referrers of all its rows
        found = sql.SQL(
            " JOIN {table} g ON g.relation = p.tableoid AND g.row_ctid = p.ctid AND g.depth = {depth}"
            " AND g.kind <> 'set_null'"
        ).format(table=TABLE, depth=sql.Literal(depth - 1))
        source = sql.SQL("FROM {child} t JOIN {parent} p ON {condition}{found} WHERE {not_found_yet}").format(
            child=key.child.identifier,
            parent=key.parent.identifier,
            condition=key.condition("t", "p"),
            found=sql.SQL("") if key.parent in self.whole else found,
            not_found_yet=_NOT_FOUND_YET,
        )
        return self._add(key.child, "set_null" if key.sets_null else "foreign_referrer", source, depth)

    def _analyze(self) -> None:
        self.connection.execute(sql.SQL("ANALYZE {}").format(TABLE))

    # --- results -----------------------------------------------------------------------------------------------------

    def count(self) -> dict[Relation, dict[OwnershipKind, int]]:
        """Count the rows found, by table and kind."""
        query = sql.SQL(
            "SELECT n.nspname, c.relname, b.kind, b.count FROM"
            " (SELECT relation, kind, count(*) FROM {} GROUP BY 1, 2) b"
            " JOIN pg_class c ON c.oid = b.relation JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2, 3"
        ).format(TABLE)
        found: dict[Relation, dict[OwnershipKind, int]] = {each: {"owned": n} for each, n in self.whole.items() if n}
        for schema, name, kind, count in self.connection.execute(query):
            found.setdefault(Relation(schema, name), {})[kind] = count
        return found

    def losses(self) -> list[Loss]:
        """List the data that a revert would delete or change, by table and kind."""
        found = [
            Loss(relation=relation, kind=kind, count=kinds[kind], ids=self._read_ids(relation, kind))
            for relation, kinds in self.count().items()
            for kind in LOST
            if kind in kinds
        ]
        every = [*found, *self._find_deleted(), *self._find_altered_schema()]
        return sorted(every, key=lambda loss: (loss.relation, LOST.index(loss.kind)))

    def _read_ids(self, relation: Relation, kind: OwnershipKind) -> tuple[str, ...]:
        query = sql.SQL(
            "SELECT {id} FROM {relation} t JOIN {table} b ON b.relation = t.tableoid AND b.row_ctid = t.ctid"
            " WHERE b.kind = {kind} ORDER BY 1 LIMIT {most}"
        ).format(
            id=self.format_id(relation), relation=relation.identifier, table=TABLE,
            kind=sql.Literal(kind), most=sql.Literal(MAX_IDS),
        )  # fmt: skip
        return tuple(row[0] for row in self.connection.execute(query))

    def format_id(self, relation: Relation) -> sql.Composable:
        """Return an SQL expression for the primary key of a row `t` as text, or for its ctid if there is no key."""
        columns = foreign_keys.primary_key(self.connection, relation)
        if not columns:
            return sql.SQL("t.ctid::text")
        parts = [sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in columns]
        return sql.SQL("concat_ws(' ', {})").format(sql.SQL(", ").join(parts))

    def _find_deleted(self) -> Iterator[Loss]:
        loaded = count_outcomes(self.connection, self.namespace) if self._recorded else {}
        for relation in self.tables:
            expected = sum(loaded[each.name].loaded for each in self.mappings_of(relation) if each.name in loaded)
            if self.whole.get(relation) == expected:
                continue  # every loaded document has a row, because the migration wrote no others
            ids = list(self.deleted_ids(relation))
            if ids:
                yield Loss(relation=relation, kind="deleted", count=len(ids), ids=tuple(ids[:MAX_IDS]))

    def _find_altered_schema(self) -> Iterator[Loss]:
        """Find columns, indexes, constraints and policies that other clients added to tables of the migration."""
        created = {relation for relation in self.tables if relation in self.created_tables}
        if not created:
            return
        wanted = catalog.read_expected(self.connection, self.definition.metadata, rls=True)
        added: dict[str, list[str]] = {}
        for each in compare(catalog.read(self.connection, schemas_in(self.definition.metadata)), wanted):
            if each.actual is not None and each.expected is None and each.kind != "table":
                added.setdefault(each.table, []).append(f"{each.kind} {each.name}")
        for relation in sorted(created):
            if names := added.get(relation.label):
                yield Loss(relation=relation, kind="schema_altered", count=len(names), ids=tuple(names))

    def deleted_ids(self, relation: Relation) -> Iterator[str]:
        """Yield the IDs of migrated rows that no longer exist."""
        for mapping in self.mappings_of(relation) if self._recorded else ():
            query = self.namespace.sql(
                "SELECT l.target_id FROM {ledger} l WHERE l.collection = %s AND l.outcome = 'loaded'"
                " AND NOT EXISTS (SELECT FROM {table} t WHERE {key} = l.target_id) ORDER BY 1",
                table=relation.identifier,
                key=key_of(mapping).text("t"),
            )
            with self.connection.cursor() as cursor:
                yield from (row[0] for row in cursor.execute(query, (mapping.name,)))


_NOT_FOUND_YET = sql.SQL("NOT EXISTS (SELECT FROM {} b WHERE b.relation = t.tableoid AND b.row_ctid = t.ctid)").format(
    TABLE
)


def affected_relations(
    connection: Connection, namespace: Namespace, definition: MigrationDefinition
) -> Iterable[Relation]:
    """Return the tables that hold owned rows, or rows that refer to owned rows directly or indirectly."""
    names = [Relation.named(name_of(table), namespace.rows) for table in definition.metadata.sorted_tables]
    keys = foreign_keys.find_keys(connection, definition.metadata, namespace.rows)
    return foreign_keys.referencing_tables(keys, foreign_keys.existing(connection, names))
