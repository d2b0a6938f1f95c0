"""Checks the number of rejected documents against `policies.max_rejected`, in `plan` and in `run`."""

from __future__ import annotations

from collections.abc import Mapping

from migrator.config.models import PoliciesConfig
from migrator.errors import RejectLimitError
from migrator.formatting import format_count
from migrator.state.ledger import Counts


def describe_excess(policies: PoliciesConfig, outcomes: Mapping[str, Counts]) -> str | None:
    """Return one sentence if more documents are rejected than allowed; otherwise None."""
    limit = policies.reject_limit
    rejected, documents = (sum(getattr(each, name) for each in outcomes.values()) for name in ("rejected", "source"))
    if limit is None or not limit.is_exceeded(rejected, documents):
        return None
    most = max((each for each in outcomes.items() if each[1].rejected), key=lambda each: each[1].rejected)
    return (
        f"{rejected:,} of {format_count(documents, 'documents')} rejected, but policies.max_rejected is {limit.text};"
        f" most of them in {most[0]} ({most[1].rejected:,})"
    )


def require_few_rejects(policies: PoliciesConfig, outcomes: Mapping[str, Counts]) -> None:
    """Raises: `RejectLimitError` if more documents are rejected than allowed."""
    excess = describe_excess(policies, outcomes)
    if excess is not None:
        raise RejectLimitError(
            excess,
            hint="`migrate rejects list` shows the reasons. No index was created. Raise policies.max_rejected and run"
            " the same command again, or fix the causes after `migrate revert`.",
        )
