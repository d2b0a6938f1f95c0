"""Mutations of schema `migrator`: ledger, residues, rejects, archive, findings, journal."""

from __future__ import annotations

from bson import ObjectId

from migrator.documents.codec import decode, encode
from tests.mutations.base import Expectation, Mutation, MutationContext, make_decorator

RECORDS: dict[str, Mutation] = {}
mutation = make_decorator(RECORDS)


def pick_record(context: MutationContext, relation: str, where: str = "true") -> tuple[str, str, str]:
    """Return (ctid, collection, name in a check) of a random record."""
    place, collection, source_id = context.pick_row(f"migrator.{relation}", "ctid::text, collection, source_id", where)
    return place, collection, f"{collection} {decode(bytes(source_id)).get('_id')}"


def change_record(context: MutationContext, relation: str, change: str, where: str, column: str) -> Expectation:
    place, _, name = pick_record(context, relation, where)
    context.change_row(f"UPDATE migrator.{relation} SET {change} WHERE ctid = %s::tid", place)
    return Expectation(checks=(relation,), row=name, column=column)


def lose_record(context: MutationContext, relation: str, where: str, *checks: str) -> Expectation:
    place, _, name = pick_record(context, relation, where)
    context.change_row(f"DELETE FROM migrator.{relation} WHERE ctid = %s::tid", place)
    return Expectation(checks=checks or (relation,), row=name)


@mutation("ledger: entry of a loaded document deleted")
def loaded_lost(context: MutationContext) -> Expectation:
    return lose_record(context, "ledger", "outcome = 'loaded'")


@mutation("ledger: entry of a rejected document deleted")
def rejected_lost(context: MutationContext) -> Expectation:
    return lose_record(context, "ledger", "outcome = 'rejected'")


@mutation("ledger: entry of an archived document deleted")
def archived_lost(context: MutationContext) -> Expectation:
    return lose_record(context, "ledger", "outcome = 'archived'")


@mutation("ledger: duplicate entry")
def twice(context: MutationContext) -> Expectation:
    place, _, name = pick_record(context, "ledger")
    context.change_row("INSERT INTO migrator.ledger SELECT * FROM migrator.ledger WHERE ctid = %s::tid", place)
    return Expectation(checks=("ledger",), row=name)


@mutation("ledger: outcome changed")
def outcome(context: MutationContext) -> Expectation:
    return change_record(context, "ledger", "outcome = 'rejected'", "outcome = 'archived'", "outcome")


@mutation("ledger: rejected document marked as loaded")
def outcome_loaded(context: MutationContext) -> Expectation:
    return change_record(context, "ledger", "outcome = 'loaded'", "outcome = 'rejected'", "outcome")


@mutation("ledger: target ID of another row")
def target_other(context: MutationContext) -> Expectation:
    (other,) = context.pick_row("messages")
    change = f"target_id = '{other}'"
    where = f"collection = 'messages' AND outcome = 'loaded' AND target_id <> '{other}'"
    return change_record(context, "ledger", change, where, "target_id")


@mutation("ledger: invalid target ID")
def target_none(context: MutationContext) -> Expectation:
    return change_record(context, "ledger", "target_id = 'injected'", "outcome = 'loaded'", "target_id")


@mutation("ledger: target ID removed")
def target_null(context: MutationContext) -> Expectation:
    return change_record(context, "ledger", "target_id = NULL", "outcome = 'loaded'", "target_id")


@mutation("ledger: source ID of another document")
def source_other(context: MutationContext) -> Expectation:
    place, _, name = pick_record(context, "ledger")
    source_id = encode({"_id": ObjectId(context.random.randbytes(12))})
    context.change_row("UPDATE migrator.ledger SET source_id = %s WHERE ctid = %s::tid", source_id, place)
    return Expectation(checks=("ledger",), row=name)


@mutation("ledger: collection changed")
def collection_other(context: MutationContext) -> Expectation:
    place, _, name = pick_record(context, "ledger", "collection <> 'courses'")
    context.change_row("UPDATE migrator.ledger SET collection = 'courses' WHERE ctid = %s::tid", place)
    return Expectation(checks=("ledger",), row=name)


@mutation("residue: removed")
def residue_lost(context: MutationContext) -> Expectation:
    return change_record(context, "ledger", "residue = NULL", "residue IS NOT NULL", "residue")


@mutation("residue: added")
def residue_found(context: MutationContext) -> Expectation:
    made = encode({"set": {"injected": True}}).hex()
    where = "outcome = 'loaded' AND residue IS NULL"
    return change_record(context, "ledger", f"residue = '\\x{made}'", where, "residue")


@mutation("residue: value changed")
def residue_changed(context: MutationContext) -> Expectation:
    place, residue = context.pick_row("migrator.ledger", "ctid::text, residue", "residue IS NOT NULL")
    parts = decode(bytes(residue))
    name, value = next(iter(parts.items()))
    changed = {**parts, name: [*value, "injected"] if isinstance(value, list) else {**value, "injected": 1}}
    (source_id, collection) = context.run(
        "SELECT source_id, collection FROM migrator.ledger WHERE ctid = %s::tid", place
    )[0]
    context.change_row("UPDATE migrator.ledger SET residue = %s WHERE ctid = %s::tid", encode(changed), place)
    row = f"{collection} {decode(bytes(source_id)).get('_id')}"
    return Expectation(checks=("ledger",), row=row, column="residue")


@mutation("residue: damaged")
def residue_damaged(context: MutationContext) -> Expectation:
    damaged = "residue = substr(residue, 1, length(residue) - 3)"
    return change_record(context, "ledger", damaged, "residue IS NOT NULL", "residue")


@mutation("rejects: document deleted")
def reject_lost(context: MutationContext) -> Expectation:
    return lose_record(context, "rejects", "true", "rejects", "rejects kept")


@mutation("rejects: document changed")
def reject_changed(context: MutationContext) -> Expectation:
    place, _, name = pick_record(context, "rejects")
    (raw,) = context.run("SELECT document FROM migrator.rejects WHERE ctid = %s::tid", place)[0]
    changed = encode({**decode(bytes(raw)), "injected": 1})
    context.change_row("UPDATE migrator.rejects SET document = %s WHERE ctid = %s::tid", changed, place)
    return Expectation(checks=("rejects",), row=name, column="document at injected")


@mutation("rejects: reason changed")
def reject_reason(context: MutationContext) -> Expectation:
    return change_record(context, "rejects", "reason = 'injected'", "true", "reason")


@mutation("rejects: detail changed")
def reject_detail(context: MutationContext) -> Expectation:
    return change_record(context, "rejects", "detail = detail || ' '", "true", "detail")


@mutation("archive: document deleted")
def archive_lost(context: MutationContext) -> Expectation:
    return lose_record(context, "archive", "true", "archive", "archive kept")


@mutation("archive: document changed")
def archive_changed(context: MutationContext) -> Expectation:
    place, _, name = pick_record(context, "archive")
    (raw,) = context.run("SELECT document FROM migrator.archive WHERE ctid = %s::tid", place)[0]
    changed = encode({**decode(bytes(raw)), "injected": 1})
    context.change_row("UPDATE migrator.archive SET document = %s WHERE ctid = %s::tid", changed, place)
    return Expectation(checks=("archive",), row=name, column="document at injected")


@mutation("archive: document added")
def archive_more(context: MutationContext) -> Expectation:
    source_id = ObjectId(context.random.randbytes(12))
    raw = encode({"_id": source_id})
    context.change_row("INSERT INTO migrator.archive VALUES ('presets', %s, %s)", raw, raw)
    return Expectation(checks=("archive", "archive kept"), row=f"presets {source_id}")


@mutation("findings: finding deleted")
def finding_lost(context: MutationContext) -> Expectation:
    return lose_record(context, "findings", "true")


@mutation("findings: finding added")
def finding_more(context: MutationContext) -> Expectation:
    place, _, name = pick_record(context, "ledger", "outcome = 'loaded'")
    context.change_row(
        "INSERT INTO migrator.findings SELECT collection, 'injected', 'info', source_id, '' FROM migrator.ledger"
        " WHERE ctid = %s::tid",
        place,
    )
    return Expectation(checks=("findings",), row=name)


@mutation("findings: code changed")
def finding_code(context: MutationContext) -> Expectation:
    return change_record(context, "findings", "code = 'injected'", "true", "code")


@mutation("aliases: alias deleted")
def alias_lost(context: MutationContext) -> Expectation:
    place, collection, original_id = context.pick_row("migrator.aliases", "ctid::text, collection, original_id")
    context.change_row("DELETE FROM migrator.aliases WHERE ctid = %s::tid", place)
    return Expectation(checks=("aliases",), row=f"{collection} {original_id}")


@mutation("links: position changed")
def link_place(context: MutationContext) -> Expectation:
    place, collection, lister = context.pick_row("migrator.links", "ctid::text, collection, lister")
    context.change_row("UPDATE migrator.links SET position = position + 100 WHERE ctid = %s::tid", place)
    return Expectation(checks=("links",), row=f"{collection} {lister}")


@mutation("metadata: changed")
def metadata_changed(context: MutationContext) -> Expectation:
    place, collection = context.pick_row("migrator.metadata", "ctid::text, collection", "metadata IS NOT NULL")
    context.change_row("UPDATE migrator.metadata SET metadata = metadata || ' '::bytea WHERE ctid = %s::tid", place)
    return Expectation(checks=("metadata",), row=collection, column="metadata")


@mutation("journal: batch deleted")
def batch_lost(context: MutationContext) -> Expectation:
    place, collection = context.pick_row("migrator.batches", "ctid::text, collection", "documents > 0")
    context.change_row("DELETE FROM migrator.batches WHERE ctid = %s::tid", place)
    return Expectation(checks=("journal",), row=collection)


@mutation("journal: batch size changed")
def batch_size(context: MutationContext) -> Expectation:
    place, collection = context.pick_row("migrator.batches", "ctid::text, collection")
    context.change_row("UPDATE migrator.batches SET documents = documents + 1 WHERE ctid = %s::tid", place)
    return Expectation(checks=("journal",), row=collection)


@mutation("journal: partition not read to its end")
def batch_last(context: MutationContext) -> Expectation:
    place, collection = context.pick_row("migrator.batches", "ctid::text, collection", "last")
    context.change_row("UPDATE migrator.batches SET last = false WHERE ctid = %s::tid", place)
    return Expectation(checks=("journal",), row=f"{collection}, partition 0")
