"""A saved plan and its fingerprints, so that `run --plan` executes exactly this plan or refuses to run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from migrator.errors import PlanError, UsageError
from migrator.formatting import format_count
from migrator.workflows.plan_report import PlanReport
from migrator.workflows.reports import RunReport

Plan = dict[str, Any]  # the result of `PlanReport.as_json`
_CREATE_HINT = "Create a plan with: migrate plan --out FILE"


def write_plan(path: Path, report: PlanReport, *, sampled: bool) -> None:
    """Write a plan as JSON. Raises: `UsageError` if the file cannot be written, or if the plan is based on a sample."""
    if sampled:
        raise UsageError("a plan based on a sample cannot be executed", hint="Remove --sample or --out.")
    try:
        path.write_text(json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def read_plan(path: Path) -> Plan:
    """Return a saved plan. Raises: `UsageError` if the file is not a plan."""
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint=_CREATE_HINT) from error
    except ValueError as error:
        raise UsageError(f"{path} is not a plan: {error}", hint=_CREATE_HINT) from error
    if not isinstance(plan, dict) or not isinstance(plan.get("fingerprints"), dict):
        raise UsageError(f"{path} is not a plan", hint=_CREATE_HINT)
    return plan


def require_current(plan: Plan, fingerprints: Mapping[str, str], target: str | None) -> None:
    """Raises: `PlanError` if the plan has blockers, or if source, configuration, mappings or target have changed.

    `target` is a digest of the target's schema, or None if the run has begun. Then its original schema is unknown, and
    the records of the run determine what must not change.
    """
    if plan.get("blockers"):
        raise PlanError(
            f"the plan has {format_count(plan['blockers'], 'blockers')}", hint="Fix the causes, then create a new plan."
        )
    now = dict(fingerprints) if target is None else {**fingerprints, "target": target}
    changed = [name for name, value in now.items() if plan["fingerprints"].get(name) != value]
    if changed:
        raise PlanError(
            f"the plan is out of date; changed since it was created: {', '.join(changed)}",
            hint="Create a new plan, review it and run it.",
        )


def find_deviations(plan: Plan, report: RunReport) -> list[str]:
    """Return the collections whose outcome differs from the prediction, because rows of the target have changed."""
    predicted = {each["name"]: each["predicted"] for each in plan["source"]["collections"]}
    return [
        name
        for name, counts in report.collections.items()
        if name in predicted and {key: counts.as_json()[key] for key in predicted[name]} != predicted[name]
    ]
