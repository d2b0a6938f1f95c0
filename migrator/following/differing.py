"""Which documents differ from those that the target holds: rebuilt from rows, rejected or archived, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.mapping.collection import Collection
from migrator.rows.rebuild import read_bson
from migrator.rows.store import RowStore


def find_differing(rows: RowStore, collection: Collection, documents: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return those of the documents (`source_id` → BSON) that the target does not hold in this form."""
    held = dict(_read_held(rows, collection, list(documents)))
    return {source_id: raw for source_id, raw in documents.items() if held.get(source_id) != raw}


def _read_held(rows: RowStore, collection: Collection, source_ids: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    values = {"name": collection.name, "ids": source_ids}
    query = rows.namespace.sql(
        "SELECT target_id FROM {ledger} WHERE collection = %(name)s AND source_id = ANY(%(ids)s) AND outcome = 'loaded'"
    )
    loaded = [row[0] for row in rows.connection.execute(query, values)]
    if loaded:
        yield from read_bson(rows, collection, loaded)
    query = rows.namespace.sql(
        "SELECT source_id, document FROM {rejects} WHERE collection = %(name)s AND source_id = ANY(%(ids)s)"
        " UNION ALL SELECT source_id, document FROM {archive} WHERE collection = %(name)s AND source_id = ANY(%(ids)s)"
    )
    for source_id, document in rows.connection.execute(query, values, binary=True):
        yield bytes(source_id), bytes(document)
