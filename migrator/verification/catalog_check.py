"""The target's catalog against what the schema says, and against how the run left it; what row security really hides.

Tables, columns, constraints, indexes, enums, policies and row security come from the schema. What it says nothing of
(rights, owners, triggers, sequences, objects beyond it) must be as when the run ended: `note_catalog` keeps that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
from psycopg import sql
from sqlalchemy import MetaData

from migrator.events import Emit, Notice
from migrator.postgres import catalog, catalog_diff
from migrator.postgres.catalog import Catalog, Table
from migrator.postgres.ddl import TENANT_SETTING
from migrator.postgres.roles import act_as_reader
from migrator.state import journal
from migrator.state.records import Connection, Namespace
from migrator.verification.model import Check, Difference, Scope, judged
from migrator.verification.prescan import Prescan

STEP = "catalog"
PLURAL = {
    "extension": "extensions", "enum": "enums", "table": "tables", "column": "columns", "order": "columns",
    "constraint": "constraints", "index": "indexes", "policy": "policies", "row_security": "row security",
}  # fmt: skip
BEYOND = "rights and other objects"
QUERIES = catalog.load_queries("undeclared_objects.sql")
NOBODY = "00000000-0000-0000-0000-000000000000"
Noted = dict[str, str]  # "kind name" → definition
Seen = dict[str, list[int]]  # by table, what three kinds of strangers see


def note_catalog(connection: Connection, namespace: Namespace, run: int, metadata: MetaData) -> None:
    """Keeps how the run left the catalog, for what the schema does not say."""
    with connection.transaction():
        connection.execute(namespace.sql("DELETE FROM {steps} WHERE step = %s"), (STEP,))
        journal.finish_step(connection, namespace, run, STEP, read_beyond(connection, namespace, metadata))


def read_beyond(connection: Connection, namespace: Namespace, metadata: MetaData) -> Noted:
    """All objects of the schema beyond what `metadata` speaks of, and rights and owners of all."""
    values = {"schema": namespace.rows, "tables": [table.name for table in metadata.sorted_tables]}
    with connection.transaction(), catalog.schema_first(connection, namespace.rows):
        found = [connection.execute(query, values).fetchall() for query in QUERIES.values()]
    return {f"{kind} {name}": definition for rows in found for kind, name, definition in rows}


def check_catalog(scope: Scope, wanted: Catalog, actual: Catalog) -> Iterator[Check]:
    """A check for each kind of object, and one for what only the run's end can tell."""
    noted: Noted | None = journal.step_detail(scope.connection, scope.namespace, STEP)
    changed = (
        {} if noted is None else dict(_changed(noted, read_beyond(scope.connection, scope.namespace, scope.metadata)))
    )
    found: dict[str, list[Difference]] = {kind: [] for kind in PLURAL.values()}
    for each in catalog_diff.compare(actual, wanted):
        if each.expected is not None and (not each.table or scope.has_table(each.table)):
            difference = _tell(each)
            if changed.pop(difference.row, None) is not None:
                difference = replace(difference, fault="target")
            found[PLURAL[each.kind]].append(difference)
    for kind, differences in found.items():
        yield judged(f"catalog: {kind}", "", differences, expected="as defined")
    if noted is not None:
        yield judged(f"catalog: {BEYOND}", "", list(changed.values()), expected="as the run left them")


def _tell(found: catalog_diff.Difference) -> Difference:
    owner = f"{found.table}." if found.table not in ("", found.name) else ""
    order = "order of columns" if found.kind == "order" else ""
    return Difference(
        row=f"{found.kind} {owner}{found.name}", column=order, expected=found.expected, actual=found.actual
    )


def _changed(then: Noted, now: Noted) -> Iterator[tuple[str, Difference]]:
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            yield name, Difference(row=name, expected=then.get(name), actual=now.get(name), fault="target")


def unusable_tables(metadata: MetaData, wanted: Catalog, actual: Catalog) -> frozenset[str]:
    """Tables that rows can neither be read from nor compared with: missing ones, and those with other columns."""
    enums = {name for name, labels in wanted.enums.items() if actual.enums.get(name) != labels}
    return frozenset(
        table.name for table in metadata.sorted_tables if not _usable(wanted.tables[table.name], actual, enums)
    )


def _usable(wanted: Table, actual: Catalog, enums: set[str]) -> bool:
    found = actual.tables.get(wanted.name)
    if found is None:
        return False
    types = {column.name: column.type for column in found.columns}
    return all(types.get(each.name) == each.type and each.type not in enums for each in wanted.columns)


def see_as_stranger(scope: Scope, emit: Emit) -> Seen:
    """How many rows of each table a role that owns nothing sees: without a tenant, as nobody's, as ours. Leaves no role
    behind. Empty where that cannot be tried out."""
    if scope.config.target.rls != "all":
        return {}
    tables = [table.name for table in scope.tables if "tenant_id" in table.c]
    try:
        with act_as_reader(scope.connection, scope.namespace.rows, tables):
            return {name: _see(scope, name) for name in tables}
    except psycopg.errors.InsufficientPrivilege:
        emit(
            Notice(
                text="row security was not tried out as another role: this one may not make roles (CREATEROLE);"
                " its policies are checked nevertheless"
            )
        )
        return {}


def _see(scope: Scope, name: str) -> list[int]:
    seen = []
    for value in ("", NOBODY, str(scope.config.tenant.id)):
        scope.connection.execute("SELECT set_config(%s, %s, true)", (TENANT_SETTING, value))
        seen.append(_count(scope, name))
    return seen


def check_row_security(scope: Scope, survey: Prescan, seen: Seen) -> Iterator[Check]:
    """Without a tenant no row is seen, with one its own alone."""
    for name, counts in seen.items():
        own = survey.tables[name].own
        if counts[-1] != own:  # which may have counted some twice
            own = _count(scope, name, sql.SQL("tenant_id = {}").format(sql.Literal(scope.config.tenant.id)))
        told = [
            Difference(row=f"table {name}", column=who, expected=f"{wanted:,} rows seen", actual=f"{rows:,}")
            for who, wanted, rows in zip(
                ("without a tenant", "as no tenant", "as the tenant"), (0, 0, own), counts, strict=True
            )
            if wanted != rows
        ]
        yield judged("row security", name, told, expected="own rows alone")


_ALL = sql.SQL("true")


def _count(scope: Scope, name: str, which: sql.Composable = _ALL) -> int:
    query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(scope.namespace.table(name), which)
    found = scope.connection.execute(query).fetchone()
    assert found is not None  # an aggregate always answers
    return int(found[0])
