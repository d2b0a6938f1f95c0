"""What follows from a document's familiar fields alone, computed once for every combination of their values.

Most fields of most documents hold one of a few values: flags, versions, kinds, names of models. Rules over such fields
(and over what a reference leads to) are interpreted when a combination is first met; afterwards their columns' bytes
and their share of the residue are a dictionary's answer. Which fields those are, the mapping says (`Collection.few`);
constants that are implied and booleans are among them anyway. No generated code here: that is compile.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from migrator.documents.codec import Document
from migrator.documents.residue import pack_residue, subtract
from migrator.mapping import codecs
from migrator.mapping.collection import Collection, Rule
from migrator.mapping.context import Row
from migrator.mapping.references import Reference
from migrator.mapping.rules import Compute, Field, Implied
from migrator.postgres import copy_format
from migrator.translation.interpreter import Translation
from migrator.translation.residue_fields import as_field

_PLAIN = frozenset({str, bool, int, type(None), bytes})  # values that nobody can change
_MOST = 10_000  # combinations
_LONGEST = 1000  # characters of a combination's texts

Entry = tuple[Any, ...]
NOTHING: Entry = ((), (), copy_format.NULL)


@dataclass(frozen=True, slots=True)
class Group:
    """The rules that depend on familiar fields alone, and what they need: fields and columns of references."""

    rules: tuple[Rule, ...]
    fields: tuple[str, ...]
    inputs: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def restored_fields(self) -> frozenset[str]:
        return frozenset(name for rule in self.rules for name in rule.restored_fields)


def group_of(collection: Collection, rules: Sequence[Rule]) -> Group:
    """Which of `rules` are over familiar fields alone; of the others' columns they may use those of a `Reference`."""
    few = collection.low_cardinality | {name for rule in rules for name in _surely_few(rule)}
    inputs = {column for rule in rules if isinstance(rule, Reference) for column in rule.columns}
    known, chosen = set(inputs), []
    for rule in sorted(rules, key=lambda rule: isinstance(rule, Implied)):  # they use columns of any rule
        if not rule.lookups and _reads(rule) <= few and _needs(rule) <= known | set(rule.columns):
            chosen.append(rule)
            known.update(rule.columns)
    needed = {name for rule in chosen for name in _needs(rule)}
    fields = dict.fromkeys(name for rule in chosen for name in sorted(_reads(rule)))
    columns = tuple(name for rule in chosen for name in rule.columns)
    return Group(tuple(chosen), tuple(fields), tuple(sorted(needed & inputs)), columns)


def _surely_few(rule: Rule) -> Iterable[str]:
    if isinstance(rule, Implied) and not rule.inputs and type(rule.value) in _PLAIN:
        return (rule.path,)
    return rule.paths if isinstance(rule, Field) and isinstance(rule.codec, codecs.Boolean | codecs.Enum) else ()


_NEVER = frozenset({"\0"})  # a name that no field has


def _reads(rule: Rule) -> frozenset[str]:
    """The fields that tell all about a rule's outcome, both ways; a field that cannot be where more than fields do."""
    if isinstance(rule, Implied):
        return frozenset({rule.path})
    if isinstance(rule, Compute):
        return frozenset(rule.fields + rule.restored_fields)
    simple = isinstance(rule, Field) and rule.default_factory is None and not any("." in path for path in rule.paths)
    return frozenset(rule.paths + rule.restored_fields) if simple and isinstance(rule, Field) else _NEVER


def _needs(rule: Rule) -> frozenset[str]:
    """The columns that a rule uses."""
    if isinstance(rule, Compute):
        return frozenset(rule.inputs + rule.reverse_inputs)
    return frozenset(rule.inputs) if isinstance(rule, Implied) else frozenset()


@dataclass(slots=True)
class Memo:
    """The entries of one collection: for values of the fields and inputs, all that follows.

    An entry is (fields with another value, fields to unset, the ledger's field where the document has no other residue
    (None: not known), plain values of `columns`, bytes of each run). Its key has what stands for types and values of
    the fields (`cutting.Wanted`), then the inputs.
    `runs` are neighbouring columns of the table, with their kinds.
    """

    group: Group
    columns: Sequence[str]
    runs: Sequence[Sequence[tuple[str, str]]]
    entries: dict[Any, Entry] = field(default_factory=dict)

    def learn(self, key: tuple[Any, ...], document: Document, context: Translation) -> Entry | None:
        """A combination met for the first time; None where there is a finding, which is `translate`'s business.
        `key` stands for the document's fields, and has the values of the inputs. Raises what rules raise."""
        known = {name: document[name] for name in self.group.fields if name in document}
        row = {**context.constants, **dict(zip(self.group.inputs, key[1:], strict=True))}
        for rule in self.group.rules:
            rule.to_row(known, row, context)
        if context.notes:
            return None
        fragments = [
            copy_format.write_row([row.get(n) for n, _ in run], [kind for _, kind in run])[2:] for run in self.runs
        ]
        entry = (*self._residue(known, row), *(row[name] for name in self.columns), *fragments)
        self._keep(key, known, entry)
        return entry

    def _residue(self, document: Document, row: Row) -> Entry:
        back: Document = {}
        for rule in self.group.rules:
            rule.to_document(row, back)
        gives = self.group.restored_fields
        setting, unset = subtract({n: v for n, v in document.items() if n in gives}, back)
        # Of several fields the order is the document's, which is not known here.
        tail = as_field(pack_residue(setting, unset)) if len(setting) < 2 else None
        return tuple(setting), tuple(sorted(unset)), tail

    def _keep(self, key: tuple[Any, ...], document: Document, entry: Entry) -> None:
        values = (*document.values(), *key[1:])
        if not _PLAIN.issuperset(map(type, values)):
            return
        if sum(len(value) for value in values if isinstance(value, str | bytes)) > _LONGEST:
            return
        if len(self.entries) >= _MOST:
            self.entries.clear()
        self.entries[key] = entry
