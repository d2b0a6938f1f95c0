"""The codes of findings and reject reasons of this migration, in addition to those of the engine."""

from __future__ import annotations

from migrator.findings import INFO, WARNING, declare

declare(
    {
        "children_disagree": (
            WARNING,
            "`children` contradicts the parentMessageId of a message; parentMessageId was used",
        ),
        "chunks_missing": (WARNING, "the file is marked as embedded, but it has no text chunks"),
        "cycle_cut": (WARNING, "circular parent chain broken at the oldest message"),
        "dangling_agent": (WARNING, "references a nonexistent agent"),
        "dangling_file": (WARNING, "references a nonexistent file"),
        "dangling_parent": (WARNING, "invalid parent reference; stored as a root message"),
        "merged": (INFO, "account merged into an earlier account with the same e-mail address"),
        "model_unknown": (WARNING, "model could not be determined"),
        "not_a_payment": (INFO, "usage record, not a payment; archived"),
        "orphan_adopted": (WARNING, "owner does not exist or was rejected; reassigned to policies.orphan_owner"),
        "parent_inferred": (INFO, "parent derived from `children`, because parentMessageId is missing"),
        "provider_unknown": (WARNING, "provider could not be determined"),
        "recording_ambiguous": (WARNING, "recording referenced by several modules; assigned to the smallest `_id`"),
        "recording_conflict": (WARNING, "module and recording have different values; resolved by recordings.prefer"),
        "recording_superseded": (INFO, "the module uses a newer recording; archived"),
        "recording_unmatched": (WARNING, "the recording belongs to no loaded module; archived"),
        "temporary": (WARNING, "has an expiry date: the application would have deleted it; see policies.temporary"),
    },
    {
        "duplicate_email": "an earlier account has the same e-mail address",
        "fractional_amount": "the amount has a fraction of a cent",
    },
    settings={
        "duplicate_email": 'policies.duplicate_email = "merge"',
        "fractional_amount": "transactions.amount_unit",
        "orphan": 'policies.orphan_owner = "EMAIL" if the missing record is the owner',
    },
    retryable=("dangling_agent", "dangling_file", "model_unknown", "orphan_adopted", "provider_unknown"),
)
