"""IDs of rows that the application created in PostgreSQL, and that their documents cannot hold.

Such a row has a random UUID, and its document an ObjectId, from which another UUID follows: the original ID. The record
`given_ids` keeps the UUID of the row, so that a document that is resolved again has the same row: users of the
application may know its ID. References of documents name the ObjectId, and lead to the row by the same record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from migrator.documents.codec import decode
from migrator.mapping.collection import Collection
from migrator.rows.store import RowStore
from migrator.state.records import Namespace
from migrator.translation.encoder import format_target_id

GivenIds = dict[Any, Any]  # original ID → ID of the row, as plain values


def has_derived_ids(collection: Collection) -> bool:
    """Return whether the IDs of rows follow from the `_id`s of documents."""
    key = collection.key
    return key.path == "_id" and key.is_derived and not any(key.column in rule.columns for rule in collection.rules)


def original_id(collection: Collection, source_id: bytes, row_id: Any) -> Any:
    """Return the ID that a document gives its row, if it is another than the row has; otherwise None."""
    if not has_derived_ids(collection):
        return None
    found = collection.key.uuid(decode(source_id)["_id"])
    return None if found == row_id else found


def has_given_ids(rows: RowStore) -> bool:
    """Return whether any row has an ID that its document does not give."""
    found = rows.connection.execute(rows.namespace.sql("SELECT EXISTS (SELECT FROM {given_ids})")).fetchone()
    return found == (True,)


def read_given_ids(rows: RowStore, collection: Collection, originals: Iterable[Any]) -> GivenIds:
    """Return the IDs of rows whose documents give others, by these."""
    query = rows.namespace.sql(
        "SELECT original_id, target_id FROM {given_ids} WHERE collection = %s AND original_id = ANY(%s)"
    )
    values = (collection.name, [format_target_id(each) for each in originals])
    return {UUID(original).bytes: UUID(target).bytes for original, target in rows.connection.execute(query, values)}


def add_given_ids(rows: RowStore, found: Iterable[tuple[str, Any, str]]) -> None:
    """Record the IDs of rows: (collection, original ID as a plain value, ID of the row as text)."""
    query = rows.namespace.sql(
        "INSERT INTO {given_ids} (collection, original_id, target_id) VALUES (%s, %s, %s)"
        " ON CONFLICT (collection, original_id) DO UPDATE SET target_id = excluded.target_id"
    )
    with rows.connection.cursor() as cursor:
        cursor.executemany(query, [(name, format_target_id(original), row_id) for name, original, row_id in found])


def copy_given_ids(rows: RowStore, records: Namespace) -> None:
    """Copy what another namespace has recorded, so that the same documents get the same rows."""
    query = rows.namespace.sql(
        "INSERT INTO {given_ids} SELECT * FROM {source} ON CONFLICT DO NOTHING", source=records.sql("{given_ids}")
    )
    rows.connection.execute(query)
