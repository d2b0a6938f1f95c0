"""The codes of findings and reject reasons, with severity and meaning: those of the engine.

A package of mappings adds its own with `declare` when it is imported. Mappings use these codes only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

INFO, WARNING = "info", "warning"

FINDINGS: dict[str, tuple[str, str]] = {
    "clamped": (WARNING, "number outside the column's range; limited to the range, the original value is preserved"),
    "coerced": (INFO, "converted to the column's type"),
    "cycle_cut": (WARNING, "circular parent chain broken at the oldest row"),
    "dangling_parent": (WARNING, "invalid parent reference; stored as a root"),
    "dangling_reference": (WARNING, "refers to a document that does not exist or was rejected; NULL used"),
    "date_coerced": (INFO, "date converted from another type"),
    "date_out_of_range": (WARNING, "date outside PostgreSQL's range, or after the year 9999"),
    "defaulted": (INFO, "required value missing; a default was used"),
    "duplicate_field": (WARNING, "field present twice; one value was used, the other one is preserved"),
    "element_not_loaded": (WARNING, "an element of a field could not become a row of its table; it is preserved"),
    "embedding_failed": (WARNING, "the text could not be embedded; `migrate embed` retries it"),
    "json_replaced": (WARNING, "JSON value that BSON cannot hold was replaced; the original text is preserved"),
    "merged": (INFO, "merged into an earlier document with the same unique value"),
    "non_finite": (WARNING, "NaN or Infinity replaced with null"),
    "nul_removed": (WARNING, "NUL character removed from text"),
    "parent_inferred": (INFO, "parent derived from a list of children, because the document names none"),
    "rekeyed": (WARNING, "ID conflict; a new UUID was derived from `_id`"),
    "rounded": (INFO, "rounded to the precision of the column; the original value is preserved"),
    "source_changed": (WARNING, "the collection was written to during the load; some writes may be missing"),
    "text_empty": (INFO, "text is empty; not embedded"),
    "text_split": (INFO, "text exceeds the model's limit; its vector is the mean of several parts"),
    "too_long": (WARNING, "text exceeds the size limit of the column's index"),
    "unknown_enum": (WARNING, "value not in the enum; the column's default was used"),
    "vector_dimensions": (WARNING, "vector of the source has other dimensions than embedding.dimensions; not loaded"),
    "vector_not_used": (INFO, 'vector of the source not loaded, because `vectors` is "reembed"'),
    "vector_reused": (INFO, 'vector of the source loaded, because `vectors` is "reuse"'),
    "vector_unusable": (WARNING, "vector of the source malformed, zero, or with NaN or infinity; not loaded"),
    "wrong_type": (WARNING, "type not convertible; default or NULL used"),
}

# Findings that a missing document causes in the documents that reference it. `rejects retry` examines these again.
RETRYABLE = {"dangling_reference", "element_not_loaded"}

REASONS: dict[str, str] = {
    "duplicate_id": "another document has the same target ID",
    "duplicate_key": "another document has the same unique value",
    "missing_required": "a required value is missing",
    "no_table": "no mapping takes a document with this value; see `Collection.where`",
    "orphan": "refers to a missing or rejected parent record",
    "target_constraint": "a constraint or an index of the target refuses the row",
    "too_long": "text exceeds the size limit of the column's index",
    "undecodable": "the document or file cannot be decoded",
    "wrong_type": "a required value has a type that cannot be converted",
}

# The setting that loads documents rejected for a reason. All other causes are corrected in the source.
SETTINGS: dict[str, str] = {}


def declare(
    findings: Mapping[str, tuple[str, str]],
    reasons: Mapping[str, str],
    *,
    settings: Mapping[str, str] | None = None,
    retryable: Iterable[str] = (),
) -> None:
    """Add the codes of a package of mappings, or change the meaning of codes of the engine.

    `findings`: code → (severity, meaning); `reasons`: code → meaning; `settings`: reason → the setting that loads the
    rejected documents; `retryable`: the findings that a missing document causes in those that refer to it.
    """
    FINDINGS.update(findings)
    REASONS.update(reasons)
    SETTINGS.update(settings or {})
    RETRYABLE.update(retryable)


def describe_remedy(reason: str) -> str:
    """Returns what loads the documents that were rejected for this reason."""
    setting = SETTINGS.get(reason)
    return "correct the source" if setting is None else f"correct the source, or set {setting}"


def severity_of(code: str) -> str:
    """Returns the severity of a finding: INFO or WARNING."""
    return FINDINGS[code][0]
