"""The values that every workflow needs, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrator.config.models import Config
from migrator.events import Emit
from migrator.mapping.certain_keys import certain_keys, unread_keys
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres.late_keys import find_document_keys, find_late_keys
from migrator.postgres.statements import Ref
from migrator.sources.base import Source
from migrator.state.records import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationContext:
    """One migration: its configuration, mappings and source, the schemas of the target, and the receiver of events.

    `follows`: whether the changes of the source are received during the load and applied afterwards.
    """

    config: Config
    definition: MigrationDefinition
    source: Source
    emit: Emit
    namespace: Namespace = field(default_factory=Namespace)
    follows: bool = False

    @property
    def late_keys(self) -> frozenset[Ref]:
        """The keys that the target gets after the load, before rows are found by them."""
        metadata, mappings = self.definition.metadata, self.definition.mappings.values()
        certain = find_late_keys(metadata, certain_keys(mappings))
        return certain | find_document_keys(metadata, unread_keys(mappings), certain)
