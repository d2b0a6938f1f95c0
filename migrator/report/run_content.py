"""The content of a page on a run, from the journal in the target. Writes nothing.

All queries use one snapshot, so that the figures agree while a run continues.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from psycopg import sql

from migrator.documents.codec import format_id
from migrator.errors import UsageError
from migrator.formatting import format_count, shorten
from migrator.mapping.collection import Collection
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres import schema_changes
from migrator.postgres.entities import describe_tables
from migrator.postgres.table_names import name_of
from migrator.report.content import (
    CollectionSummary,
    Content,
    FindingKind,
    Occurrence,
    add_totals,
    blank_content,
    describe_outcome,
    group,
    total_size,
)
from migrator.report.table_sizes import read_sizes
from migrator.report.timeline import Activity, build_timeline
from migrator.rows.element_counts import count_elements
from migrator.state import journal
from migrator.state.ledger import count_outcomes
from migrator.state.records import Connection, Namespace, has_records

MAX_EXAMPLES = 1000  # `_id`s of each code in each collection; the page must stay small enough to open
MAX_DETAILS = 5
LANES = {
    "index": "indexes",
    "key": "indexes",
    "unique": "indexes",
    "vector_index": "vector index",
}  # lanes of objects created after the rows


def content_of_run(connection: Connection, namespace: Namespace, definition: MigrationDefinition) -> Content:
    """Return the content for the latest run, completed or not. Raises: `UsageError` if there is no run."""
    if not has_records(connection, namespace):
        raise UsageError("the target contains no migration", hint="Start with `migrate run`.")
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return _read(connection, namespace, definition)


def _read(connection: Connection, namespace: Namespace, definition: MigrationDefinition) -> Content:
    mappings = definition.mappings
    run = read_run(connection, namespace)
    collections = list(read_collections(connection, namespace, definition))
    totals = add_totals(collections)
    rating, verdict = judge_run(run["status"], totals, run["run"])
    timeline = build_timeline(read_activities(connection, namespace, mappings, run))
    content = blank_content("run", rating, verdict)
    content["about"] = _about(run)
    content["figures"] = {**totals, "seconds": round(timeline["seconds"], 3)}
    content["collections"] = collections
    created = schema_changes.created_tables(connection)
    content["tables"] = count_rows([each for each in collections if each["name"] in mappings])
    content["tables"] |= count_elements(connection, namespace, mappings, created)
    content["rejects"] = read_kinds(connection, namespace, "rejects")
    content["findings"] = read_kinds(connection, namespace, "findings")
    content["timeline"] = timeline
    content["sizes"] = read_sizes(connection, namespace, list(definition.metadata.tables))
    content["figures"]["target_bytes"] = sum(total_size(each) for each in content["sizes"])
    content["entities"] = describe_tables(definition.metadata)
    return content


def read_run(connection: Connection, namespace: Namespace) -> dict[str, Any]:
    """Return the journal's entry of the latest run."""
    names = ("run", "status", "started", "finished", "version", "source", "database")
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    row = connection.execute(namespace.sql("SELECT {columns} FROM {runs} ORDER BY run DESC LIMIT 1", columns=columns))
    found = row.fetchone()
    if found is None:
        raise UsageError("the target contains no run", hint="Start with `migrate run`.")
    return dict(zip(names, found, strict=True))


def _about(run: Mapping[str, Any]) -> dict[str, str]:
    values = {"Run": str(run["run"]), "Status": str(run["status"]), "Source": str(run["source"])}
    for name in ("started", "finished"):
        if run[name] is not None:
            values[name.capitalize()] = run[name].isoformat(sep=" ", timespec="seconds")
    return {**values, "Version": str(run["version"])}


def read_collections(
    connection: Connection, namespace: Namespace, definition: MigrationDefinition
) -> Iterator[CollectionSummary]:
    """Yield the collections that were read so far. A merged source goes into a table but adds no rows."""
    origins = journal.read_origins(connection, namespace)
    into = {name: merge.into for name, merge in definition.merges.items() if name in origins}
    query = namespace.sql("SELECT collection, sum(bytes)::bigint, bool_or(last) FROM {batches} GROUP BY 1")
    read = {name: (int(size), bool(complete)) for name, size, complete in connection.execute(query)}
    for name, counts in count_outcomes(connection, namespace).items():
        size, complete = read[name]
        mapping = definition.mappings.get(into.get(name, name))
        yield CollectionSummary(
            name=name,
            table=None if mapping is None else name_of(mapping.table),
            documents=counts.source,
            bytes=size,
            loaded=counts.loaded,
            rejected=counts.rejected,
            archived=counts.archived,
            complete=complete,
            fields=[],
            fields_beyond=0,
        )


def count_rows(collections: list[CollectionSummary]) -> dict[str, int]:
    """Return the number of loaded rows by table."""
    rows: dict[str, int] = defaultdict(int)
    for each in collections:
        if each["table"] is not None:
            rows[each["table"]] += each["loaded"]
    return dict(rows)


def judge_run(status: str, totals: Mapping[str, int], run: int) -> tuple[str, str]:
    """Return the rating and the verdict of a run."""
    outcome = describe_outcome(totals, "loaded")
    missing = totals["documents"] - totals["loaded"] - totals["rejected"] - totals["archived"]
    if missing:
        documents = format_count(abs(missing), "documents")
        return (
            "bad",
            f"Internal error: run {run} does not account for {documents}. Please report it.",
        )
    if status == "running":
        return "warning", f"Run {run} is running or was interrupted. {outcome} To resume: migrate run."
    if status != "done":
        return "warning", f"Run {run} is {status}, not complete. {outcome} To resume: migrate run."
    return (
        "warning" if totals["rejected"] else "good"
    ), f"Run {run} is complete, all documents accounted for. {outcome}"


def read_kinds(connection: Connection, namespace: Namespace, relation: str) -> list[FindingKind]:
    """Return findings by code, or rejects by reason, with paths and `_id`s."""
    code, severity = ("reason", sql.SQL("'reject'")) if relation == "rejects" else ("code", sql.Identifier("severity"))
    names = {
        "relation": sql.Identifier(namespace.records, relation),
        "code": sql.Identifier(code),
        "severity": severity,
    }
    counted = sql.SQL(
        "SELECT collection, {code}, min({severity}), count(*) FROM {relation} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    rows = connection.execute(counted.format(**names)).fetchall()
    details, examples = _read_details(connection, names), _read_examples(connection, names)
    return group(
        (
            name,
            _occurrence(name, count, details[name, code], examples[name, code]),
            {"code": code, "severity": severity},
        )
        for name, code, severity, count in rows
    )


def _occurrence(name: str, count: int, details: dict[str, int], examples: list[str]) -> Occurrence:
    complete = len(examples) < MAX_EXAMPLES
    return Occurrence(collection=name, count=count, details=details, examples=examples, complete=complete)


def _read_details(
    connection: Connection, names: Mapping[str, sql.Composable]
) -> Mapping[tuple[str, str], dict[str, int]]:
    """Return the most frequent paths by collection and code, with counts."""
    query = sql.SQL(
        "SELECT collection, code, detail, count FROM (SELECT collection, {code} AS code, detail, count(*) AS count,"
        " row_number() OVER (PARTITION BY collection, {code} ORDER BY count(*) DESC, detail) AS place"
        " FROM {relation} WHERE detail NOT IN ('', {code}) GROUP BY 1, 2, 3) t WHERE place <= %s ORDER BY 1, 2, place"
    ).format(**names)
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name, code, detail, count in connection.execute(query, (MAX_DETAILS,)):
        found[name, code][shorten(detail)] = count
    return found


def _read_examples(connection: Connection, names: Mapping[str, sql.Composable]) -> Mapping[tuple[str, str], list[str]]:
    """Return the first `_id`s by collection and code. The server sorts on disk, so millions of rows are possible."""
    query = sql.SQL(
        "SELECT collection, code, source_id FROM (SELECT collection, {code} AS code, source_id,"
        " row_number() OVER (PARTITION BY collection, {code} ORDER BY source_id) AS place"
        " FROM {relation} GROUP BY 1, 2, 3) t WHERE place <= %s ORDER BY 1, 2, place"
    ).format(**names)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, code, source_id in connection.execute(query, (MAX_EXAMPLES,)):
        found[name, code].append(shorten(format_id(bytes(source_id))))
    return found


def read_activities(
    connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], run: Mapping[str, Any]
) -> list[Activity]:
    """Return everything in the journal that has a time: batches, steps, schema changes, and the end of the run."""
    began = run["started"]
    found = [*_read_batches(connection, namespace, mappings, began), *_read_steps(connection, namespace, began)]
    first = min((each.began for each in found if each.kind == "load"), default=0.0)
    found += _read_objects(connection, began, first)
    if run["status"] == "done" and run["finished"] is not None and found:
        last, end = max(each.ended for each in found), _seconds(run["finished"], began)
        found.append(Activity(began=last, ended=max(end, last), lane="analyze", kind="build"))
    return found


def _seconds(moment: datetime, began: datetime) -> float:
    return (moment - began).total_seconds()


def _read_batches(
    connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], began: datetime
) -> Iterator[Activity]:
    """Yield the batches. Collections without a table share one lane."""
    query = namespace.sql("SELECT began, committed, worker, collection, documents, bytes FROM {batches}")
    for start, end, worker, name, documents, size in connection.execute(query):
        yield Activity(
            began=_seconds(start, began),
            ended=_seconds(end, began),
            lane=f"load {name}" if name in mappings else "load archived collections",
            kind="load",
            worker=worker,
            documents=documents,
            bytes=size,
        )


def _read_steps(connection: Connection, namespace: Namespace, began: datetime) -> Iterator[Activity]:
    """Yield the steps. Steps with a detail are pinned settings, not work."""
    query = namespace.sql("SELECT began, finished, step FROM {steps} WHERE detail IS NULL")
    for start, end, step in connection.execute(query):
        yield Activity(
            began=_seconds(start, began), ended=_seconds(end, began), lane=step.partition(":")[0], kind="step"
        )


def _read_objects(connection: Connection, began: datetime, first: float) -> Iterator[Activity]:
    """Yield the schema changes. All changes before the first row share one lane."""
    if connection.execute("SELECT to_regclass('migrator.schema_changes') IS NULL").fetchone() == (True,):
        return
    query = (
        "SELECT began, finished, validation_began, validated, worker, kind FROM migrator.schema_changes"
        " WHERE kind <> 'schema'"
    )
    for start, end, checking, checked, worker, kind in connection.execute(query):
        begins = _seconds(start, began)
        lane = "schema" if begins < first else LANES.get(kind, "constraints and policies")
        yield Activity(began=begins, ended=_seconds(end, began), lane=lane, kind="build", worker=worker)
        if checked is not None:
            start, end = _seconds(checking, began), _seconds(checked, began)
            yield Activity(began=start, ended=end, lane="validate foreign keys", kind="build", worker=worker)
