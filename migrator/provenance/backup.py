"""Rows that a forced revert would lose, as files: one for each table, one JSON document a line.

A line holds `kind` and `id`; `row` holds every column as PostgreSQL's own `row_to_json` writes it, which loses nothing:
`json_populate_record(NULL::messages, line->'row')` is the row again. Of a row that was deleted there is no `row`,
nor of what was added to a table.
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
from migrator.provenance.owned_rows import ROWLESS, TABLE, Loss, OwnedRows


def require_new(folder: Path) -> None:
    """Raises `UsageError` for a folder that holds something already."""
    try:
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", hint="Name a new folder: nothing is ever overwritten.")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{folder} cannot be used: {error.strerror}", hint="Name a new folder.") from error


def write(belongings: OwnedRows, losses: Iterable[Loss], folder: Path) -> dict[str, int]:
    """Writes the rows to a new folder, readable by its owner only, and waits for the disk. Returns lines by file."""
    require_new(folder)
    written: dict[str, int] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for loss in losses:
            name = file_name(loss.relation)
            with _appending(folder / name) as file:
                written[name] = written.get(name, 0) + sum(1 for line in _lines(belongings, loss) if file.write(line))
        _sync(folder)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}", hint="Nothing was taken back. Name another folder."
        ) from error
    return written


def file_name(relation: Relation) -> str:
    """Whatever a table is called, this is a file in the folder."""
    return quote(f"{relation.schema}.{relation.name}", safe="") + ".jsonl"


@contextmanager
def _appending(path: Path) -> Iterator[IO[str]]:
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


def _lines(belongings: OwnedRows, loss: Loss) -> Iterator[str]:
    kind = json.dumps(loss.kind)
    if loss.kind in ROWLESS:
        for row_id in belongings.deleted_ids(loss.relation) if loss.kind == "deleted" else loss.ids:
            yield f'{{"kind": {kind}, "id": {json.dumps(row_id)}}}\n'
        return
    query = sql.SQL(
        "SELECT {id}, row_to_json(t)::text FROM {relation} t"
        " JOIN {table} b ON b.relation = t.tableoid AND b.place = t.ctid WHERE b.kind = {kind} ORDER BY 1"
    ).format(
        id=belongings.spell_id(loss.relation),
        relation=loss.relation.identifier,
        table=TABLE,
        kind=sql.Literal(loss.kind),
    )
    with belongings.connection.cursor("keepsakes") as cursor:
        for row_id, row in cursor.execute(query):
            # A line break in a value is escaped; one between the words of a `json` column is not.
            yield f'{{"kind": {kind}, "id": {json.dumps(row_id)}, "row": {row.replace(chr(10), " ")}}}\n'
