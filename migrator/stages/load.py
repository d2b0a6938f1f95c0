"""Loads collections: each batch's rows, ledger, rejects, archive, findings and journal entry in one transaction.

Collections are read in levels, so that what a document refers to is in its table before. Documents that claim an id or
a unique value that is taken are rejected here; `reconcile` decides between the claimants once all have been seen.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from graphlib import TopologicalSorter
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from migrator import journal
from migrator.copying import copy_records, copy_rows
from migrator.encode import Output, drop
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.handover import Reject
from migrator.journal import Place
from migrator.mapping import Collection
from migrator.resolve import plain
from migrator.sources.base import Batch, Source
from migrator.translator import Translator, archive_batch

Connection = psycopg.Connection[Any]
BATCH_BYTES = 8 << 20  # decoded documents take about five times their BSON


def levels(mappings: Mapping[str, Collection]) -> list[list[str]]:
    """Collections in groups: each refers to collections of earlier groups only. Raises graphlib.CycleError."""
    sorter = TopologicalSorter({name: mapping.needs & mappings.keys() for name, mapping in mappings.items()})
    sorter.prepare()
    groups = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        groups.append(ready)
        sorter.done(*ready)
    return groups


def load(
    connection: Connection,
    place: Place,
    source: Source,
    collections: list[str],
    translators: Callable[[str], Translator | None],
    *,
    run: int,
    batch_rows: int,
    emit: Emit,
    observe: Callable[[Batch], None] | None = None,
) -> None:
    """Loads what is left of `collections`; a collection without a translator is archived."""
    read = journal.positions(connection, place)
    left = {name: read.get(name, ("", False))[0] for name in collections if not read.get(name, ("", False))[1]}
    if not left:
        return
    step = "load " + (collections[0] if len(collections) == 1 else f"{len(collections)} collections")
    emit(StepStarted(step=step))
    done = 0
    with without_collector():
        for batch in source.read(left, documents=batch_rows, size=BATCH_BYTES):
            if observe is not None:
                observe(batch)
            write_batch(connection, place, run, batch, translators(batch.collection))
            done += batch.count
            share = source.share_read()
            emit(StepAdvanced(step=step, done=done, total=round(done / share) if share else None))
    emit(StepFinished(step=step, note=f"{done:,} documents"))


@contextmanager
def without_collector() -> Iterator[None]:
    """Documents are trees: reference counts free them. The collector finds nothing, and takes 5 µs of 12 a document."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def write_batch(connection: Connection, place: Place, run: int, batch: Batch, translator: Translator | None) -> None:
    """One batch, one transaction."""
    with connection.transaction():
        if translator is None:
            output = archive_batch(batch.collection, batch.data)
        else:
            output, raws = translator.translate(batch.data)
            set_aside(connection, place, translator, output, raws)
            copy_rows(connection, place, translator.encoder, output.rows)
        copy_records(connection, place, output)
        journal.record_batch(connection, place, run, batch)


def set_aside(connection: Connection, place: Place, translator: Translator, output: Output, raws: list[bytes]) -> None:
    """Rejects what claims an id or a unique value that is taken, and what an index could not take."""
    refused: dict[int, Reject] = {}
    for index, reject in _taken(connection, place, translator.collection, output):
        refused.setdefault(index, reject)
    for index, column, text in output.probes:
        if index not in refused and not _passes(connection, translator.collection.probes[column], text):
            refused[index] = Reject(reason="too_long", detail=f"{column}: too long for its full-text index")
    for index, reject in refused.items():
        translator.reject(output, raws[output.places[index]], reject)
    if refused:
        drop(output, refused.keys())


def _taken(
    connection: Connection, place: Place, collection: Collection, output: Output
) -> Iterator[tuple[int, Reject]]:
    claims: list[tuple[str, str, list[Any]]] = [(collection.key.column, "duplicate_id", output.ids)]
    for number, (column, reason) in enumerate(collection.unique.items()):
        claims.append((column, reason, [values[number] for values in output.uniques]))
    for column, reason, values in claims:
        taken = _existing(connection, place.table(collection.table.name), column, values)
        for index, value in enumerate(values):
            if value is None:
                continue
            if value in taken:
                yield index, Reject(reason=reason, detail=column)
            taken.add(value)


def _existing(connection: Connection, table: sql.Identifier, column: str, values: list[Any]) -> set[Any]:
    asked = [value for value in values if value is not None]
    if not asked:
        return set()
    uuids = isinstance(asked[0], bytes)
    query = sql.SQL("SELECT {column} FROM {table} WHERE {column} = ANY(%s{cast})").format(
        column=sql.Identifier(column), table=table, cast=sql.SQL("::uuid[]" if uuids else "::text[]")
    )
    # 5,000 UUID objects take psycopg longer to write than the server takes to look them up: one literal instead.
    parameter = "{" + ",".join([value.hex() for value in asked]) + "}" if uuids else asked
    return {plain(value) for (value,) in connection.execute(query, (parameter,), binary=True)}


def _passes(connection: Connection, probe: str, text: str) -> bool:
    query = sql.SQL("SELECT {} IS NULL").format(sql.SQL(_literal(probe)).format(sql.Placeholder()))
    try:
        with connection.transaction():
            connection.execute(query, (text,))
    except psycopg.errors.ProgramLimitExceeded:
        return False
    return True


def _literal(text: str) -> LiteralString:
    # Probes are written in mappings, by the engineer who writes the schema; they are code, not data.
    return text
