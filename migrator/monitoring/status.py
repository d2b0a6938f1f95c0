"""The status of a run for `migrate status`, read from the journal, the heartbeats and the server."""

from __future__ import annotations

from typing import Any

from migrator.monitoring import server_activity
from migrator.monitoring.sync_status import read_sync_status
from migrator.state import activity, cutover_steps, journal, partitions, sync
from migrator.state.activity import FRESH, ActivityRow
from migrator.state.lock import find_holder
from migrator.state.records import Connection, Namespace, has_records

RATE_WINDOW = 10  # seconds over which the rate of a collection is measured
Status = dict[str, Any]


def read_status(connection: Connection, namespace: Namespace) -> Status:
    """Return run, steps, collections, rates, time left and waits. The keys are the contract of `status --json`.

    A run whose process no longer exists is `interrupted`; the same command resumes it.
    """
    latest = journal.latest_run(connection, namespace) if has_records(connection, namespace) else None
    if latest is None:
        return {"run": None, "status": "none", "steps": [], "collections": []}
    run, status, _ = latest
    holder = find_holder(connection)
    if status == "running" and holder is None:
        status = "interrupted"
    heartbeats = activity.read(connection, namespace)
    collections = add_seconds_left(read_collections(connection, namespace))
    current = [each for each in heartbeats if each.kind == "step" and not each.ended] if status == "running" else []
    return {
        "run": run,
        "status": status,
        "holder": None if holder is None else str(holder),
        "steps": sorted(journal.finished_steps(connection, namespace)),
        "documents_per_second": read_rate(connection, namespace),
        "seconds_left": seconds_left(collections) if status == "running" else None,
        "current": [describe_step(each) for each in current],
        "finished": [{"step": each.name, "seconds": round(each.seconds, 1)} for each in heartbeats if each.ended],
        "slowest": find_slowest(heartbeats, status == "running"),
        "waiting": find_waits(connection, heartbeats) if status == "running" else [],
        "indexes": server_activity.read_index_builds(connection) if status == "running" else [],
        "collections": collections,
        "follow": read_follow(connection, namespace),
        "cutover": read_cutover(connection, namespace),
    }


def read_cutover(connection: Connection, namespace: Namespace) -> Status | None:
    """Return the latest attempt at a cutover, with its steps; None if there was none.

    `status`: switched, undone, or unfinished: under way in another process, or to be undone by the next call.
    """
    records = cutover_steps.read_latest(connection, namespace)
    if not records:
        return None
    if any(each.is_switch for each in records):
        found = "switched"
    else:
        found = "unfinished" if any(each.is_left for each in records) else "undone"
    first = records[0]
    return {
        "attempt": first.attempt, "direction": first.direction, "dry_run": first.dry_run, "began": first.began,
        "status": found, "steps": [each.as_json() for each in records],
    }  # fmt: skip


def read_follow(connection: Connection, namespace: Namespace) -> Status | None:
    """Return how far the target is behind a source that is followed; None if none is."""
    found = read_sync_status(connection, namespace)
    if found is None:
        return None
    names = ("receive_lag", "apply_lag", "window_left", "receiver_age")
    seconds = {name: getattr(found, name) for name in names}
    return {
        "state": found.state,
        "received": found.received,
        "applied": found.applied,
        "dirty": found.dirty,
        "marked": found.marked,
        **{name: None if value is None else round(value, 3) for name, value in seconds.items()},
        "receiver_waiting": found.receiver_waiting,
        "returning": read_returning(connection, namespace) if found.state == sync.SWITCHED else None,
    }


def read_returning(connection: Connection, namespace: Namespace) -> Status:
    """Return what the return of changes to the source has to do, and what it could not do."""
    query = namespace.sql(
        "SELECT count(DISTINCT (table_name, key)), extract(epoch FROM clock_timestamp() - min(at))::float8,"
        " (SELECT count(*) FROM {conflicts}), (SELECT count(*) FROM {unreturned} WHERE NOT rounded) FROM {changes}"
    )
    waiting, lag, conflicts, unreturned = connection.execute(query).fetchone() or (0, None, 0, 0)
    return {
        "waiting": waiting, "lag": round(lag or 0.0, 3), "conflicts": conflicts, "unreturned": unreturned,
    }  # fmt: skip


def read_rate(connection: Connection, namespace: Namespace) -> int | None:
    """Return the documents per second in the last minute; None if there were none."""
    query = namespace.sql(
        "SELECT coalesce(sum(documents), 0)::bigint, coalesce(extract(epoch FROM max(committed) - min(committed)), 0)"
        " FROM {batches} WHERE committed > clock_timestamp() - interval '1 minute'"
    )
    found = connection.execute(query).fetchone()
    documents, seconds = (int(found[0]), float(found[1])) if found else (0, 0.0)
    return round(documents / seconds) if seconds else None


def read_collections(connection: Connection, namespace: Namespace) -> list[Status]:
    """Return the progress and the present rate of every collection of the source."""
    query = namespace.sql(
        "SELECT m.collection, coalesce(b.documents, 0)::bigint, coalesce(b.bytes, 0)::bigint, m.documents, m.bytes,"
        " coalesce(b.batches, 0), b.latest, coalesce(b.recent, 0)::bigint, coalesce(b.recent_bytes, 0)::bigint"
        " FROM {metadata} m LEFT JOIN ("
        "  SELECT collection, sum(documents) AS documents, sum(bytes) AS bytes, count(*) AS batches,"
        "  max(committed) AS latest,"
        "  sum(documents) FILTER (WHERE committed > clock_timestamp() - make_interval(secs => %(recent)s)) AS recent,"
        "  sum(bytes) FILTER (WHERE committed > clock_timestamp() - make_interval(secs => %(recent)s)) AS recent_bytes"
        "  FROM {batches} GROUP BY 1) b USING (collection) ORDER BY 1"
    )
    readings = partitions.read_progress(connection, namespace)
    complete = partitions.complete(readings)
    counts: dict[str, list[int]] = {}
    for reading in readings:
        count = counts.setdefault(reading.part.collection, [0, 0])
        count[0] += reading.done
        count[1] += 1
    rows = connection.execute(query, {"recent": RATE_WINDOW}).fetchall()
    return [
        {
            "name": name, "documents": documents, "documents_total": total, "bytes": size, "bytes_total": size_total,
            "complete": name in complete, "parts": counts.get(name, [0, 0])[1],
            "parts_done": counts.get(name, [0, 0])[0], "batches": batches,
            "latest": latest and latest.isoformat(), "documents_per_second": round(recent / RATE_WINDOW),
            "bytes_per_second": round(recent_bytes / RATE_WINDOW),
        }
        for name, documents, size, total, size_total, batches, latest, recent, recent_bytes in rows
    ]  # fmt: skip


def seconds_left(collections: list[Status]) -> float | None:
    """Return the seconds until the collections are read, at the present rate; None if sizes or the rate are unknown.

    The size of a live collection may be unknown: its number of documents counts then. A collection of which neither is
    known is not included.
    """
    rate = sum(each["bytes_per_second"] for each in collections)
    read = sum(each["documents"] for each in collections)
    mean = sum(each["bytes"] for each in collections) / read if read else 0.0
    left = sum(bytes_left(each, mean) for each in collections)
    return round(left / rate, 1) if left and rate else None


def bytes_left(each: Status, mean: float) -> float:
    """Return the bytes that remain to be read of a collection; `mean`: bytes per document, for an unknown size."""
    if each["complete"]:
        return 0.0
    if each["bytes_total"] is not None:
        return float(max(0, each["bytes_total"] - each["bytes"]))
    if each["documents_total"] is None:
        return 0.0
    own = each["bytes"] / each["documents"] if each["documents"] else mean
    return float(max(0.0, own * (each["documents_total"] - each["documents"])))


def add_seconds_left(collections: list[Status]) -> list[Status]:
    """Return the collections with the seconds until each is read at its present rate; None if that is unknown."""
    return [{**each, "seconds_left": None if each["complete"] else seconds_left([each])} for each in collections]


def describe_step(each: ActivityRow) -> Status:
    """Return progress, rate and time left of a current step."""
    done, seconds = each.done or 0, max(each.seconds, 0.001)
    rate = done / seconds
    left = (each.total - done) / rate if each.total and rate else None
    return {
        "step": each.name, "done": done, "total": each.total, "unit": each.unit, "seconds": round(each.seconds, 1),
        "per_second": round(rate, 1), "seconds_left": None if left is None else round(max(0.0, left), 1),
    }  # fmt: skip


def find_slowest(heartbeats: list[ActivityRow], running: bool) -> Status | None:
    """Return the step with the longest duration so far; None if there are no steps."""
    steps = [each for each in heartbeats if each.kind == "step" and (each.ended or running)]
    if not steps:
        return None
    longest = max(steps, key=lambda each: each.seconds)
    return {"step": longest.name, "seconds": round(longest.seconds, 1)}


def find_waits(connection: Connection, heartbeats: list[ActivityRow]) -> list[str]:
    """Return one message per reason why the run waits: throttling, source, locks, or no heartbeat of the process."""
    found = []
    for each in heartbeats:
        if each.waiting and each.age < FRESH:
            found.append(f"throttled: {each.waiting}" if each.kind == "throttle" else f"{each.name}: {each.waiting}")
        if each.kind == "rate_limit" and each.age < 1:
            found.append("limited by engine.max_rows_per_second")
    found += server_activity.read_blocked(connection)
    silent = min((each.age for each in heartbeats if each.kind == "step" and not each.ended), default=0.0)
    if silent > FRESH:
        found.append(f"no heartbeat of the run's process for {silent:.0f} s")
    return found
