"""What a page says of a run, read from the journal in the target; writes nothing.

One snapshot, so that the figures agree while a run goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from psycopg import sql

from migrator.documents.codec import format_id
from migrator.errors import UsageError
from migrator.mapping.collection import Collection
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres.entities import describe_tables
from migrator.report.content import (
    Content,
    Entry,
    FindingKind,
    Occurrence,
    blank_content,
    group,
    shorten,
    tell_outcome,
    total,
    total_size,
)
from migrator.report.table_sizes import read_sizes
from migrator.report.timeline import Activity, lay_out
from migrator.state import journal
from migrator.state.ledger import count_outcomes
from migrator.state.records import Connection, Namespace, has_records

EXAMPLES = 1000  # `_id`s of each code in each collection: enough to work through, little enough to open at once
DETAILS = 5
BUILT = {"index": "indexes", "vector_index": "vector index"}  # lanes of what is built after the rows


def content_of_run(connection: Connection, namespace: Namespace, definition: MigrationDefinition) -> Content:
    """The newest run in this target, done or not. Raises `UsageError` where there is none."""
    if not has_records(connection, namespace):
        raise UsageError("there is no migration in this target", hint="Start with `migrate run`.")
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return _read(connection, namespace, definition)


def _read(connection: Connection, namespace: Namespace, definition: MigrationDefinition) -> Content:
    mappings = definition.mappings
    run = read_run(connection, namespace)
    entries = list(read_entries(connection, namespace, definition))
    totals = total(entries)
    level, verdict = judge_run(run["status"], totals, run["run"])
    history = lay_out(read_activities(connection, namespace, mappings, run))
    content = blank_content("run", level, verdict)
    content["about"] = _about(run)
    content["figures"] = {**totals, "seconds": round(history["seconds"], 3)}
    content["collections"] = entries
    content["tables"] = count_rows([entry for entry in entries if entry["name"] in mappings])
    content["rejects"] = read_codes(connection, namespace, "rejects")
    content["findings"] = read_codes(connection, namespace, "findings")
    content["history"] = history
    content["sizes"] = read_sizes(connection, namespace, list(definition.metadata.tables))
    content["figures"]["target_bytes"] = sum(total_size(each) for each in content["sizes"])
    content["entities"] = describe_tables(definition.metadata)
    return content


def read_run(connection: Connection, namespace: Namespace) -> dict[str, Any]:
    """The newest run as the journal has it."""
    names = ("run", "status", "started", "finished", "version", "source", "database")
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    row = connection.execute(namespace.sql("SELECT {columns} FROM {runs} ORDER BY run DESC LIMIT 1", columns=columns))
    found = row.fetchone()
    if found is None:
        raise UsageError("no run has begun in this target", hint="Start with `migrate run`.")
    return dict(zip(names, found, strict=True))


def _about(run: Mapping[str, Any]) -> dict[str, str]:
    told = {"Run": str(run["run"]), "Status": str(run["status"]), "Source": str(run["source"])}
    for name in ("started", "finished"):
        if run[name] is not None:
            told[name.capitalize()] = run[name].isoformat(sep=" ", timespec="seconds")
    return {**told, "Version": str(run["version"])}


def read_entries(connection: Connection, namespace: Namespace, definition: MigrationDefinition) -> Iterator[Entry]:
    """Every collection as far as it was read. What is merged goes into a table, but makes no rows there."""
    origins = journal.read_origins(connection, namespace)
    into = {name: merge.into for name, merge in definition.merges.items() if name in origins}
    query = namespace.sql("SELECT collection, sum(bytes)::bigint, bool_or(last) FROM {batches} GROUP BY 1")
    read = {name: (int(size), bool(complete)) for name, size, complete in connection.execute(query)}
    for name, counts in count_outcomes(connection, namespace).items():
        size, complete = read[name]
        mapping = definition.mappings.get(into.get(name, name))
        yield Entry(
            name=name,
            table=None if mapping is None else mapping.table.name,
            documents=counts.source,
            bytes=size,
            loaded=counts.loaded,
            rejected=counts.rejected,
            archived=counts.archived,
            complete=complete,
            fields=[],
            fields_beyond=0,
        )


def count_rows(entries: list[Entry]) -> dict[str, int]:
    rows: dict[str, int] = defaultdict(int)
    for entry in entries:
        if entry["table"] is not None:
            rows[entry["table"]] += entry["loaded"]
    return dict(rows)


def judge_run(status: str, totals: Mapping[str, int], run: int) -> tuple[str, str]:
    """How serious it is, and the sentence that everything else explains."""
    outcome = tell_outcome(totals, "became rows")
    missing = totals["documents"] - totals["loaded"] - totals["rejected"] - totals["archived"]
    if missing:
        return "bad", f"The accounts of run {run} do not add up: {abs(missing):,} documents. This is a defect."
    if status == "running":
        return "warning", f"Run {run} is under way, or was cut off. So far, {outcome} `migrate run` goes on."
    if status != "done":
        return "warning", f"Run {run} is {status}, not done. So far, {outcome} `migrate run` goes on where it stopped."
    return ("warning" if totals["rejected"] else "good"), f"Run {run} is done, and no document is lost. {outcome}"


def read_codes(connection: Connection, namespace: Namespace, relation: str) -> list[FindingKind]:
    """Findings by code or rejects by reason, with paths and `_id`s."""
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
        (name, _spot(name, count, details[name, code], examples[name, code]), {"code": code, "severity": severity})
        for name, code, severity, count in rows
    )


def _spot(name: str, count: int, details: dict[str, int], examples: list[str]) -> Occurrence:
    complete = len(examples) < EXAMPLES
    return Occurrence(collection=name, count=count, details=details, examples=examples, complete=complete)


def _read_details(
    connection: Connection, names: Mapping[str, sql.Composable]
) -> Mapping[tuple[str, str], dict[str, int]]:
    """The paths that are named most often."""
    query = sql.SQL(
        "SELECT collection, code, detail, count FROM (SELECT collection, {code} AS code, detail, count(*) AS count,"
        " row_number() OVER (PARTITION BY collection, {code} ORDER BY count(*) DESC, detail) AS place"
        " FROM {relation} WHERE detail NOT IN ('', {code}) GROUP BY 1, 2, 3) t WHERE place <= %s ORDER BY 1, 2, place"
    ).format(**names)
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name, code, detail, count in connection.execute(query, (DETAILS,)):
        found[name, code][shorten(detail)] = count
    return found


def _read_examples(connection: Connection, names: Mapping[str, sql.Composable]) -> Mapping[tuple[str, str], list[str]]:
    """The first `_id`s; the server sorts on disk, so millions do no harm."""
    query = sql.SQL(
        "SELECT collection, code, source_id FROM (SELECT collection, {code} AS code, source_id,"
        " row_number() OVER (PARTITION BY collection, {code} ORDER BY source_id) AS place"
        " FROM {relation} GROUP BY 1, 2, 3) t WHERE place <= %s ORDER BY 1, 2, place"
    ).format(**names)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, code, source_id in connection.execute(query, (EXAMPLES,)):
        found[name, code].append(shorten(format_id(bytes(source_id))))
    return found


def read_activities(
    connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], run: Mapping[str, Any]
) -> list[Activity]:
    """What the journal knows moments of: batches, steps, changes to the schema, and the end of the run."""
    began = run["started"]
    found = [*_read_batches(connection, namespace, mappings, began), *_read_steps(connection, namespace, began)]
    first = min((each.began for each in found if each.kind == "load"), default=0.0)
    found += _read_objects(connection, began, first)
    if run["status"] == "done" and run["finished"] is not None and found:
        last, end = max(each.ended for each in found), _seconds(run["finished"], began)
        found.append(Activity(began=last, ended=max(end, last), lane="statistics", kind="build"))
    return found


def _seconds(moment: datetime, began: datetime) -> float:
    return (moment - began).total_seconds()


def _read_batches(
    connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], began: datetime
) -> Iterator[Activity]:
    """Collections without a table share one lane."""
    query = namespace.sql("SELECT began, committed, worker, collection, documents, bytes FROM {batches}")
    for start, end, worker, name, documents, size in connection.execute(query):
        yield Activity(
            began=_seconds(start, began),
            ended=_seconds(end, began),
            lane=f"load {name}" if name in mappings else "load into the archive",
            kind="load",
            worker=worker,
            documents=documents,
            bytes=size,
        )


def _read_steps(connection: Connection, namespace: Namespace, began: datetime) -> Iterator[Activity]:
    """Those with a detail are settings that the run was pinned to, no work."""
    query = namespace.sql("SELECT began, finished, step FROM {steps} WHERE detail IS NULL")
    for start, end, step in connection.execute(query):
        yield Activity(
            began=_seconds(start, began), ended=_seconds(end, began), lane=step.partition(":")[0], kind="step"
        )


def _read_objects(connection: Connection, began: datetime, first: float) -> Iterator[Activity]:
    """What was built in the target's schema; what came before the first row is of one lane."""
    if connection.execute("SELECT to_regclass('migrator.schema_changes') IS NULL").fetchone() == (True,):
        return
    query = (
        "SELECT began, finished, validation_began, validated, worker, kind FROM migrator.schema_changes"
        " WHERE kind <> 'schema'"
    )
    for start, end, checking, checked, worker, kind in connection.execute(query):
        begins = _seconds(start, began)
        lane = "schema" if begins < first else BUILT.get(kind, "keys and policies")
        yield Activity(began=begins, ended=_seconds(end, began), lane=lane, kind="build", worker=worker)
        if checked is not None:
            start, end = _seconds(checking, began), _seconds(checked, began)
            yield Activity(began=start, ended=end, lane="check foreign keys", kind="build", worker=worker)
