"""The operations that a mapping is compiled to. A list of them is a program for one document.

The interpreter runs the operations in the order of the rules: this is the reference. The code writer prints them in the
order of the optimizer. What each operation means is defined in interpreter.py, how it is printed in write_program.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from migrator.mapping.collection import Collection, Rule
from migrator.mapping.composite_keys import AnyKey
from migrator.mapping.references import Reference
from migrator.translation.codegen import CodeWriter

# Prints code that does what a rule does for usual values, and leaves documents with other values to the interpreter.
Template = Callable[[CodeWriter], None]
# Returns the expression of a value that follows from columns alone.
Expression = Callable[[CodeWriter], str]


@dataclass(frozen=True, slots=True)
class Read:
    """Set the ID of the row from the document's key field."""

    key: AnyKey


@dataclass(frozen=True, slots=True)
class Lookup:
    """Set the columns of a reference from the row that it refers to.

    `implied` are fields whose values follow from these columns alone: they are computed once for each row.
    """

    rule: Reference
    implied: tuple[tuple[str, Expression], ...] = ()


@dataclass(frozen=True, slots=True)
class Memo:
    """Run rules in both directions that depend on low-cardinality fields and on columns of lookups alone.

    The result is computed once for each combination of the `fields` and of the columns `inputs`. The rules set the
    columns `columns`; other operations use those in `used`.
    """

    rules: tuple[Rule, ...]
    fields: tuple[str, ...]
    inputs: tuple[str, ...]
    columns: tuple[str, ...]
    used: frozenset[str]

    @property
    def restored_fields(self) -> frozenset[str]:
        return frozenset(name for rule in self.rules for name in rule.restored_fields)


@dataclass(frozen=True, slots=True)
class Convert:
    """Set the columns of a rule from fields and earlier columns. Without a template, the rule itself is called."""

    rule: Rule
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Residue:
    """Compare the fields that rules restore with those of the document. Without a template, the rules are called."""

    rules: tuple[Rule | AnyKey, ...]
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """Write the row and its ledger row, with the residue. The columns `memoized` come from the memo."""

    collection: Collection
    memoized: tuple[str, ...] = ()


Operation = Read | Lookup | Memo | Convert | Residue | Emit
Program = tuple[Operation, ...]
