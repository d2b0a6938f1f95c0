"""What a revert would delete or change that is not of the migration alone: the kinds of rows, and their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from migrator.postgres.foreign_keys import Relation

# owned: not modified since the migration wrote the row.
# modified: migrated, then modified by another client.
# foreign_referrer: not migrated; refers to a row that will be deleted.
# in_dropped_table: not migrated; in a table that will be dropped.
# deleted: migrated, then deleted by another client.
# set_null: not migrated; its reference would be set to NULL.
# unattributable: migrated; a later modification can be neither proved nor excluded.
# schema_altered: schema object that another client added to a table that will be dropped.
OwnershipKind = Literal[
    "owned",
    "modified",
    "foreign_referrer",
    "in_dropped_table",
    "deleted",
    "set_null",
    "unattributable",
    "schema_altered",
]
LOST: tuple[OwnershipKind, ...] = (
    "modified",
    "foreign_referrer",
    "in_dropped_table",
    "deleted",
    "set_null",
    "unattributable",
    "schema_altered",
)
WITHOUT_ROW: tuple[OwnershipKind, ...] = ("deleted", "schema_altered")  # kinds that have a name but no row to save
MEANINGS: dict[OwnershipKind, str] = {
    "modified": "migrated, modified later",
    "foreign_referrer": "not migrated, refer to rows that will be deleted",
    "in_dropped_table": "not migrated, in a table that will be dropped",
    "deleted": "migrated, deleted later",
    "set_null": "not migrated, reference would be set to NULL",
    "schema_altered": "schema objects added later to a table that will be dropped",
    "unattributable": "migrated, later changes cannot be excluded (database restored from a dump)",
}
MAX_IDS = 1000  # per table and kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Rows of one table that a revert would delete or change for one reason. `ids`: the first `MAX_IDS` of them."""

    relation: Relation
    kind: OwnershipKind
    count: int
    ids: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {"table": self.relation.label, "kind": self.kind, "count": self.count, "ids": list(self.ids)}
