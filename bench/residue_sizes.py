"""Sizes of residues by field, from the ledger of a finished run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg

from migrator.documents.codec import Document, decode, encode
from migrator.mapping.collection import Collection
from migrator.mapping.references import UncheckedReference
from migrator.mapping.rules import Implied
from migrator.state.records import Namespace

MAX_DOCUMENTS = 50_000


@dataclass(frozen=True, slots=True)
class ResidueSizes:
    """Residues of one collection.

    `empty` is the share of documents without residue. `smallest` is the share of documents with no residue, or with a
    residue only of fields that no column contains and no rule restores. `bytes` are bytes per
    document by field, largest first.
    """

    empty: float
    smallest: float
    bytes: dict[str, float]


def measure_residues(connection: psycopg.Connection[Any], collection: Collection) -> ResidueSizes:
    """Measure the residues of a collection's loaded documents."""
    query = Namespace().sql("SELECT residue FROM {ledger} WHERE collection = %s AND outcome = 'loaded' LIMIT %s")
    found = [row[0] for row in connection.execute(query, (collection.name, MAX_DOCUMENTS))]
    residues = [decode(bytes(residue)) for residue in found if residue is not None]
    weights = Counter[str]()
    for residue in residues:
        weights.update(measure_fields(residue))
    count = max(1, len(found))
    small = sum(has_constant_fields_only(collection, residue) for residue in residues)
    return ResidueSizes(
        empty=(len(found) - len(residues)) / count,
        smallest=(len(found) - len(residues) + small) / count,
        bytes={name: weight / count for name, weight in weights.most_common(12)},
    )


def measure_fields(residue: Document) -> dict[str, int]:
    """Return the bytes of each field of a residue."""
    weights = {name: len(encode({name: value})) - 5 for name, value in residue.get("set", {}).items()}
    weights |= {f"{name}, cut": len(encode({name: rest})) - 5 for name, rest in residue.get("cut", {}).items()}
    weights |= {f"{name}, first": 6 + len(name) for name in residue.get("first", {})}
    weights |= {f"{name}, form": 6 + len(name) for name in residue.get("form", {})}
    return weights | {f"no {name}": 8 + len(name) for name in residue.get("unset", ())}


def has_constant_fields_only(collection: Collection, residue: Document) -> bool:
    """Return whether a residue has complete values only of fields that no column contains.

    These are IDs that are not UUIDs (the row has a digest of them), fields that a rule expects to be constant, and
    empty lists.
    """
    ids = {collection.key.path, *(rule.path for rule in collection.rules if isinstance(rule, UncheckedReference))}
    constant = {rule.path for rule in collection.rules if isinstance(rule, Implied) and not rule.inputs}
    setting = {name for name, value in residue.get("set", {}).items() if value != []}
    return not (setting & (collection.restored_fields - ids - constant))
