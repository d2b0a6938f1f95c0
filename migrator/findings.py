"""The codes of findings and reject reasons, with severity and meaning. Mappings use these codes only."""

from __future__ import annotations

INFO, WARNING = "info", "warning"

FINDINGS: dict[str, tuple[str, str]] = {
    "chunks_missing": (WARNING, "the file is marked as embedded, but it has no text chunks"),
    "children_disagree": (WARNING, "`children` contradicts the parentMessageId of a message; parentMessageId was used"),
    "clamped": (WARNING, "number outside the column's range; limited to the range, the original value is preserved"),
    "coerced": (INFO, "converted to the column's type"),
    "cycle_cut": (WARNING, "circular parent chain broken at the oldest message"),
    "dangling_agent": (WARNING, "references a nonexistent agent"),
    "dangling_file": (WARNING, "references a nonexistent file"),
    "dangling_parent": (WARNING, "invalid parent reference; stored as a root message"),
    "dangling_reference": (WARNING, "refers to a document that does not exist or was rejected; NULL used"),
    "date_coerced": (INFO, "date converted from another type"),
    "date_out_of_range": (WARNING, "date outside PostgreSQL's range, or after the year 9999"),
    "defaulted": (INFO, "required value missing; a default was used"),
    "duplicate_field": (WARNING, "field present twice; one value was used, the other one is preserved"),
    "element_not_loaded": (WARNING, "an element of a field could not become a row of its table; it is preserved"),
    "embedding_failed": (WARNING, "the text could not be embedded; `migrate embed` retries it"),
    "json_replaced": (WARNING, "JSON value that BSON cannot hold was replaced; the original text is preserved"),
    "merged": (INFO, "account merged into an earlier account with the same e-mail address"),
    "model_unknown": (WARNING, "model could not be determined"),
    "non_finite": (WARNING, "NaN or Infinity replaced with null"),
    "not_a_payment": (INFO, "usage record, not a payment; archived"),
    "nul_removed": (WARNING, "NUL character removed from text"),
    "orphan_adopted": (WARNING, "owner does not exist or was rejected; reassigned to policies.orphan_owner"),
    "parent_inferred": (INFO, "parent derived from `children`, because parentMessageId is missing"),
    "provider_unknown": (WARNING, "provider could not be determined"),
    "recording_ambiguous": (WARNING, "recording referenced by several modules; assigned to the smallest `_id`"),
    "recording_conflict": (WARNING, "module and recording have different values; resolved by recordings.prefer"),
    "recording_superseded": (INFO, "the module uses a newer recording; archived"),
    "recording_unmatched": (WARNING, "the recording belongs to no loaded module; archived"),
    "rekeyed": (WARNING, "ID conflict; a new UUID was derived from `_id`"),
    "rounded": (INFO, "rounded to the precision of the column; the original value is preserved"),
    "source_changed": (WARNING, "the collection was written to during the load; some writes may be missing"),
    "temporary": (WARNING, "has an expiry date: the application would have deleted it; see policies.temporary"),
    "text_empty": (INFO, "text is empty; not embedded"),
    "text_split": (INFO, "text exceeds the model's limit; its vector is the mean of several parts"),
    "too_long": (WARNING, "text exceeds the size limit of the column's index"),
    "unknown_enum": (WARNING, "value not in the enum; the column's default was used"),
    "vector_dimensions": (WARNING, "vector of the source has other dimensions than embedding.dimensions; not loaded"),
    "vector_not_used": (INFO, "vector of the source not loaded, because chunks.vectors is reembed"),
    "vector_reused": (INFO, "vector of the source loaded, because chunks.vectors is reuse"),
    "vector_unusable": (WARNING, "vector of the source malformed, zero, or with NaN or infinity; not loaded"),
    "wrong_type": (WARNING, "type not convertible; default or NULL used"),
}

# Findings that a missing document causes in the documents that reference it. `rejects retry` examines these again.
RETRYABLE = (
    "dangling_agent",
    "dangling_file",
    "dangling_reference",
    "element_not_loaded",
    "model_unknown",
    "orphan_adopted",
    "provider_unknown",
)

REASONS: dict[str, str] = {
    "duplicate_email": "an earlier account has the same e-mail address",
    "duplicate_id": "another document has the same target ID",
    "duplicate_key": "another document has the same unique value",
    "fractional_amount": "the amount has a fraction of a cent",
    "missing_required": "a required value is missing",
    "orphan": "refers to a missing or rejected parent record",
    "target_constraint": "a constraint or an index of the target refuses the row",
    "too_long": "text exceeds the size limit of the column's index",
    "undecodable": "the document or file cannot be decoded",
    "wrong_type": "a required value has a type that cannot be converted",
}

# The setting that loads documents rejected for a reason. All other causes are corrected in the source.
SETTINGS: dict[str, str] = {
    "duplicate_email": 'policies.duplicate_email = "merge"',
    "fractional_amount": "transactions.amount_unit",
    "orphan": 'policies.orphan_owner = "EMAIL" if the missing record is the owner',
}


def describe_remedy(reason: str) -> str:
    """Returns what loads the documents that were rejected for this reason."""
    setting = SETTINGS.get(reason)
    return "correct the source" if setting is None else f"correct the source, or set {setting}"


def severity_of(code: str) -> str:
    """Returns the severity of a finding: INFO or WARNING."""
    return FINDINGS[code][0]
