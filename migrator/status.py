"""Where a run stands, read from the journal: for `migrate status`."""

from __future__ import annotations

from typing import Any

from migrator import journal, parts
from migrator.journal import Connection, Place


def read_status(connection: Connection, place: Place) -> dict[str, Any]:
    """Run, steps done, documents and bytes by collection, the rate of the last minute."""
    latest = journal.latest_run(connection, place) if journal.has_records(connection, place) else None
    if latest is None:
        return {"run": None, "status": "none", "steps": [], "collections": []}
    by_collection = place.sql(
        "SELECT collection, sum(documents)::bigint, sum(bytes)::bigint, count(*),"
        " max(committed) FROM {batches} GROUP BY 1 ORDER BY 1"
    )
    recent = place.sql(
        "SELECT coalesce(sum(documents), 0)::bigint, coalesce(extract(epoch FROM max(committed) - min(committed)), 0)"
        " FROM {batches} WHERE committed > clock_timestamp() - interval '1 minute'"
    )
    found = connection.execute(recent).fetchone()
    documents, seconds = (int(found[0]), float(found[1])) if found else (0, 0.0)
    complete = parts.complete(parts.readings(connection, place))
    return {
        "run": latest[0],
        "status": latest[1],
        "steps": sorted(journal.finished_steps(connection, place)),
        "documents_per_second": round(documents / seconds) if seconds else None,
        "collections": [
            {"name": name, "documents": count, "bytes": size, "complete": name in complete, "batches": batches,
             "latest": moment.isoformat()}
            for name, count, size, batches, moment in connection.execute(by_collection)
        ],
    }  # fmt: skip
