"""Which rows of the target belong to the migration, and which would be lost with them: what `revert` acts upon.

A row is the migration's if the transaction that wrote it last has signed the journal (`journal.sign`; a row's `xmin` is
that transaction), or if the ledger names it; in the second case others have changed it since. Everything else is
somebody else's, and in question only where it refers to a row of ours or stands in a table of ours. Nothing here
deletes. All within one transaction of the caller's: what is found is kept in a temporary table, by the rows' places,
which hold for as long as nobody writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import psycopg
from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres import catalog, foreign_keys, schema_changes
from migrator.postgres.catalog_diff import compare
from migrator.postgres.foreign_keys import ForeignKey, Relation
from migrator.state import journal
from migrator.state.journal import Namespace
from migrator.state.tenant import STEP as TENANT_STEP

Connection = psycopg.Connection[Any]

# owned: as the migration left it. modified: migrated, written by others since. foreign_referrer: of others, and refers
# to a row that goes. in_dropped_table: of others, in a table that goes. deleted: migrated, and gone.
# set_null: of others, loses a reference. unattributable: migrated; nobody can tell whether others wrote it since.
# schema_altered: an addition of others to a table.
Kind = Literal[
    "owned",
    "modified",
    "foreign_referrer",
    "in_dropped_table",
    "deleted",
    "set_null",
    "unattributable",
    "schema_altered",
]
LOST: tuple[Kind, ...] = (
    "modified",
    "foreign_referrer",
    "in_dropped_table",
    "deleted",
    "set_null",
    "unattributable",
    "schema_altered",
)
ROWLESS: tuple[Kind, ...] = ("deleted", "schema_altered")  # of which there is nothing but a name
MEANINGS: dict[Kind, str] = {
    "modified": "migrated, and changed since",
    "foreign_referrer": "written since, and refers to what goes",
    "in_dropped_table": "not migrated, in a table that goes",
    "deleted": "migrated, and deleted since",
    "set_null": "not migrated, and loses its reference to what goes",
    "schema_altered": "added since to a table that goes",
    "unattributable": "migrated, and perhaps changed since (a database restored from a dump does not tell)",
}
NAMED = 1000  # ids of one kind in one table

TABLE = sql.SQL("pg_temp.migrator_belongings")
CREATE = """
    CREATE TEMPORARY TABLE migrator_belongings (
      relation oid NOT NULL, place tid NOT NULL, kind text NOT NULL, round integer NOT NULL,
      PRIMARY KEY (relation, place)
    ) ON COMMIT DROP
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Rows of one table that a revert would lose for one reason. `ids`: the first of them, `NAMED` at most."""

    relation: Relation
    kind: Kind
    count: int
    ids: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {"table": self.relation.label, "kind": self.kind, "count": self.count, "ids": list(self.ids)}


class OwnedRows:
    """Finds them when it is made. `places` are the rows in question by table and kind, `ours` among them."""

    def __init__(self, connection: Connection, namespace: Namespace, definition: MigrationDefinition) -> None:
        self.connection, self.namespace, self.definition = connection, namespace, definition
        self._recorded = journal.has_records(connection, namespace)
        self.made = {
            Relation(namespace.rows, record.name) for record in schema_changes.read(connection) if _made_table(record)
        }
        connection.execute(CREATE)
        for relation in self.tables:
            self._find_ours(relation)
        self._analyze()
        self._find_inside()
        self._find_referring()
        self._analyze()

    @cached_property
    def tables(self) -> list[Relation]:
        """The target's tables, as far as they are there."""
        names = [Relation(self.namespace.rows, table.name) for table in self.definition.metadata.sorted_tables]
        return [name for name in names if foreign_keys.exists(self.connection, name)]

    @cached_property
    def keys(self) -> list[ForeignKey]:
        return foreign_keys.find_keys(self.connection, self.definition.metadata, self.namespace.rows)

    @cached_property
    def traceable(self) -> bool:
        """Whether `xmin` says who wrote a row: not in a database that was restored from a dump."""
        if not self._recorded:
            return True
        query = self.namespace.sql("SELECT EXISTS (SELECT FROM {own_transactions} WHERE xmin <> xid::xid)")
        return self.connection.execute(query).fetchone() == (False,)

    @cached_property
    def tenant(self) -> str | None:
        """The id of the tenant that the migration made."""
        detail = journal.step_detail(self.connection, self.namespace, TENANT_STEP) if self._recorded else None
        return str(detail["id"]) if detail and detail["created"] else None

    def mappings_of(self, relation: Relation) -> list[Collection]:
        return [each for each in self.definition.mappings.values() if each.table.name == relation.name]

    # --- what there is -----------------------------------------------------------------------------------------------

    def _find_ours(self, relation: Relation) -> None:
        if not self._recorded:
            return
        signed = self.namespace.sql("EXISTS (SELECT FROM {own_transactions} w WHERE w.xid::xid = t.xmin)")
        if self.traceable:
            self._add(relation, "owned", sql.SQL("FROM {} t WHERE {}").format(relation.identifier, signed))
        for mapping in self.mappings_of(relation):
            named = self.namespace.sql(
                "EXISTS (SELECT FROM {ledger} l WHERE l.collection = {name} AND l.outcome = 'loaded'"
                " AND l.target_id = t.{key}::text)",
                name=sql.Literal(mapping.name),
                key=sql.Identifier(mapping.key.column),
            )
            self._add_changed(relation, signed, named)
            touched = self.namespace.sql(
                "EXISTS (SELECT FROM {foreign_edits} o WHERE o.table_name = {name} AND o.id = t.{key}::text)",
                name=sql.Literal(relation.name),
                key=sql.Identifier(mapping.key.column),
            )
            self._mark_changed(relation, touched)
        if relation.name == "tenants" and self.tenant is not None:
            self._add_changed(relation, signed, sql.SQL("t.id::text = {}").format(sql.Literal(self.tenant)))

    def _add_changed(self, relation: Relation, signed: sql.Composable, named: sql.Composable) -> None:
        query = sql.SQL("FROM {} t WHERE NOT {} AND {}").format(relation.identifier, signed, named)
        if not self.traceable:
            query = sql.SQL("FROM {} t WHERE {}").format(relation.identifier, named)
        self._add(relation, "modified" if self.traceable else "unattributable", query)

    def _mark_changed(self, relation: Relation, condition: sql.Composable) -> None:
        query = sql.SQL(
            "UPDATE {} b SET kind = 'modified' FROM {} t WHERE b.relation = t.tableoid AND b.place = t.ctid AND {}"
        )
        self.connection.execute(query.format(TABLE, relation.identifier, condition))

    def _add(self, relation: Relation, kind: Kind, source: sql.Composable, number: int = 0) -> int:
        """Puts rows in question; `source` begins with FROM and calls the table `t`."""
        query = sql.SQL("INSERT INTO {} SELECT t.tableoid, t.ctid, {}, {} {} ON CONFLICT DO NOTHING")
        values = (TABLE, sql.Literal(kind), sql.Literal(number), source)
        return self.connection.execute(query.format(*values)).rowcount

    def _find_inside(self) -> None:
        for relation in self.tables:
            if relation in self.made:
                self._add(
                    relation, "in_dropped_table", sql.SQL("FROM {} t WHERE {}").format(relation.identifier, _UNKNOWN)
                )

    def _find_referring(self) -> None:
        """Rows of others that refer to rows that go, and rows that refer to these, round by round."""
        number, found = 0, 1
        strangers = {key.child: self._has_unknown(key.child) for key in self.keys}
        while found:
            number, found = number + 1, 0
            for key in self.keys:
                if strangers[key.child]:
                    found += self._add_referring(key, number)

    def _has_unknown(self, relation: Relation) -> bool:
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} t WHERE {})").format(relation.identifier, _UNKNOWN)
        return self.connection.execute(query).fetchone() == (True,)

    def _add_referring(self, key: ForeignKey, number: int) -> int:
        source = sql.SQL(
            "FROM {child} t JOIN {parent} p ON {condition}"
            " JOIN {table} g ON g.relation = p.tableoid AND g.place = p.ctid AND g.round = {round}"
            " AND g.kind <> 'set_null' WHERE {unknown}"
        ).format(
            child=key.child.identifier,
            parent=key.parent.identifier,
            condition=key.condition("t", "p"),
            table=TABLE,
            round=sql.Literal(number - 1),
            unknown=_UNKNOWN,
        )
        return self._add(key.child, "set_null" if key.spares else "foreign_referrer", source, number)

    def _analyze(self) -> None:
        self.connection.execute(sql.SQL("ANALYZE {}").format(TABLE))

    # --- what is said of it ------------------------------------------------------------------------------------------

    def count(self) -> dict[Relation, dict[Kind, int]]:
        """Rows in question."""
        query = sql.SQL(
            "SELECT n.nspname, c.relname, b.kind, b.count FROM"
            " (SELECT relation, kind, count(*) FROM {} GROUP BY 1, 2) b"
            " JOIN pg_class c ON c.oid = b.relation JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2, 3"
        ).format(TABLE)
        found: dict[Relation, dict[Kind, int]] = {}
        for schema, name, kind, count in self.connection.execute(query):
            found.setdefault(Relation(schema, name), {})[kind] = count
        return found

    def losses(self) -> list[Loss]:
        """What a revert would lose, by table and kind."""
        found = [
            Loss(relation=relation, kind=kind, count=kinds[kind], ids=self._name(relation, kind))
            for relation, kinds in self.count().items()
            for kind in LOST
            if kind in kinds
        ]
        return sorted(
            [*found, *self._deleted(), *self._altered()], key=lambda loss: (loss.relation, LOST.index(loss.kind))
        )

    def _name(self, relation: Relation, kind: Kind) -> tuple[str, ...]:
        query = sql.SQL(
            "SELECT {id} FROM {relation} t JOIN {table} b ON b.relation = t.tableoid AND b.place = t.ctid"
            " WHERE b.kind = {kind} ORDER BY 1 LIMIT {most}"
        ).format(
            id=self.spell_id(relation), relation=relation.identifier, table=TABLE,
            kind=sql.Literal(kind), most=sql.Literal(NAMED),
        )  # fmt: skip
        return tuple(row[0] for row in self.connection.execute(query))

    def spell_id(self, relation: Relation) -> sql.Composable:
        """An expression for the key of a row `t`, as text; its place, where the table has no key."""
        columns = foreign_keys.primary_key(self.connection, relation)
        if not columns:
            return sql.SQL("t.ctid::text")
        parts = [sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in columns]
        return sql.SQL("concat_ws(' ', {})").format(sql.SQL(", ").join(parts))

    def _deleted(self) -> Iterator[Loss]:
        for relation in self.tables:
            ids = list(self.deleted_ids(relation))
            if ids:
                yield Loss(relation=relation, kind="deleted", count=len(ids), ids=tuple(ids[:NAMED]))

    def _altered(self) -> Iterator[Loss]:
        """Columns, indexes, constraints and policies that the migration did not make, of tables that it made."""
        made = {relation for relation in self.tables if relation in self.made}
        if not made:
            return
        wanted = catalog.read_wanted(self.connection, self.definition.metadata, rls=True)
        added: dict[str, list[str]] = {}
        for each in compare(catalog.read(self.connection), wanted):
            if each.actual is not None and each.wanted is None and each.kind != "table":
                added.setdefault(each.table, []).append(f"{each.kind} {each.name}")
        for relation in sorted(made):
            if names := added.get(relation.name):
                yield Loss(relation=relation, kind="schema_altered", count=len(names), ids=tuple(names))

    def deleted_ids(self, relation: Relation) -> Iterator[str]:
        """The ids of migrated rows that are gone."""
        for mapping in self.mappings_of(relation) if self._recorded else ():
            query = self.namespace.sql(
                "SELECT l.target_id FROM {ledger} l WHERE l.collection = %s AND l.outcome = 'loaded'"
                " AND NOT EXISTS (SELECT FROM {table} t WHERE t.{key}::text = l.target_id) ORDER BY 1",
                table=relation.identifier,
                key=sql.Identifier(mapping.key.column),
            )
            with self.connection.cursor() as cursor:
                yield from (row[0] for row in cursor.execute(query, (mapping.name,)))


_UNKNOWN = sql.SQL("NOT EXISTS (SELECT FROM {} b WHERE b.relation = t.tableoid AND b.place = t.ctid)").format(TABLE)


def _made_table(record: schema_changes.Record) -> bool:
    return record.kind == "table" and record.action == "created"


def remember_changes(connection: Connection, namespace: Namespace, definition: MigrationDefinition) -> None:
    """Notes which migrated rows others have changed, before we go on and may write these rows ourselves."""
    for mapping in definition.mappings.values():
        query = namespace.sql(
            "INSERT INTO {foreign_edits} SELECT {name}, t.{key}::text FROM {table} t"
            " WHERE NOT EXISTS (SELECT FROM {own_transactions} w WHERE w.xid::xid = t.xmin)"
            " AND EXISTS (SELECT FROM {ledger} l WHERE l.collection = {collection} AND l.outcome = 'loaded'"
            " AND l.target_id = t.{key}::text) ON CONFLICT DO NOTHING",
            name=sql.Literal(mapping.table.name),
            key=sql.Identifier(mapping.key.column),
            table=namespace.table(mapping.table.name),
            collection=sql.Literal(mapping.name),
        )
        connection.execute(query)


def affected_relations(
    connection: Connection, namespace: Namespace, definition: MigrationDefinition
) -> Iterable[Relation]:
    """The tables in which rows may belong to the migration or refer to what does."""
    names = [Relation(namespace.rows, table.name) for table in definition.metadata.sorted_tables]
    there = [name for name in names if foreign_keys.exists(connection, name)]
    return foreign_keys.reach(foreign_keys.find_keys(connection, definition.metadata, namespace.rows), there)
