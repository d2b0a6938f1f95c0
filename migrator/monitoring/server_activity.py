"""What the server reports about a current run: sessions that wait for a lock, and the progress of index builds.

`migrate status` reads it in its own session.
"""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

_BLOCKED = r"""
    SELECT coalesce(nullif(split_part(regexp_replace(a.query, '\s+', ' ', 'g'), ' (', 1), ''), a.state),
           extract(epoch FROM clock_timestamp() - a.query_start)::float8,
           b.pid, coalesce(nullif(b.application_name, ''), 'a client'), b.usename
      FROM pg_stat_activity a
     CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS blocking (pid)
      JOIN pg_stat_activity b ON b.pid = blocking.pid
     WHERE a.datname = current_database()
       AND a.application_name LIKE 'migrate%' AND b.application_name NOT LIKE 'migrate%'
"""
_BUILDS = """
    SELECT coalesce(i.relname, '(new index)'), c.relname, p.phase,
           CASE WHEN p.blocks_total > 0 THEN p.blocks_done::float8 / p.blocks_total
                WHEN p.tuples_total > 0 THEN p.tuples_done::float8 / p.tuples_total END,
           extract(epoch FROM clock_timestamp() - a.query_start)::float8
      FROM pg_stat_progress_create_index p
      JOIN pg_stat_activity a USING (pid)
      LEFT JOIN pg_class c ON c.oid = p.relid
      LEFT JOIN pg_class i ON i.oid = p.index_relid
     WHERE p.datname = current_database()
     ORDER BY 5 DESC
"""


def read_blocked(connection: Connection) -> list[str]:
    """Return one message per session of this run that waits for a lock of another application."""
    return [
        f"{statement[:60]}: waiting {seconds:.0f} s for a lock held by {name} (pid {pid}, role {user})"
        for statement, seconds, pid, name, user in connection.execute(_BLOCKED)
    ]


def read_index_builds(connection: Connection) -> list[dict[str, Any]]:
    """Return the current index builds, the longest first; `share`: of the present phase, from 0 to 1, or None."""
    return [
        {"index": index, "table": table, "phase": phase, "share": share, "seconds": round(seconds, 1)}
        for index, table, phase, share, seconds in connection.execute(_BUILDS)
    ]
