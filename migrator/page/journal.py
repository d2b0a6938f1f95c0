"""What a page says of a run, read from the journal in the target; writes nothing.

One snapshot, so that the figures agree while a run goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from psycopg import sql

from migrator import journal
from migrator.errors import UsageError
from migrator.exact import decode
from migrator.journal import Connection, Place
from migrator.mapping import Collection
from migrator.page.content import Code, Content, Entry, Lane, Spot, blank_content, group, shorten, tell_outcome, total

EXAMPLES = 1000  # `_id`s of each code in each collection: enough to work through, little enough to open at once
DETAILS = 5
PAUSE = 600.0  # seconds without a commit; less is work
Event = tuple[datetime, str, str, int]  # committed, lane, kind, documents


def content_of_run(connection: Connection, place: Place, mappings: Mapping[str, Collection]) -> Content:
    """The newest run in this target, done or not. Raises `UsageError` where there is none."""
    if not journal.has_records(connection, place):
        raise UsageError("there is no migration in this target", hint="Start with `migrate run`.")
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return _read(connection, place, mappings)


def _read(connection: Connection, place: Place, mappings: Mapping[str, Collection]) -> Content:
    run = read_run(connection, place)
    entries = list(read_entries(connection, place, mappings))
    totals = total(entries)
    level, verdict = judge_run(run["status"], totals, run["run"])
    events = [*read_events(connection, place, mappings)]
    ended = run["finished"] if run["status"] == "done" else None
    lanes, pauses = lay_out(run["started"], events, ended)
    seconds = max((lane["ended"] for lane in lanes), default=0.0) - sum(lasted for _, lasted in pauses)
    content = blank_content("run", level, verdict)
    content["about"] = _about(run)
    content["figures"] = {**totals, "seconds": round(seconds, 3)}
    content["collections"] = entries
    content["tables"] = count_rows(entries)
    content["rejects"] = read_codes(connection, place, "rejects")
    content["findings"] = read_codes(connection, place, "findings")
    content["lanes"], content["pauses"] = lanes, pauses
    return content


def read_run(connection: Connection, place: Place) -> dict[str, Any]:
    """The newest run as the journal has it."""
    names = ("run", "status", "started", "finished", "version", "source", "database")
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    row = connection.execute(place.sql("SELECT {columns} FROM {runs} ORDER BY run DESC LIMIT 1", columns=columns))
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


def read_entries(connection: Connection, place: Place, mappings: Mapping[str, Collection]) -> Iterator[Entry]:
    """Every collection as far as it was read."""
    query = place.sql("SELECT collection, sum(bytes)::bigint, bool_or(last) FROM {batches} GROUP BY 1")
    read = {name: (int(size), bool(complete)) for name, size, complete in connection.execute(query)}
    for name, counts in journal.count_outcomes(connection, place).items():
        size, complete = read[name]
        yield Entry(
            name=name,
            table=mappings[name].table.name if name in mappings else None,
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


def read_codes(connection: Connection, place: Place, relation: str) -> list[Code]:
    """Findings by code or rejects by reason, with paths and `_id`s."""
    code, severity = ("reason", sql.SQL("'reject'")) if relation == "rejects" else ("code", sql.Identifier("severity"))
    names = {"relation": sql.Identifier(place.records, relation), "code": sql.Identifier(code), "severity": severity}
    counted = sql.SQL(
        "SELECT collection, {code}, min({severity}), count(*) FROM {relation} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    rows = connection.execute(counted.format(**names)).fetchall()
    details, examples = _read_details(connection, names), _read_examples(connection, names)
    return group(
        (name, _spot(name, count, details[name, code], examples[name, code]), {"code": code, "severity": severity})
        for name, code, severity, count in rows
    )


def _spot(name: str, count: int, details: dict[str, int], examples: list[str]) -> Spot:
    complete = len(examples) < EXAMPLES
    return Spot(collection=name, count=count, details=details, examples=examples, complete=complete)


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
        found[name, code].append(shorten(str(decode(bytes(source_id)).get("_id"))))
    return found


def read_events(connection: Connection, place: Place, mappings: Mapping[str, Collection]) -> Iterator[Event]:
    """Every commit of the run, oldest first; collections without a table share one lane."""
    query = place.sql(
        "SELECT committed, 'load ' || collection, 'load', documents, collection FROM {batches}"
        " UNION ALL SELECT finished, step, 'step', 0, NULL FROM {steps} ORDER BY 1"
    )
    for moment, lane, kind, documents, name in connection.execute(query):
        yield moment, lane if name is None or name in mappings else "load into the archive", kind, documents


def lay_out(
    began: datetime, events: list[Event], finished: datetime | None
) -> tuple[list[Lane], list[tuple[float, float]]]:
    """Lanes of a timeline from moments of commit: work on something began, at the latest, with the commit before it.

    Longer than `PAUSE` between two batches is a pause (stopped in the evening, resumed in the morning), not work: it is
    told apart, and what follows begins after it. Before a step it cannot be told from an index that takes long.
    """
    ends = [*events, (finished, "indexes, keys, statistics", "finish", 0)] if finished and events else events
    lanes: dict[str, Lane] = {}
    pauses: list[tuple[float, float]] = []
    before = 0.0
    for moment, name, kind, documents in ends:
        at = max((moment - began).total_seconds(), before)
        if kind == "load" and at - before > PAUSE:
            pauses.append((before, at - before))
            before = at
        lane = lanes.setdefault(name, Lane(name=name, kind=kind, began=before, ended=at, documents=0))
        lane["ended"] = at
        lane["documents"] += documents
        before = at
    return list(lanes.values()), pauses
