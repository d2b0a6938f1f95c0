"""The statements that create a schema, as values: each creates one object, and has an undo statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

# In the order of execution. A load needs the kinds up to `unique_index`: without them, COPY could load an ID twice. It
# does not need keys that no row can violate (`late_keys.py`).
# Row-level security follows: it takes no time, and no user should read rows of other tenants while indexes are built.
# The policy comes before it is enabled: without a policy, only the owner can read the rows.
# A vector index comes last: it is trained on the rows, and its build can use all cores.
# `schema_changes` also records schema `migrator`, which no statement here creates.
Kind = Literal[
    "schema",
    "extension",
    "enum",
    "domain",
    "table",
    "key",
    "unique",
    "check",
    "unique_index",
    "policy",
    "row_security",
    "index",
    "foreign_key",
    "vector_index",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
BEFORE_LOAD = frozenset(KINDS[: KINDS.index("policy")])


class Ref(NamedTuple):
    """Identifies an object. `table` is '' for schemas, extensions and types.

    Names of constraints are unique per table only.
    """

    kind: Kind
    table: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One object: `sql` creates it, `undo_sql` drops it if it exists. The objects in `needs` must be created before.

    `method` is the access method of an index, '' for other kinds. `columns` are those of a key or unique constraint
    that can also be made in two steps: `index_sql` builds its index, without excluding other builds on the table, and
    `attach_sql` makes it the index of the constraint. Until then, `drop_index_sql` drops it.
    """

    kind: Kind
    table: str
    name: str
    sql: str
    undo_sql: str
    needs: tuple[Ref, ...] = ()
    method: str = ""
    columns: tuple[str, ...] = ()
    index_sql: str = ""
    attach_sql: str = ""
    drop_index_sql: str = ""

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.table, self.name)

    @property
    def before_load(self) -> bool:
        return self.kind in BEFORE_LOAD
