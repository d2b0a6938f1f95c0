"""The index of the ledger by `_id`: a B-tree, unless an `_id` is too long for one, even if this one can be compressed.

The next one, which `follow` finds, may be random.
"""

from __future__ import annotations

import random

import pytest

from migrator.rows.ledger_indexes import create_source_index
from migrator.state.records import Namespace, create_records
from tests.integration.schemas import connected

ROW = "INSERT INTO migrator.ledger (collection, source_id, outcome) VALUES ('notes', %s, 'rejected')"
LONG = random.Random(1).randbytes(3000)


@pytest.mark.parametrize(
    ("ids", "method"), [([b"a"], "btree"), ([b"a", LONG], "hash"), ([], "btree"), ([b"a" * 3000], "hash")]
)
def test_the_index_fits_every_id(database: str, ids: list[bytes], method: str) -> None:
    """Where it was created, it stays, whatever it is."""
    with connected(database) as connection:
        create_records(connection, Namespace())
        for each in ids:
            connection.execute(ROW, (each,))
        create_source_index(connection, Namespace())
        create_source_index(connection, Namespace())
        query = (
            "SELECT a.amname FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
            " WHERE c.oid = 'migrator.ledger_source_idx'::regclass"
        )
        assert connection.execute(query).fetchall() == [(method,)]
