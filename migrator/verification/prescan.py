"""One scan of each relation of the target, which finds the checks of counts and integrity that need a closer look.

Each check would read whole tables, and most would join them. Here one join per table, and one pass over the ledger,
answer all questions at once. If a number is 0, or two checksums are equal, the check passes without a query of its own.
Otherwise the check runs its query and lists what it finds.

A checksum is a number of values and the sum of their 64-bit hashes. Two sides with the same values, each equally often,
have the same checksum; other sides have the same checksum with a probability of 1 in 2^64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Table

from migrator.mapping.collection import Collection, Tree
from migrator.mapping.shared_tables import mappings_of
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import tenant_column
from migrator.state import own_transactions
from migrator.state.row_keys import key_of
from migrator.state.tenant import own_rows
from migrator.verification.model import Scope

Checksum = tuple[int, Any]
Violation = tuple[str, sql.Composable]  # its name, and the condition that a wrong row `c` meets
NO_ROWS: Checksum = (0, 0)
CYCLES, PARENTS = "tree: rings", "tree: parents"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableScan:
    """The result of one scan of a table.

    `rows` is the number of all rows, `tenant_rows` of those of the tenant. `migrated` is the checksum of the IDs of the
    tenant's rows that are not older than the run. `violations` names the rules that some row breaks.
    A row that refers to a duplicate ID is counted twice, so the numbers may be too large but never too small.
    """

    rows: int
    tenant_rows: int
    migrated: Checksum
    violations: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordScan:
    """Checksums of the records.

    `ledger`, by collection and outcome: of target IDs if loaded, of source IDs otherwise. `rejects` and `archive`, by
    collection: of source IDs.
    """

    ledger: Mapping[tuple[str, str], Checksum]
    rejects: Mapping[str, Checksum]
    archive: Mapping[str, Checksum]

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        return {name: count for name, (count, _) in self.ledger.items()}

    def loaded(self, collection: str) -> Checksum:
        return self.ledger.get((collection, "loaded"), NO_ROWS)

    def matches_ledger(self, outcome: str) -> bool:
        """Tell whether `rejects` (or `archive`) holds the documents that the ledger lists with this outcome."""
        records = self.rejects if outcome == "rejected" else self.archive
        return records == {name: each for (name, what), each in self.ledger.items() if what == outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prescan:
    """The scans of all relations."""

    records: RecordScan
    tables: Mapping[str, TableScan]
    mappings: Mapping[str, Collection]

    def loaded(self, table: str) -> Checksum:
        """Return the checksum of the IDs of the documents that have a row in a table."""
        found = [self.records.loaded(each.name) for each in mappings_of(self.mappings, table)]
        return sum(count for count, _ in found), sum(hashes for _, hashes in found)

    def has_only_migrated_rows(self, mapping: Collection) -> bool:
        """Tell whether a table holds a row for each loaded document and no other rows."""
        scan, loaded = self.tables[name_of(mapping.table)], self.loaded(name_of(mapping.table))
        return scan.migrated == loaded and scan.rows == scan.migrated[0]

    def has_violation(self, table: Table, name: str) -> bool:
        return name in self.tables[name_of(table)].violations


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKeyColumns:
    """Columns that refer to `parent_columns` of the table `parent`."""

    columns: tuple[str, ...]
    parent: Table
    parent_columns: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name of the columns in checks."""
        return ", ".join(self.columns)

    def joins(self, child: str, parent: str) -> sql.Composable:
        """Compose the condition that the row `parent` is that to which the row `child` refers."""
        pairs = zip(self.parent_columns, self.columns, strict=True)
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(parent, one), sql.Identifier(child, other)) for one, other in pairs
        )

    def dangles(self, child: str, parent: str) -> sql.Composable:
        """Compose the condition that a row refers to a row, and that the join did not find it."""
        named = (sql.SQL("{} IS NOT NULL").format(sql.Identifier(child, name)) for name in self.columns)
        missing = sql.SQL("{} IS NULL").format(sql.Identifier(parent, self.parent_columns[0]))
        return sql.SQL(" AND ").join([*named, missing])


def dangling_reference(column: str) -> str:
    """Return the name of the violation 'the referenced row does not exist'."""
    return f"foreign key {column}"


def foreign_tenant(column: str) -> str:
    """Return the name of the violation 'the referenced row belongs to another tenant'."""
    return f"tenant {column}"


def foreign_key_columns(scope: Scope, table: Table) -> Iterator[ForeignKeyColumns]:
    """Yield the declared references of a table to usable tables, even if the constraint does not exist."""
    for constraint in table.foreign_key_constraints:
        if name_of(constraint.referred_table) not in scope.unusable:
            yield ForeignKeyColumns(
                columns=tuple(each.parent.name for each in constraint.elements),
                parent=constraint.referred_table,
                parent_columns=tuple(each.column.name for each in constraint.elements),
            )


def scan_records(scope: Scope) -> RecordScan:
    """Compute the checksums of the ledger, of `rejects` and of `archive`."""
    query = scope.namespace.sql(
        "SELECT collection, outcome, count(*), coalesce(sum(CASE outcome WHEN 'loaded'"
        " THEN hashtextextended(target_id, 0) ELSE {source_id} END), 0) FROM {ledger} GROUP BY 1, 2",
        source_id=_HASH_OF_SOURCE_ID,
    )
    found = scope.connection.execute(query).fetchall()
    return RecordScan(
        ledger={(name, outcome): (int(count), total) for name, outcome, count, total in found},
        rejects=_scan_documents(scope, "rejects"),
        archive=_scan_documents(scope, "archive"),
    )


_HASH_OF_SOURCE_ID = sql.SQL("hash_record_extended(ROW(source_id), 0)")  # before version 18 no function hashes a bytea


def _scan_documents(scope: Scope, relation: str) -> dict[str, Checksum]:
    query = sql.SQL("SELECT collection, count(*), sum({}) FROM {} GROUP BY 1").format(
        _HASH_OF_SOURCE_ID, sql.Identifier(scope.namespace.records, relation)
    )
    return {name: (int(count), total) for name, count, total in scope.connection.execute(query)}


def scan_table(scope: Scope, table: Table) -> TableScan:
    """Count rows and violations of a table in one query, which joins the table with every table that it refers to."""
    mapping = next((each for each in scope.mappings.values() if name_of(each.table) == name_of(table)), None)
    keys = list(foreign_key_columns(scope, table))
    tree = None if mapping is None else mapping.tree
    if mapping is not None and tree is not None:
        keys.append(ForeignKeyColumns(columns=(tree.parent,), parent=table, parent_columns=(mapping.key.column,)))
    joined = {key: f"p{number}" for number, key in enumerate(dict.fromkeys(keys))}
    violations = [each for key, alias in joined.items() for each in _violations(table, key, alias, tree)]
    own = own_rows(table, scope.config.tenant.id, "c")
    query = sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE {own}), count(*) FILTER (WHERE {migrated}),"
        " coalesce(sum({id}) FILTER (WHERE {migrated}), 0), {violations} FROM {table} c{joins}"
    ).format(
        own=own,
        migrated=sql.SQL("{} AND NOT {}").format(own, own_transactions.written_before_run(scope.namespace, "c"))
        if mapping
        else sql.SQL("true"),
        id=_hash_of_id(mapping),
        violations=sql.SQL("ARRAY[{}]::bigint[]").format(
            sql.SQL(", ").join(sql.SQL("count(*) FILTER (WHERE {})").format(wrong) for _, wrong in violations)
        ),
        table=scope.namespace.table(name_of(table)),
        joins=sql.SQL("").join(_join(scope, key, alias) for key, alias in joined.items()),
    )
    found = scope.connection.execute(query).fetchone()
    assert found is not None  # an aggregate always returns a row
    rows, tenant_rows, migrated, ids, counts = found
    return TableScan(
        rows=int(rows),
        tenant_rows=int(tenant_rows),
        migrated=(int(migrated), ids),
        violations=frozenset(name for (name, _), count in zip(violations, counts, strict=True) if count),
    )


def _hash_of_id(mapping: Collection | None) -> sql.Composable:
    if mapping is None:
        return sql.SQL("0")
    return sql.SQL("hashtextextended({}, 0)").format(key_of(mapping).text("c"))


def _join(scope: Scope, key: ForeignKeyColumns, alias: str) -> sql.Composed:
    return sql.SQL(" LEFT JOIN {parent} {alias} ON {condition}").format(
        parent=scope.namespace.table(name_of(key.parent)), alias=sql.Identifier(alias), condition=key.joins("c", alias)
    )


def _violations(table: Table, key: ForeignKeyColumns, alias: str, tree: Tree | None) -> Iterator[Violation]:
    """Yield the rules for one reference; the reference to a parent row must also follow the rules of a tree."""
    names = {"p": sql.Identifier(alias), "parent_column": sql.Identifier(key.parent_columns[0])}
    yield dangling_reference(key.label), key.dangles("c", alias)
    tenant = tenant_column(table)
    if tenant is not None and tenant_column(key.parent) is not None:
        differs = sql.SQL("{p}.{tenant} <> c.{tenant}")
        yield foreign_tenant(key.label), differs.format(**names, tenant=sql.Identifier(tenant))
    if tree is not None and (key.columns, name_of(key.parent)) == ((tree.parent,), name_of(table)):
        names |= {"within": sql.Identifier(tree.within), "order": sql.Identifier(tree.order)}
        wrong = sql.SQL(
            "{p}.{parent_column} IS NOT NULL"
            " AND ({p}.{within} IS DISTINCT FROM c.{within} OR {p}.{parent_column} = c.{parent_column})"
        )
        yield PARENTS, wrong.format(**names)
        # Every cycle has an edge whose parent is not older than the child.
        not_older = sql.SQL(
            "{p}.{parent_column} IS NOT NULL"
            " AND (({p}.{order}, {p}.{parent_column}) < (c.{order}, c.{parent_column})) IS NOT TRUE"
        )
        yield CYCLES, not_older.format(**names)
