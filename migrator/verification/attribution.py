"""Finds the likely cause of a difference: the source, the target or the mapping. Uses evidence in the target only.

- The run committed a row and its ledger entry before it ended. If a row version is newer (`xmin`, which no UPDATE can
  keep), the target changed after the run.
- An unmodified row and its residue rebuild the document that the run read. If the source has a different document now,
  the source changed. Values computed from several documents (such as the date of the last message) may have changed
  with it.
- If both are unmodified and the same document maps to a different row, the mapping changed.

After pg_dump and pg_restore every row version is new, so no cause can be found (`own_transactions.is_traceable`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bson.errors import BSONError

from migrator.documents.codec import Document, decode_untrusted, same
from migrator.mapping.collection import Collection
from migrator.rows.loaded_rows import Choice
from migrator.rows.rebuild import read_bson_safely
from migrator.rows.store import RowStore
from migrator.state import own_transactions
from migrator.state.records import Namespace
from migrator.verification.model import Fault, Scope


def attribute_rows(
    scope: Scope, scratch: Namespace, mapping: Collection, ids: Iterable[str], newer: Iterable[str]
) -> dict[str, Fault]:
    """Return the likely cause for each row (target ID) that differs from the source.

    `scratch` holds the rows that the source gives now. `newer` names the rows written after the run.
    """
    wanted, causes = list(ids), dict.fromkeys(newer, "target")
    query = scope.namespace.sql(
        "SELECT l.target_id FROM {ledger} l WHERE l.collection = %s AND l.target_id = ANY(%s) AND {newer}",
        newer=own_transactions.written_after_run(scope.namespace, "l"),
    )
    for (target_id,) in scope.connection.execute(query, (mapping.name, wanted)):
        causes[target_id] = "target"
    left = [each for each in wanted if each not in causes]
    if not left:
        return dict.fromkeys(wanted, "target")
    query = scope.namespace.sql("SELECT target_id FROM {ledger} WHERE collection = %s AND target_id = ANY(%s)")
    in_ledger = {row[0] for row in scope.connection.execute(query, (mapping.name, left))}
    before = read_documents(scope.rows, mapping, left)
    now = read_documents(replace(scope.rows, namespace=scratch), mapping, left)
    return {
        each: "target" if each in causes else _attribute(scope, each in in_ledger, before.get(each), now.get(each))
        for each in wanted
    }


def _attribute(scope: Scope, in_ledger: bool, before: Document | None, now: Document | None) -> Fault:
    if before is None and in_ledger:
        return "target"  # the entry exists, its row does not
    if before is None or now is None or not same_document(before, now):
        return "source"
    return "source" if scope.source_changed and not scope.mapper_changed else "mapper"


def read_documents(rows: RowStore, mapping: Collection, ids: list[str]) -> dict[str, Document]:
    """Rebuild documents from rows and residues, by target ID; a damaged one is empty."""
    found: dict[str, Document] = {}
    for _, target_id, raw in read_bson_safely(rows, mapping, Choice("target_id", ids)):
        try:
            found[target_id] = {} if raw is None else decode_untrusted(raw)
        except BSONError:
            found[target_id] = {"": raw}
    return found


def same_document(one: Document, other: Document) -> bool:
    """Compare two documents, ignoring the order of their top-level fields."""
    return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
