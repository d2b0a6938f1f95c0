"""The sections and policies of migrate.toml that belong to this migration. `settings.toml` describes them to users."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from migrator.config.auxiliary import ChunksSection, TableSection
from migrator.config.fields import Text
from migrator.config.models import Config, PoliciesConfig, Section

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def _check_owner(value: str) -> str:
    if value != "reject" and not _EMAIL.fullmatch(value):
        raise ValueError('must be "reject" or the e-mail address of a user')
    return value


def _compile(value: object) -> object:
    """Compile a regular expression. pydantic's own message does not say what is wrong with it."""
    if not isinstance(value, str):
        return value
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"invalid regular expression: {error}") from error


class Policies(PoliciesConfig):
    """Decisions about documents that cannot be loaded as they are."""

    orphan_owner: Annotated[str, AfterValidator(_check_owner)] = "reject"
    duplicate_email: Literal["reject", "merge"] = "reject"
    temporary: Literal["load", "archive"] = "load"


class RecordingsSection(TableSection):
    """The source of recordings."""

    table: Text = "recordings"
    prefer: Literal["module", "recording"] = "module"


class TransactionsSection(Section):
    """The unit of amounts in the source."""

    amount_unit: Literal["cents", "major"] = "cents"


class StorageRule(Section):
    """One rule that rewrites the address of stored files. `source` None: all files."""

    source: Text | None = None
    provider: Text
    match: Annotated[re.Pattern[str], BeforeValidator(_compile)]
    key: Text
    url: Text

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        for name in ("key", "url"):
            for reference in re.findall(r"\$(\d)", getattr(self, name)):
                if int(reference) > self.match.groups:
                    raise ValueError(f"{name} uses ${reference}, but match has only {self.match.groups} groups")
        return self

    def rewrite(self, source: str | None, path: str) -> tuple[str, str] | None:
        """Return the new (key, url) of a file; None if the rule does not apply to it."""
        if self.source is not None and self.source != source:
            return None
        found = self.match.search(path)
        if found is None:
            return None
        return self._fill(self.key, found), self._fill(self.url, found)

    @staticmethod
    def _fill(template: str, found: re.Match[str]) -> str:
        return re.sub(r"\$(\d)", lambda reference: found[int(reference[1])] or "", template)


class Settings(Config):
    """The configuration of this migration. A section that is missing is None, and its feature is off."""

    ACCEPTED_BY_RETRY: ClassVar[Mapping[str, str | None]] = {
        # A run with "reject" rejected all documents that another value concerns.
        "policies.orphan_owner": "reject",
        "policies.duplicate_email": "reject",
        # A retry undoes the merges and applies them again.
        "recordings.prefer": None,
    }

    policies: Policies = Policies()
    recordings: RecordingsSection | None = None
    chunks: ChunksSection | None = None
    transactions: TransactionsSection = TransactionsSection()
    storage: tuple[StorageRule, ...] = ()
