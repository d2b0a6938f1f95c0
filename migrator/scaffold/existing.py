"""The tables of a target that exists already: columns, primary keys and foreign keys, as the draft needs them.

What the draft does not declare, such as further indexes and constraints, is the owner's: the engine keeps it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from migrator.postgres.column_kinds import find_kind
from migrator.targets.base import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingColumn:
    """A column. `kind` is None if the loader cannot write it; `is_generated`: PostgreSQL computes or numbers it."""

    name: str
    type: Any
    kind: str | None
    nullable: bool
    default: str | None
    is_generated: bool

    @property
    def needs_value(self) -> bool:
        """Whether a row without a value is refused."""
        return not (self.nullable or self.is_generated or self.default is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingKey:
    """A foreign key of one column to the primary key of a table."""

    name: str
    column: str
    table: str
    referred: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingTable:
    """A table in the schema public. `primary_key`: the names of its columns."""

    name: str
    columns: tuple[ExistingColumn, ...]
    primary_key: tuple[str, ...]
    primary_key_name: str | None
    foreign_keys: tuple[ExistingKey, ...]
    unique: frozenset[str]

    def column(self, name: str) -> ExistingColumn:
        """Return the column with this name."""
        return next(each for each in self.columns if each.name == name)

    def foreign_key(self, column: str) -> ExistingKey | None:
        """Return the foreign key of a column."""
        return next((each for each in self.foreign_keys if each.column == column), None)


def read_tables(target: Target) -> tuple[ExistingTable, ...]:
    """Return the tables in the schema public. Raises: `TargetError`."""
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=target.connect, poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sa.exc.SAWarning)  # types that SQLAlchemy does not know have no kind
            inspector = sa.inspect(engine)
            return tuple(_read_table(inspector, name) for name in sorted(inspector.get_table_names("public")))
    finally:
        engine.dispose()


def _read_table(inspector: Any, name: str) -> ExistingTable:
    primary = inspector.get_pk_constraint(name, "public")
    unique = {
        each["column_names"][0]
        for each in inspector.get_unique_constraints(name, "public")
        if len(each["column_names"]) == 1
    }
    return ExistingTable(
        name=name,
        columns=tuple(_read_column(each) for each in inspector.get_columns(name, "public")),
        primary_key=tuple(primary["constrained_columns"]),
        primary_key_name=primary["name"],
        foreign_keys=tuple(
            ExistingKey(
                name=each["name"],
                column=each["constrained_columns"][0],
                table=each["referred_table"],
                referred=each["referred_columns"][0],
                options=each.get("options", {}),
            )
            for each in inspector.get_foreign_keys(name, "public")
            if len(each["constrained_columns"]) == 1
        ),
        unique=frozenset(unique),
    )


def _read_column(described: Mapping[str, Any]) -> ExistingColumn:
    default = described.get("default")
    if default is not None and isinstance(described["type"], sa.Enum):
        default = default.partition("::")[0]  # the cast names a schema, but the engine compares in another one
    is_serial = default is not None and default.startswith("nextval(")
    return ExistingColumn(
        name=described["name"],
        type=described["type"],
        kind=find_kind(described["type"]),
        nullable=described["nullable"],
        default=None if is_serial else default,
        is_generated=is_serial or "computed" in described or "identity" in described,
    )
