"""Backup of the rows that a forced revert would delete: one file per table, one JSON document per line (JSON Lines).

A line holds `kind` and `id`. `row` holds every column as PostgreSQL's `row_to_json` writes it, without loss:
`json_populate_record(NULL::messages, line->'row')` rebuilds the row. Lines about deleted rows and about schema objects
have no `row`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

from psycopg import sql

from migrator.errors import UsageError
from migrator.postgres.foreign_keys import Relation
from migrator.provenance.losses import WITHOUT_ROW, Loss
from migrator.provenance.owned_rows import TABLE, OwnedRows


def require_new(folder: Path) -> None:
    """Check that a folder is empty or does not exist. Raises: `UsageError`."""
    try:
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", hint="Use a new folder. Existing files are never overwritten.")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}", hint="Use a new folder.") from error


def write(owned: OwnedRows, losses: Iterable[Loss], folder: Path) -> dict[str, int]:
    """Write the affected rows to a new folder and return the number of lines per file.

    Only the owner can read the folder. All files are synced to disk before the function returns.

    Raises: `UsageError` if the folder is not empty or cannot be written.
    """
    require_new(folder)
    written: dict[str, int] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for loss in losses:
            name = file_name(loss.relation)
            with _open_for_append(folder / name) as file:
                written[name] = written.get(name, 0) + sum(1 for line in _format_lines(owned, loss) if file.write(line))
        _sync(folder)
    except OSError as error:
        raise UsageError(
            f"cannot write {folder}: {error.strerror}", hint="Nothing was reverted. Use another folder."
        ) from error
    return written


def file_name(relation: Relation) -> str:
    """Return the name of a table's file. Quoting makes every table name a valid file name."""
    return quote(f"{relation.schema}.{relation.name}", safe="") + ".jsonl"


@contextmanager
def _open_for_append(path: Path) -> Iterator[IO[str]]:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _format_lines(owned: OwnedRows, loss: Loss) -> Iterator[str]:
    kind = json.dumps(loss.kind)
    if loss.kind in WITHOUT_ROW:
        for row_id in owned.deleted_ids(loss.relation) if loss.kind == "deleted" else loss.ids:
            yield f'{{"kind": {kind}, "id": {json.dumps(row_id)}}}\n'
        return
    query = sql.SQL(
        "SELECT {id}, row_to_json(t)::text FROM {relation} t"
        " JOIN {table} b ON b.relation = t.tableoid AND b.row_ctid = t.ctid WHERE b.kind = {kind} ORDER BY 1"
    ).format(
        id=owned.format_id(loss.relation),
        relation=loss.relation.identifier,
        table=TABLE,
        kind=sql.Literal(loss.kind),
    )
    with owned.connection.cursor("backup") as cursor:
        for row_id, row in cursor.execute(query):
            # PostgreSQL escapes line breaks in values, but keeps those between the tokens of a `json` column.
            yield f'{{"kind": {kind}, "id": {json.dumps(row_id)}, "row": {row.replace(chr(10), " ")}}}\n'
