"""What the columns cannot give back: bytes of residue a document, by field, out of the ledger of a finished run."""

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

MOST = 50_000  # documents that are weighed


@dataclass(frozen=True, slots=True)
class Weights:
    """Of one collection: the share of documents without residue; of those with none but of fields that no column holds
    and no rule gives back; bytes a document by field, the heaviest first."""

    empty: float
    smallest: float
    bytes: dict[str, float]


def weigh(connection: psycopg.Connection[Any], collection: Collection) -> Weights:
    query = Namespace().sql("SELECT residue FROM {ledger} WHERE collection = %s AND outcome = 'loaded' LIMIT %s")
    found = [row[0] for row in connection.execute(query, (collection.name, MOST))]
    residues = [decode(bytes(residue)) for residue in found if residue is not None]
    weights = Counter[str]()
    for residue in residues:
        weights.update(weigh_fields(residue))
    count = max(1, len(found))
    small = sum(is_smallest(collection, residue) for residue in residues)
    return Weights(
        empty=(len(found) - len(residues)) / count,
        smallest=(len(found) - len(residues) + small) / count,
        bytes={name: weight / count for name, weight in weights.most_common(12)},
    )


def weigh_fields(residue: Document) -> dict[str, int]:
    """Bytes of each field's part of a residue."""
    weights = {name: len(encode({name: value})) - 5 for name, value in residue.get("set", {}).items()}
    weights |= {f"{name}, cut": len(encode({name: rest})) - 5 for name, rest in residue.get("cut", {}).items()}
    weights |= {f"{name}, first": 6 + len(name) for name in residue.get("first", {})}
    weights |= {f"{name}, form": 6 + len(name) for name in residue.get("form", {})}
    return weights | {f"no {name}": 8 + len(name) for name in residue.get("unset", ())}


def is_smallest(collection: Collection, residue: Document) -> bool:
    """Whether a residue holds whole values only of fields that no column holds.

    Of these are ids that are no UUID (the target's id is a digest of them), fields that a rule takes for constant, and
    empty lists.
    """
    ids = {collection.key.path, *(rule.path for rule in collection.rules if isinstance(rule, UncheckedReference))}
    constant = {rule.path for rule in collection.rules if isinstance(rule, Implied) and not rule.inputs}
    setting = {name for name, value in residue.get("set", {}).items() if value != []}
    return not (setting & (collection.restored_fields - ids - constant))
