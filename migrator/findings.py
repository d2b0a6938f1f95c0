"""The vocabulary of findings and reject reasons: code → severity and what it means. Mappings use these codes only."""

from __future__ import annotations

INFO, WARNING = "info", "warning"

FINDINGS: dict[str, tuple[str, str]] = {
    "chunks_missing": (WARNING, "a file is marked as embedded, but no chunk of its text was found"),
    "children_disagree": (WARNING, "`children` names a message that says it has another parent; parentMessageId won"),
    "clamped": (WARNING, "a number beyond the column's range was clamped; the exact value is kept beside it"),
    "coerced": (INFO, "a value of another type was read as the column's type"),
    "cycle_cut": (WARNING, "a ring of messages was cut above the oldest"),
    "dangling_agent": (WARNING, "names an agent that does not exist"),
    "dangling_file": (WARNING, "names a file that does not exist"),
    "dangling_parent": (WARNING, "the parent message is gone, is itself, or is in another conversation; now a root"),
    "date_coerced": (INFO, "a date was stored as another type"),
    "date_out_of_range": (WARNING, "a date beyond PostgreSQL's range or above the year 9999"),
    "defaulted": (INFO, "the source had no value where the target needs one"),
    "embedding_failed": (WARNING, "no embedding could be had for the text; `migrate embed` tries again"),
    "merged": (INFO, "an account with an e-mail that an earlier account has; its content went to that account"),
    "model_unknown": (WARNING, "no model could be determined"),
    "non_finite": (WARNING, "NaN or Infinity became null"),
    "not_a_payment": (INFO, "a transaction without amount, status and type; archived"),
    "nul_removed": (WARNING, "U+0000 was taken out of a text"),
    "orphan_adopted": (WARNING, "the owner is gone; policies.orphan_owner took over"),
    "parent_inferred": (INFO, "no parentMessageId; the one message whose `children` names it is its parent"),
    "provider_unknown": (WARNING, "no provider could be determined"),
    "recording_ambiguous": (WARNING, "several modules name this recording; it went to the one with the smallest _id"),
    "recording_conflict": (WARNING, "module and recording have different values; recordings.prefer decided"),
    "recording_superseded": (INFO, "a newer recording is that of the module; archived"),
    "recording_unmatched": (WARNING, "no module was loaded that this recording belongs to; archived"),
    "rekeyed": (WARNING, "another owner's document has the same id; this one got the UUID of its own _id"),
    "text_empty": (INFO, "a text without anything to embed"),
    "text_split": (INFO, "a text over the model's limit; its vector is the mean of its pieces'"),
    "too_long": (WARNING, "a text is too long for the column's index"),
    "unknown_enum": (WARNING, "a value outside the enum; the column's default was used"),
    "wrong_type": (WARNING, "a value of a wrong type without an obvious reading; default or NULL was used"),
}

# What a document that was not there made of those that refer to it: `rejects retry` looks at these again.
RETRYABLE = ("dangling_agent", "dangling_file", "model_unknown", "orphan_adopted", "provider_unknown")

REASONS: dict[str, str] = {
    "duplicate_email": "an earlier account has the same e-mail",
    "duplicate_id": "another document has the same target id",
    "duplicate_key": "another document has the same unique value",
    "fractional_amount": "the amount has a fraction of a cent",
    "missing_required": "a value the target needs is missing",
    "orphan": "what it belongs to is gone or was rejected",
    "too_long": "a text is too long for the column's index",
    "undecodable": "the BSON of this document cannot be decoded",
    "wrong_type": "a value the target needs has a wrong type",
}


def severity_of(code: str) -> str:
    return FINDINGS[code][0]
