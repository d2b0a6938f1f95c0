"""What must come out of a scenario: plan, run, records, rows and verification against its expectations."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import psycopg
from psycopg import sql

from migrator.documents import raw_bson
from tests.driving import Answer
from tests.scenarios import ExpectedRow, Scenario

Counts = dict[str, dict[str, int]]


def check_plan(scenario: Scenario, planned: Answer) -> None:
    assert planned.code == (3 if scenario.expect.blockers else 0), planned.told
    assert planned.json["blockers"] == scenario.expect.blockers


def check_outcome(scenario: Scenario, outcome: dict[str, Any], planned: dict[str, Any]) -> None:
    """Expected, foretold and reported are one; nothing is left over."""
    reported = {name: pick(counts) for name, counts in outcome["collections"].items()}
    foretold = {each["name"]: pick(each["predicted"]) for each in planned["source"]["collections"]}
    assert reported == scenario.expect.outcomes
    assert {name: counts for name, counts in foretold.items() if name in reported} == reported
    for name, counts in outcome["collections"].items():
        read = scenario.beside[name] if name in scenario.beside else len(scenario.documents[name])
        assert counts["source"] == read == sum(reported[name].values())


def pick(counts: dict[str, int]) -> dict[str, int]:
    return {outcome: counts[outcome] for outcome in ("loaded", "rejected", "archived")}


def check_records(scenario: Scenario, database: str) -> None:
    assert count_records(database, "rejects", "reason") == scenario.expect.rejects
    assert count_records(database, "findings", "code") == scenario.expect.findings


def check_own_records(scenario: Scenario, database: str) -> None:
    """Checks ledger, rejects and findings of a scenario's own documents, where a dump holds several scenarios."""
    with psycopg.connect(database, autocommit=True) as connection:
        outcomes = count_own(connection, scenario, "SELECT collection, outcome, source_id FROM migrator.ledger")
        assert outcomes == drop_zeros(scenario.expect.outcomes), scenario.name
        rejects = count_own(connection, scenario, "SELECT collection, reason, source_id FROM migrator.rejects")
        assert rejects == scenario.expect.rejects, scenario.name
        findings = count_own(connection, scenario, "SELECT collection, code, source_id FROM migrator.findings")
        assert findings == scenario.expect.findings, scenario.name


def count_own(connection: psycopg.Connection[Any], scenario: Scenario, query: str) -> Counts:
    """Returns the number of records of a scenario's documents, by collection and kind."""
    own = {(name, raw_bson.source_id(raw)) for name, raws in scenario.documents.items() for raw in raws}
    found = Counter((name, kind) for name, kind, id_ in connection.execute(query.encode()) if (name, bytes(id_)) in own)
    counts: Counts = defaultdict(dict)
    for (name, kind), count in found.items():
        counts[name][kind] = count
    return dict(counts)


def drop_zeros(counts: Counts) -> Counts:
    kept = {name: {kind: count for kind, count in kinds.items() if count} for name, kinds in counts.items()}
    return {name: kinds for name, kinds in kept.items() if kinds}


def count_records(database: str, relation: str, column: str) -> dict[str, dict[str, int]]:
    query = sql.SQL("SELECT collection, {column}, count(*) FROM migrator.{relation} GROUP BY 1, 2").format(
        column=sql.Identifier(column), relation=sql.Identifier(relation)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    with psycopg.connect(database, autocommit=True) as connection:
        for collection, name, count in connection.execute(query):
            found[collection][name] = count
    return dict(found)


def check_rows(database: str, rows: tuple[ExpectedRow, ...]) -> None:
    """Values are compared as PostgreSQL itself writes them, each cast to its column's type."""
    with psycopg.connect(database, autocommit=True) as connection:
        for row in rows:
            found = connection.execute(*select_columns(connection, row)).fetchone()
            assert found is not None, f"{row.table} has no row {row.id}"
            actual, wanted = (dict(zip(row.columns, values, strict=True)) for values in found)
            assert actual == wanted, f"{row.table} {row.id}"


def select_columns(connection: psycopg.Connection[Any], row: ExpectedRow) -> tuple[sql.Composed, dict[str, str | None]]:
    """One row of two arrays: what there is and what is expected."""
    types = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass"
    kinds: dict[str, str] = dict(connection.execute(types, (f"public.{row.table}",)).fetchall())
    actual = [sql.SQL("{}::text").format(sql.Identifier(name)) for name in row.columns]
    wanted = [sql.SQL("{}::{}::text").format(sql.Placeholder(n), sql.SQL(kinds[n])) for n in row.columns]
    query = sql.SQL("SELECT ARRAY[{}], ARRAY[{}] FROM {} WHERE id::text = {}").format(
        sql.SQL(", ").join(actual), sql.SQL(", ").join(wanted), sql.Identifier(row.table), sql.Literal(row.id)
    )
    return query, row.columns


def check_absent(database: str, absent: dict[str, list[str]]) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for table, ids in absent.items():
            query = sql.SQL("SELECT id::text FROM {} WHERE id::text = ANY(%s)").format(sql.Identifier(table))
            assert connection.execute(query, (ids,)).fetchall() == []


def check_verified(answer: Answer, scenario: Scenario) -> None:
    report = answer.json
    assert [check for check in report.get("checks", [report]) if not check.get("ok")] == []
    assert (answer.code, report["ok"]) == (0, True)
    assert {name: pick(counts) for name, counts in report["collections"].items()} == scenario.expect.outcomes
