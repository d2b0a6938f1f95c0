"""Checks of the target's catalog, and a test of row-level security with another role.

Tables, columns, constraints, indexes, enums, policies and row-level-security settings must match the definition of the
schema. Everything that the definition does not contain (privileges, owners, triggers, sequences, other objects) must be
the same as at the end of the run, which `record_catalog` recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import psycopg
from psycopg import sql
from sqlalchemy import MetaData

from migrator.events import Emit, Notice
from migrator.formatting import format_count
from migrator.postgres import catalog, catalog_diff, schema_changes
from migrator.postgres.catalog import Catalog, Table
from migrator.postgres.placement import schemas_in
from migrator.postgres.roles import act_as_reader
from migrator.postgres.search_path import render
from migrator.postgres.table_names import PUBLIC, name_of, qualify, schema_of
from migrator.postgres.tenancy import tenancy_of, tenant_column
from migrator.state import journal
from migrator.state.records import Connection, Namespace
from migrator.state.tenant import own_rows
from migrator.verification.model import Check, Difference, Differences, Scope, make_check
from migrator.verification.prescan import Prescan

STEP = "catalog"
PLURAL = {
    "extension": "extensions", "enum": "enums", "domain": "domains", "table": "tables", "column": "columns",
    "order": "columns", "constraint": "constraints", "index": "indexes", "policy": "policies",
    "row_security": "row security",
}  # fmt: skip
UNDECLARED = "rights and other objects"  # part of a check code
QUERIES = catalog.load_queries("undeclared_objects.sql")
OTHER_TENANT = "00000000-0000-0000-0000-000000000000"
Definitions = dict[str, str]  # "kind name" → definition
VisibleRows = dict[str, list[int]]  # by table: rows visible without a tenant, as another tenant, as the tenant


def record_catalog(connection: Connection, namespace: Namespace, run: int, metadata: MetaData) -> None:
    """Record the undeclared objects of the catalog in the journal, at the end of a run."""
    with connection.transaction():
        connection.execute(namespace.sql("DELETE FROM {steps} WHERE step = %s"), (STEP,))
        journal.finish_step(connection, namespace, run, STEP, read_undeclared(connection, namespace, metadata))


def read_undeclared(connection: Connection, namespace: Namespace, metadata: MetaData) -> Definitions:
    """Read all objects that `metadata` does not declare, and the privileges and owners of all objects."""
    found: Definitions = {}
    for schema in schemas_in(metadata):
        own = namespace.rows if schema == PUBLIC else schema
        tables = [table.name for table in metadata.sorted_tables if schema_of(name_of(table)) == schema]
        values = {"schema": sql.Identifier(own).as_string(), "tables": tables}
        with connection.transaction():
            rows = chain.from_iterable(render(connection, QUERIES, values, [own]).values())
        found |= {f"{row['kind']} {qualify(schema, row['name'])}": row["definition"] for row in rows}
    return found


def check_catalog(scope: Scope, wanted: Catalog, actual: Catalog) -> Iterator[Check]:
    """Check each kind of declared object, and the undeclared objects as the run recorded them."""
    recorded: Definitions | None = journal.step_detail(scope.connection, scope.namespace, STEP)
    deferrable = schema_changes.deferrable_keys(scope.connection)
    changed: dict[str, Difference] = {}
    if recorded is not None:
        now = read_undeclared(scope.connection, scope.namespace, scope.metadata)
        for table, name in deferrable:
            key = f"constraint {table}.{name}"
            if key in now:
                now[key] = now[key].removesuffix(catalog.DEFERRABLE)
        changed = dict(_compare_definitions(recorded, now))
    found: dict[str, list[Difference]] = {kind: [] for kind in PLURAL.values()}
    for each in catalog_diff.compare(actual, wanted):
        if each.expected is not None and (not each.table or scope.has_table(each.table)):
            difference = _describe(each)
            if changed.pop(difference.row, None) is not None:
                difference = replace(difference, fault="target")
            found[PLURAL[each.kind]].append(difference)
    for kind, differences in found.items():
        yield _make_check(kind, differences, "schema matches the definition", "schema does not match the definition")
    if recorded is not None:
        yield _make_check(UNDECLARED, list(changed.values()), "unchanged since the run", "changed since the run")


def _make_check(kind: str, found: list[Difference], expected: str, otherwise: str) -> Check:
    actual = f"{otherwise}: {format_count(len(found), 'differences')}" if found else expected
    return make_check(f"catalog: {kind}", "", Differences.of(found), expected=expected, actual=actual)


def _describe(found: catalog_diff.CatalogDifference) -> Difference:
    table = f"{found.table}." if found.table not in ("", found.name) else ""
    order = "order of columns" if found.kind == "order" else ""
    return Difference(
        row=f"{found.kind} {table}{found.name}", column=order, expected=found.expected, actual=found.actual
    )


def _compare_definitions(then: Definitions, now: Definitions) -> Iterator[tuple[str, Difference]]:
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            yield name, Difference(row=name, expected=then.get(name), actual=now.get(name), fault="target")


def unusable_tables(metadata: MetaData, wanted: Catalog, actual: Catalog) -> frozenset[str]:
    """Return the tables whose rows cannot be compared: missing tables, and tables without a required column."""
    types = {name for name, labels in wanted.enums.items() if actual.enums.get(name) != labels}
    types |= {name for name, definition in wanted.domains.items() if actual.domains.get(name) != definition}
    return frozenset(
        name for name in map(name_of, metadata.sorted_tables) if not _usable(wanted.tables[name], actual, types)
    )


def _usable(wanted: Table, actual: Catalog, changed: set[str]) -> bool:
    found = actual.tables.get(wanted.name)
    if found is None:
        return False
    types = {column.name: column.type for column in found.columns}
    return all(types.get(each.name) == each.type and each.type not in changed for each in wanted.columns)


def count_visible_rows(scope: Scope, emit: Emit) -> VisibleRows:
    """Count the rows of each table that row-level security shows to a new role.

    The role exists until the transaction is rolled back. The result is empty if RLS is off or cannot be tested.
    """
    tenancy = tenancy_of(scope.metadata)
    if tenancy is None or scope.config.target.rls != "all":
        return {}
    tables = [name_of(table) for table in scope.tables if tenant_column(table) is not None]
    try:
        with act_as_reader(scope.connection, scope.namespace.rows, tables):
            return {name: _count_as_tenants(scope, tenancy.setting, name) for name in tables}
    except psycopg.errors.InsufficientPrivilege:
        emit(Notice(text="RLS not tested: role lacks CREATEROLE. The policies themselves are still checked."))
        return {}


def _count_as_tenants(scope: Scope, setting: str, name: str) -> list[int]:
    counts = []
    for value in ("", OTHER_TENANT, str(scope.config.tenant.id)):
        scope.connection.execute("SELECT set_config(%s, %s, true)", (setting, value))
        counts.append(_count(scope, name))
    return counts


def check_row_security(scope: Scope, scan: Prescan, visible: VisibleRows) -> Iterator[Check]:
    """Check that no row is visible without a tenant, and that each tenant sees its own rows only."""
    for name, counts in visible.items():
        own = scan.tables[name].tenant_rows
        if counts[-1] != own:  # the scan counts a row twice if it refers to a duplicate ID
            own = _count(scope, name, own_rows(scope.metadata.tables[name], scope.config.tenant.id))
        found = [
            Difference(row=f"table {name}", column=who, expected=f"{wanted:,} visible rows", actual=f"{rows:,}")
            for who, wanted, rows in zip(
                ("without a tenant", "as another tenant", "as the tenant"), (0, 0, own), counts, strict=True
            )
            if wanted != rows
        ]
        expected = "only the tenant's own rows are visible"
        actual = "wrong number of visible rows" if found else expected
        yield make_check("row security", name, Differences.of(found), expected=expected, actual=actual)


_ALL = sql.SQL("true")


def _count(scope: Scope, name: str, condition: sql.Composable = _ALL) -> int:
    query = sql.SQL("SELECT count(*) FROM {} t WHERE {}").format(scope.namespace.table(name), condition)
    found = scope.connection.execute(query).fetchone()
    assert found is not None  # an aggregate always returns a row
    return int(found[0])
