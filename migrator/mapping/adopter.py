"""The row that documents get as their owner if theirs does not exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migrator.config.models import Config

NOBODY = "reject"  # the value of the setting without an adopter


@dataclass(frozen=True, slots=True)
class Adopter:
    """The row of `collection` whose `column` has the value of `setting` (section.key of migrate.toml).

    If the value is "reject", there is none: documents without an owner are rejected.
    """

    collection: str
    column: str
    setting: str

    def value(self, config: Config) -> str | None:
        """Return the value that the column must have; None without an adopter."""
        section, key = self.setting.split(".")
        value: Any = getattr(getattr(config, section), key)
        return None if value == NOBODY else str(value)

    def without(self, config: Config) -> Config:
        """Return the configuration without an adopter."""
        section, key = self.setting.split(".")
        changed = getattr(config, section).model_copy(update={key: NOBODY})
        return config.model_copy(update={section: changed})

    def describe_missing(self, value: str) -> tuple[str, str]:
        """Return what is wrong if no row has the value, without its end, and what to do."""
        key = self.setting.partition(".")[2]
        return (
            f"{self.setting}: no document of {self.collection} with the {self.column} {value}",
            f'Use the {self.column} of a document in the source, or set {key} = "{NOBODY}".',
        )
