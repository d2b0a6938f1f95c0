"""Many documents at once whose ids are rows' of others: the plain case of `claims`, a few queries a batch.

Plain is a document that is the only one of ours to claim its id, whose id a row has that was there before, and whose
own `_id` gives an id that nobody has. It gets that id, whatever becomes of the others; so the order is of no matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson.errors import InvalidBSON

from migrator import ids
from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode_sound
from migrator.rows.admission import existing, overlong
from migrator.rows.copy import copy_records, copy_rows
from migrator.state import journal
from migrator.translation.encoder import Output, drop, spell_id
from migrator.translation.outcomes import Loaded

if TYPE_CHECKING:
    from migrator.reconciliation.conflicts import ConflictResolver

AT_ONCE = 500
Rejected = tuple[bytes, int]  # source_id, the reject's number


@dataclass(frozen=True, slots=True)
class Claim:
    """A rejected document, the id that it claims, and the one that its `_id` gives."""

    source_id: bytes
    number: int
    raw: bytes
    document: Document
    claimed: Any
    own: Any


def settle_plain(claims: ConflictResolver, rejects: list[Rejected]) -> Iterator[Rejected]:
    """Rekeys the plain ones, batch by batch, and yields each that it has settled."""
    collection = claims.collection
    if not rejects or collection.owner is None or collection.unique or not _has_strangers(claims):
        return
    counts: Counter[Any] = Counter()
    owns: Counter[Any] = Counter()  # a text may spell the ObjectId of another document
    for claim in _read(claims, rejects):
        counts[claim.claimed] += 1
        owns[claim.own] += 1
    ids_once = {source_id for source_id, n in Counter(source_id for source_id, _ in rejects).items() if n == 1}
    found = (
        claim
        for claim in _read(claims, rejects)
        if counts[claim.claimed] == owns[claim.own] == 1 and claim.own not in counts and claim.source_id in ids_once
    )
    while batch := list(islice(found, AT_ONCE)):
        yield from _settle(claims, batch)


def _has_strangers(claims: ConflictResolver) -> bool:
    """Whether the table has rows that no document of ours became."""
    query = claims.namespace.sql(
        "SELECT (SELECT count(*) FROM {table}) > (SELECT count(*) FROM {ledger} WHERE collection = %s"
        " AND outcome = 'loaded')",
        table=claims.namespace.table(claims.collection.table.name),
    )
    return claims.connection.execute(query, (claims.collection.name,)).fetchone() == (True,)


def _read(claims: ConflictResolver, rejects: list[Rejected]) -> Iterator[Claim]:
    """Those of which an id can be had. Read twice: once to count, for documents do not fit into memory."""
    query = claims.namespace.sql("SELECT id, document FROM {rejects} WHERE id = ANY(%s)")
    key = claims.collection.key
    for start in range(0, len(rejects), AT_ONCE):
        numbers = [number for _, number in rejects[start : start + AT_ONCE]]
        for number, data in claims.connection.execute(query, (numbers,), binary=True).fetchall():
            raw = bytes(data)
            try:
                document = decode_sound(raw)
            except InvalidBSON:
                continue
            claimed = document.get(key.path)
            if "_id" in document and claimed is not None and claimed != "":
                own = ids.uuid_of(claims.collection.name, document["_id"], objectid=True)
                yield Claim(raw_bson.source_id(raw), number, raw, document, key.uuid(claimed), own)


def _settle(claims: ConflictResolver, batch: list[Claim]) -> Iterator[Rejected]:
    """One batch, one transaction. What turns out not to be plain is left."""
    with claims.connection.transaction():
        journal.record_transaction(claims.connection, claims.namespace)
        done = _bring(claims, _plain(claims, batch))
        _forget(claims, done)
    yield from ((claim.source_id, claim.number) for claim in done)


def _bring(claims: ConflictResolver, plain: list[Claim]) -> list[Claim]:
    """Loads what can be loaded under its new id; returns that."""
    translation, output = claims.translation([claim.document for claim in plain]), Output()
    done, aliases = [], []
    for place, claim in enumerate(plain):
        result, findings = translation.translate(
            claim.document, claim.own, claims.unfaithful(claim.document, claim.raw)
        )
        if isinstance(result, Loaded):
            claims.encoder.add(output, place, claim.source_id, claim.raw, result, claim.document)
            claims.encoder.add_findings(output, place, [*findings, claims.rekeyed(claim.source_id)])
            aliases.append((claim.claimed, claim.own, claims.owner_of(claim.document, result.row)))
            done.append(claim)
    if long := {index for index, _ in overlong(claims.connection, claims.collection, output)}:
        drop(output, long)
        aliases = [each for place, each in enumerate(aliases) if place not in long]
        done = [each for place, each in enumerate(done) if place not in long]
    copy_rows(claims.connection, claims.namespace, claims.encoder, output.rows)
    copy_records(claims.connection, claims.namespace, claims.collection.name, output)
    claims.alias(aliases)
    return done


def _plain(claims: ConflictResolver, batch: list[Claim]) -> list[Claim]:
    table, key = claims.namespace.table(claims.collection.table.name), claims.collection.key.column
    taken = existing(claims.connection, table, key, [id for claim in batch for id in (claim.claimed, claim.own)])
    spelled = [spell_id(claim.claimed) for claim in batch]
    query = claims.namespace.sql(
        "SELECT target_id FROM {ledger} WHERE collection = %(name)s AND outcome = 'loaded' AND target_id = ANY(%(ids)s)"
        " UNION ALL SELECT claimed FROM {aliases} WHERE collection = %(name)s AND claimed = ANY(%(ids)s)"
    )
    named = claims.connection.execute(query, {"name": claims.collection.name, "ids": spelled})
    ours = {row[0] for row in named}
    query = claims.namespace.sql(
        "SELECT source_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s) GROUP BY 1 HAVING count(*) > 1"
    )
    found = claims.connection.execute(query, (claims.collection.name, [claim.source_id for claim in batch]))
    copies = {bytes(row[0]) for row in found}
    return [
        claim
        for claim in batch
        if claim.claimed in taken
        and claim.own not in taken
        and spell_id(claim.claimed) not in ours
        and claim.source_id not in copies
    ]


def _forget(claims: ConflictResolver, done: list[Claim]) -> None:
    """They are not rejected any more."""
    query = claims.namespace.sql("DELETE FROM {rejects} WHERE id = ANY(%s)")
    claims.connection.execute(query, ([claim.number for claim in done],))
    query = claims.namespace.sql(
        "DELETE FROM {ledger} WHERE collection = %s AND outcome = 'rejected' AND source_id = ANY(%s)"
    )
    claims.connection.execute(query, (claims.collection.name, [claim.source_id for claim in done]))
