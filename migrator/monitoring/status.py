"""Where a run stands, read from the journal, the record of activity and the server: for `migrate status`."""

from __future__ import annotations

from typing import Any

from migrator.monitoring import server_activity
from migrator.state import activity, journal, partitions
from migrator.state.activity import FRESH, ActivityRow
from migrator.state.lock import find_holder
from migrator.state.records import Connection, Namespace, has_records

RECENT = 10  # seconds over which a collection's rate is taken
Status = dict[str, Any]


def read_status(connection: Connection, namespace: Namespace) -> Status:
    """Run, steps, collections, rates, time left, what is waited for. The keys are the contract of `status --json`.

    A run whose process is gone is `interrupted`: the same command goes on.
    """
    latest = journal.latest_run(connection, namespace) if has_records(connection, namespace) else None
    if latest is None:
        return {"run": None, "status": "none", "steps": [], "collections": []}
    run, status, _ = latest
    holder = find_holder(connection)
    if status == "running" and holder is None:
        status = "interrupted"
    known = activity.read(connection, namespace)
    collections = read_collections(connection, namespace)
    under_way = [each for each in known if each.kind == "step" and not each.ended] if status == "running" else []
    return {
        "run": run,
        "status": status,
        "holder": None if holder is None else str(holder),
        "steps": sorted(journal.finished_steps(connection, namespace)),
        "documents_per_second": read_rate(connection, namespace),
        "seconds_left": seconds_left(collections) if status == "running" else None,
        "current": [describe(each) for each in under_way],
        "finished": [{"step": each.name, "seconds": round(each.seconds, 1)} for each in known if each.ended],
        "slowest": slowest(known, status == "running"),
        "waiting": waiting(connection, known) if status == "running" else [],
        "indexes": server_activity.builds(connection) if status == "running" else [],
        "collections": collections,
    }


def read_rate(connection: Connection, namespace: Namespace) -> int | None:
    """Documents a second in the last minute."""
    query = namespace.sql(
        "SELECT coalesce(sum(documents), 0)::bigint, coalesce(extract(epoch FROM max(committed) - min(committed)), 0)"
        " FROM {batches} WHERE committed > clock_timestamp() - interval '1 minute'"
    )
    found = connection.execute(query).fetchone()
    documents, seconds = (int(found[0]), float(found[1])) if found else (0, 0.0)
    return round(documents / seconds) if seconds else None


def read_collections(connection: Connection, namespace: Namespace) -> list[Status]:
    """Every collection of the source: what has been read of what there is, and how fast in the last seconds."""
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
    rows = connection.execute(query, {"recent": RECENT}).fetchall()
    return [
        {
            "name": name, "documents": documents, "documents_total": total, "bytes": size, "bytes_total": size_total,
            "complete": name in complete, "parts": counts.get(name, [0, 0])[1],
            "parts_done": counts.get(name, [0, 0])[0], "batches": batches,
            "latest": latest and latest.isoformat(), "documents_per_second": round(recent / RECENT),
            "bytes_per_second": round(recent_bytes / RECENT),
        }
        for name, documents, size, total, size_total, batches, latest, recent, recent_bytes in rows
    ]  # fmt: skip


def seconds_left(collections: list[Status]) -> float | None:
    """Until all has been read, at the rate of the last seconds. None where sizes are not known, or nothing moves."""
    left = 0
    for each in collections:
        if not each["complete"]:
            if each["bytes_total"] is None:
                return None
            left += max(0, each["bytes_total"] - each["bytes"])
    rate = sum(each["bytes_per_second"] for each in collections)
    return round(left / rate, 1) if left and rate else None


def describe(each: ActivityRow) -> Status:
    """A step under way."""
    done, seconds = each.done or 0, max(each.seconds, 0.001)
    rate = done / seconds
    left = (each.total - done) / rate if each.total and rate else None
    return {
        "step": each.name, "done": done, "total": each.total, "unit": each.unit, "seconds": round(each.seconds, 1),
        "per_second": round(rate, 1), "seconds_left": None if left is None else round(max(0.0, left), 1),
    }  # fmt: skip


def slowest(known: list[ActivityRow], running: bool) -> Status | None:
    """The step that has taken longest, those under way among them."""
    steps = [each for each in known if each.kind == "step" and (each.ended or running)]
    if not steps:
        return None
    most = max(steps, key=lambda each: each.seconds)
    return {"step": most.name, "seconds": round(most.seconds, 1)}


def waiting(connection: Connection, known: list[ActivityRow]) -> list[str]:
    """Sentences: held back, a source that does not answer, locks of others, a process that says nothing any more."""
    found = []
    for each in known:
        if each.waiting and each.age < FRESH:
            found.append(f"held back: {each.waiting}" if each.kind == "throttle" else f"{each.name}: {each.waiting}")
        if each.kind == "rate_limit" and each.age < 1:
            found.append("held to engine.max_rows_per_second")
    found += server_activity.blocked(connection)
    silent = min((each.age for each in known if each.kind == "step" and not each.ended), default=0.0)
    if silent > FRESH:
        found.append(f"the run's process has given no sign of life for {silent:.0f} s")
    return found
