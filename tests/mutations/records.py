"""What schema `migrator` keeps: ledger, residues, rejects, archive, findings, journal."""

from __future__ import annotations

from bson import ObjectId

from migrator.documents.codec import decode, encode
from tests.mutations.base import Bench, Kind, Planted, table_of

RECORDS: dict[str, Kind] = {}
plant = table_of(RECORDS)


def pick_record(bench: Bench, relation: str, where: str = "true") -> tuple[str, str, str]:
    """(ctid, collection, what a check calls the document) of a random record."""
    place, collection, source_id = bench.pick(f"migrator.{relation}", "ctid::text, collection, source_id", where)
    return place, collection, f"{collection} {decode(bytes(source_id)).get('_id')}"


def change_record(
    bench: Bench, relation: str, change: str, where: str, column: str, checks: tuple[str, ...] = ()
) -> Planted:
    place, _, name = pick_record(bench, relation, where)
    bench.change(f"UPDATE migrator.{relation} SET {change} WHERE ctid = %s::tid", place)
    return Planted(checks=checks or (relation,), row=name, column=column)


def lose_record(bench: Bench, relation: str, where: str, *checks: str) -> Planted:
    place, _, name = pick_record(bench, relation, where)
    bench.change(f"DELETE FROM migrator.{relation} WHERE ctid = %s::tid", place)
    return Planted(checks=checks or (relation,), row=name)


@plant("ledger: an entry of a loaded document lost")
def loaded_lost(bench: Bench) -> Planted:
    return lose_record(bench, "ledger", "outcome = 'loaded'")


@plant("ledger: an entry of a rejected document lost")
def rejected_lost(bench: Bench) -> Planted:
    return lose_record(bench, "ledger", "outcome = 'rejected'")


@plant("ledger: an entry of an archived document lost")
def archived_lost(bench: Bench) -> Planted:
    return lose_record(bench, "ledger", "outcome = 'archived'")


@plant("ledger: an entry twice")
def twice(bench: Bench) -> Planted:
    place, _, name = pick_record(bench, "ledger")
    bench.change("INSERT INTO migrator.ledger SELECT * FROM migrator.ledger WHERE ctid = %s::tid", place)
    return Planted(checks=("ledger",), row=name)


@plant("ledger: another outcome")
def outcome(bench: Bench) -> Planted:
    return change_record(bench, "ledger", "outcome = 'rejected'", "outcome = 'archived'", "outcome")


@plant("ledger: loaded, says an entry of what was not")
def outcome_loaded(bench: Bench) -> Planted:
    return change_record(bench, "ledger", "outcome = 'loaded'", "outcome = 'rejected'", "outcome")


@plant("ledger: another row's id")
def target_other(bench: Bench) -> Planted:
    (other,) = bench.pick("messages")
    change = f"target_id = '{other}'"
    where = f"collection = 'messages' AND outcome = 'loaded' AND target_id <> '{other}'"
    return change_record(bench, "ledger", change, where, "target_id")


@plant("ledger: an id that is none")
def target_none(bench: Bench) -> Planted:
    return change_record(bench, "ledger", "target_id = 'planted'", "outcome = 'loaded'", "target_id")


@plant("ledger: no id")
def target_null(bench: Bench) -> Planted:
    return change_record(bench, "ledger", "target_id = NULL", "outcome = 'loaded'", "target_id")


@plant("ledger: another document's id")
def source_other(bench: Bench) -> Planted:
    place, _, name = pick_record(bench, "ledger")
    source_id = encode({"_id": ObjectId(bench.chance.randbytes(12))})
    bench.change("UPDATE migrator.ledger SET source_id = %s WHERE ctid = %s::tid", source_id, place)
    return Planted(checks=("ledger",), row=name)


@plant("ledger: another collection")
def collection_other(bench: Bench) -> Planted:
    place, _, name = pick_record(bench, "ledger", "collection <> 'courses'")
    bench.change("UPDATE migrator.ledger SET collection = 'courses' WHERE ctid = %s::tid", place)
    return Planted(checks=("ledger",), row=name)


@plant("residue: lost")
def residue_lost(bench: Bench) -> Planted:
    return change_record(bench, "ledger", "residue = NULL", "residue IS NOT NULL", "residue")


@plant("residue: one where there was none")
def residue_found(bench: Bench) -> Planted:
    made = encode({"set": {"planted": True}}).hex()
    where = "outcome = 'loaded' AND residue IS NULL"
    return change_record(bench, "ledger", f"residue = '\\x{made}'", where, "residue")


@plant("residue: a value changed")
def residue_changed(bench: Bench) -> Planted:
    place, residue = bench.pick("migrator.ledger", "ctid::text, residue", "residue IS NOT NULL")
    parts = decode(bytes(residue))
    name, value = next(iter(parts.items()))
    changed = {**parts, name: [*value, "planted"] if isinstance(value, list) else {**value, "planted": 1}}
    (source_id, collection) = bench.run(
        "SELECT source_id, collection FROM migrator.ledger WHERE ctid = %s::tid", place
    )[0]
    bench.change("UPDATE migrator.ledger SET residue = %s WHERE ctid = %s::tid", encode(changed), place)
    row = f"{collection} {decode(bytes(source_id)).get('_id')}"
    return Planted(checks=("ledger",), row=row, column="residue")


@plant("residue: damaged")
def residue_damaged(bench: Bench) -> Planted:
    damaged = "residue = substr(residue, 1, length(residue) - 3)"
    return change_record(bench, "ledger", damaged, "residue IS NOT NULL", "residue")


@plant("rejects: a document lost")
def reject_lost(bench: Bench) -> Planted:
    return lose_record(bench, "rejects", "true", "rejects", "rejects kept")


@plant("rejects: a document changed")
def reject_changed(bench: Bench) -> Planted:
    place, _, name = pick_record(bench, "rejects")
    (raw,) = bench.run("SELECT document FROM migrator.rejects WHERE ctid = %s::tid", place)[0]
    changed = encode({**decode(bytes(raw)), "planted": 1})
    bench.change("UPDATE migrator.rejects SET document = %s WHERE ctid = %s::tid", changed, place)
    return Planted(checks=("rejects",), row=name, column="document at planted")


@plant("rejects: another reason")
def reject_reason(bench: Bench) -> Planted:
    return change_record(bench, "rejects", "reason = 'planted'", "true", "reason")


@plant("rejects: another detail")
def reject_detail(bench: Bench) -> Planted:
    return change_record(bench, "rejects", "detail = detail || ' '", "true", "detail")


@plant("archive: a document lost")
def archive_lost(bench: Bench) -> Planted:
    return lose_record(bench, "archive", "true", "archive", "archive kept")


@plant("archive: a document changed")
def archive_changed(bench: Bench) -> Planted:
    place, _, name = pick_record(bench, "archive")
    (raw,) = bench.run("SELECT document FROM migrator.archive WHERE ctid = %s::tid", place)[0]
    changed = encode({**decode(bytes(raw)), "planted": 1})
    bench.change("UPDATE migrator.archive SET document = %s WHERE ctid = %s::tid", changed, place)
    return Planted(checks=("archive",), row=name, column="document at planted")


@plant("archive: a document more")
def archive_more(bench: Bench) -> Planted:
    source_id = ObjectId(bench.chance.randbytes(12))
    raw = encode({"_id": source_id})
    bench.change("INSERT INTO migrator.archive VALUES ('presets', %s, %s)", raw, raw)
    return Planted(checks=("archive", "archive kept"), row=f"presets {source_id}")


@plant("findings: one lost")
def finding_lost(bench: Bench) -> Planted:
    return lose_record(bench, "findings", "true")


@plant("findings: one more")
def finding_more(bench: Bench) -> Planted:
    place, _, name = pick_record(bench, "ledger", "outcome = 'loaded'")
    bench.change(
        "INSERT INTO migrator.findings SELECT collection, 'planted', 'info', source_id, '' FROM migrator.ledger"
        " WHERE ctid = %s::tid",
        place,
    )
    return Planted(checks=("findings",), row=name)


@plant("findings: another code")
def finding_code(bench: Bench) -> Planted:
    return change_record(bench, "findings", "code = 'planted'", "true", "code")


@plant("aliases: one lost")
def alias_lost(bench: Bench) -> Planted:
    place, collection, claimed = bench.pick("migrator.aliases", "ctid::text, collection, claimed")
    bench.change("DELETE FROM migrator.aliases WHERE ctid = %s::tid", place)
    return Planted(checks=("aliases",), row=f"{collection} {claimed}")


@plant("links: another place in the list")
def link_place(bench: Bench) -> Planted:
    place, collection, lister = bench.pick("migrator.links", "ctid::text, collection, lister")
    bench.change("UPDATE migrator.links SET position = position + 100 WHERE ctid = %s::tid", place)
    return Planted(checks=("links",), row=f"{collection} {lister}")


@plant("metadata: changed")
def metadata_changed(bench: Bench) -> Planted:
    place, collection = bench.pick("migrator.metadata", "ctid::text, collection", "metadata IS NOT NULL")
    bench.change("UPDATE migrator.metadata SET metadata = metadata || ' '::bytea WHERE ctid = %s::tid", place)
    return Planted(checks=("metadata",), row=collection, column="metadata")


@plant("journal: a batch lost")
def batch_lost(bench: Bench) -> Planted:
    place, collection = bench.pick("migrator.batches", "ctid::text, collection", "documents > 0")
    bench.change("DELETE FROM migrator.batches WHERE ctid = %s::tid", place)
    return Planted(checks=("journal",), row=collection)


@plant("journal: a batch of another size")
def batch_size(bench: Bench) -> Planted:
    place, collection = bench.pick("migrator.batches", "ctid::text, collection")
    bench.change("UPDATE migrator.batches SET documents = documents + 1 WHERE ctid = %s::tid", place)
    return Planted(checks=("journal",), row=collection)


@plant("journal: a collection that was not read to its end")
def batch_last(bench: Bench) -> Planted:
    place, collection = bench.pick("migrator.batches", "ctid::text, collection", "last")
    bench.change("UPDATE migrator.batches SET last = false WHERE ctid = %s::tid", place)
    return Planted(checks=("journal",), row=f"{collection}, partition 0")
