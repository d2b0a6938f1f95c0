"""The rules of mappings. Each converts in both directions: fields to columns (`to_row`) and columns to fields
(`to_document`).

What `to_document` restores may be wrong: the translator stores every difference from the document in the residue.
Rules are data. `translation.interpreter` runs them, `translation.compiler` generates code from them. Rules about IDs
are in references.py, the rule of jsonb objects in json_objects.py.

Every rule has: `columns` that it fills, `source_paths` that it reads, the top-level `restored_fields`, and `lookups`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.documents.codec import Document, same
from migrator.documents.jsonb import Note
from migrator.findings import REASONS
from migrator.mapping.codecs import UNREADABLE, Codec
from migrator.mapping.context import ABSENT, Context, Lookup, Rejected, Row, first_at, type_name
from migrator.mapping.text_parts import TextParts


def set_path(document: Document, path: str, value: Any) -> None:
    """Set the value at a dotted path; embedded documents are created."""
    *parents, name = path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value


class FirstCause:
    """A `Note` that remembers whether a codec recorded a finding. `wrong_type` is recorded only if it did not."""

    def __init__(self, note: Note) -> None:
        self._note, self.code = note, ""

    def __call__(self, code: str, detail: str) -> None:
        self.code = code
        self._note(code, detail)

    def explain(self, path: str, value: Any) -> None:
        """Record why a value could not be read, unless the codec has recorded it."""
        if not self.code:
            self("wrong_type", f"{path} ({type_name(value)})")


DefaultFactory = Callable[[Document, Row, Context], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column that gets the first value found at `paths`, converted by a codec.

    The row restores `paths[0]`, or `restore_path`. Without a readable value the column gets the result of
    `default_factory`, or `default` (which should be the default of the column in the target), or NULL. If the column
    is `required`, the document is rejected instead. With `restore_null`, NULL restores null, not an absent field.
    """

    paths: tuple[str, ...]
    column: str
    codec: Codec
    default: Any = None
    default_factory: DefaultFactory | None = field(default=None, hash=False)
    required: bool = False
    restore_null: bool = False
    restore_path: str | None = None
    lookups: tuple[Lookup, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def source_paths(self) -> tuple[str, ...]:
        return self.paths

    @property
    def restored_path(self) -> str:
        return self.restore_path or self.paths[0]

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return (self.restored_path.split(".")[0],)

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        value, path = first_at(document, self.paths)
        if value is ABSENT:
            row[self.column] = self._default(document, row, context, "missing_required", value)
            return
        cause = FirstCause(context.note)
        plain = self.codec.read(value, cause, path)
        if plain is UNREADABLE:
            cause.explain(path, value)
            plain = self._default(document, row, context, cause.code, value)
        row[self.column] = plain

    def _default(self, document: Document, row: Row, context: Context, reason: str, value: Any) -> Any:
        if self.default_factory is not None:
            return self.default_factory(document, row, context)
        if self.required:
            raise Rejected(reason if reason in REASONS else "wrong_type", f"{self.paths[0]} ({type_name(value)})")
        return self.default

    def to_document(self, row: Row, document: Document) -> None:
        plain = row[self.column]
        if plain is None:
            if self.restore_null:
                set_path(document, self.restored_path, None)
            return
        value = self.codec.write(plain)
        if value is not UNREADABLE:
            set_path(document, self.restored_path, value)


def map_field(path: str | tuple[str, ...], column: str, codec: Codec, **options: Any) -> Field:
    """Return a `Field` for one path, or for several that are tried in order."""
    return Field(paths=(path,) if isinstance(path, str) else path, column=column, codec=codec, **options)


@dataclass(frozen=True, slots=True)
class Implied:
    """A field whose value follows from the row: a constant, or a function of columns (ABSENT: no field)."""

    path: str
    value: Any = field(hash=False)
    inputs: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def source_paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return (self.path,)

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        """Do nothing: the field fills no column."""

    def to_document(self, row: Row, document: Document) -> None:
        value = self.value(*(row[name] for name in self.inputs)) if self.inputs else self.value
        if value is not ABSENT and value is not UNREADABLE:
            document[self.path] = value


def imply_field(path: str, value: Any, *inputs: str) -> Implied:
    """Return an `Implied`: the field `path` is `value`, or `value(*columns)` if input columns are named."""
    return Implied(path, value, inputs)


@dataclass(frozen=True, slots=True)
class Variants:
    """A field that has one of a few values, all of which follow from the row: each variant is a function of `inputs`.

    The row restores the first variant. For another variant the residue stores its number. A value that is no variant
    may still contain what the columns hold: `subtract(value, *columns)` returns the remainder (None: not possible), and
    `restore(remainder, *columns)` returns exactly the value. With `parts`, the field is a list of parts, and the first
    of the `inputs` contains their texts.
    """

    path: str
    variants: tuple[Callable[..., Any], ...] = field(hash=False)
    inputs: tuple[str, ...]
    subtract: Callable[..., Document | None] | None = field(default=None, hash=False)
    restore: Callable[..., Any] | None = field(default=None, hash=False)
    parts: TextParts | None = None
    columns: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    def __post_init__(self) -> None:
        if self.parts is not None:
            object.__setattr__(self, "subtract", self.parts.subtract)
            object.__setattr__(self, "restore", self.parts.restore)

    @property
    def source_paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return (self.path,)

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        """Do nothing: the field fills no column."""

    def to_document(self, row: Row, document: Document) -> None:
        self.set_variant(0, row, document)

    def set_remainder(self, remainder: Document, row: Row, document: Document) -> None:
        """Set the field to the value of which `subtract` returned this remainder."""
        assert self.restore is not None  # remainders exist only for rules that can restore them
        document[self.path] = self.restore(remainder, *(row[name] for name in self.inputs))

    def set_variant(self, number: int, row: Row, document: Document) -> None:
        """Set the field to the variant with this number."""
        value = self.variants[number](*(row[name] for name in self.inputs))
        document.pop(self.path, None)
        if value is not ABSENT:
            document[self.path] = value

    def find_variant(self, value: Any, *columns: Any) -> int:
        """Return the number of the variant, except the first, that equals a value (or ABSENT); 0 if there is none."""
        for number in range(1, len(self.variants)):
            variant = self.variants[number](*columns)
            if variant is value or (variant is not ABSENT and value is not ABSENT and same(variant, value)):
                return number
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Columns computed from fields and earlier columns. With `reverse`, also a field computed from columns.

    `function(context, *fields, *inputs)` returns the plain value, or a tuple for several columns. Absent fields are
    passed as ABSENT. `reverse(*reverse_inputs)` returns the value of the field `restores`, or ABSENT.
    `parts` are the forms of fields that are lists of parts: the function gets what `TextParts.read` returns for them.
    """

    columns: tuple[str, ...]
    function: Callable[..., Any] = field(hash=False)
    fields: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    restores: str | None = None
    reverse: Callable[..., Any] | None = field(default=None, hash=False)
    reverse_inputs: tuple[str, ...] = ()
    parts: Mapping[str, TextParts] = field(default_factory=dict, hash=False)
    lookups: tuple[Lookup, ...] = ()

    @property
    def source_paths(self) -> tuple[str, ...]:
        return self.fields

    @property
    def restored_fields(self) -> tuple[str, ...]:
        return (self.restores,) if self.restores is not None else ()

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        values = [document.get(name, ABSENT) for name in self.fields]
        if self.parts:
            values = [
                self.parts[name].read(value) if name in self.parts else value
                for name, value in zip(self.fields, values, strict=True)
            ]
        result = self.function(context, *values, *(row[name] for name in self.inputs))
        row.update(zip(self.columns, result if len(self.columns) > 1 else (result,), strict=True))

    def to_document(self, row: Row, document: Document) -> None:
        if self.restores is None or self.reverse is None:
            return
        value = self.reverse(*(row[name] for name in self.reverse_inputs))
        if value is not ABSENT:
            document[self.restores] = value


@dataclass(frozen=True, slots=True)
class Filter:
    """Rejects, archives or reports documents: `function(context, *fields)` raises or records a finding.

    With `if_present`, the function is called only if one of the fields is neither absent nor null.
    """

    function: Callable[..., None] = field(hash=False)
    fields: tuple[str, ...]
    if_present: bool = False
    columns: tuple[str, ...] = ()
    restored_fields: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def source_paths(self) -> tuple[str, ...]:
        return self.fields

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        values = [document.get(name, ABSENT) for name in self.fields]
        if not self.if_present or any(value is not ABSENT and value is not None for value in values):
            self.function(context, *values)

    def to_document(self, row: Row, document: Document) -> None:
        """Do nothing: the rule restores no field."""


@dataclass(frozen=True, slots=True)
class Return:
    """Sets fields of a document so that it gives changed columns of its row, where the other rules cannot.

    `function(document, row)` changes the document in place. It is used only to return changes of rows to the source,
    if one of `columns` has changed and the restored fields do not give its value. So it changes nothing of a run.
    """

    columns: tuple[str, ...]
    function: Callable[[Document, Row], None] = field(hash=False)


class CustomRule(ABC):
    """A rule with its own code: a mapping subclasses it where no other kind fits.

    The translator runs it on the whole document, which is slower than the other kinds.
    """

    columns: tuple[str, ...] = ()
    source_paths: tuple[str, ...] = ()
    restored_fields: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @abstractmethod
    def to_row(self, document: Document, row: Row, context: Context) -> None:
        """Set the rule's columns in the row. Raises: Rejected, Archived."""

    @abstractmethod
    def to_document(self, row: Row, document: Document) -> None:
        """Set the rule's restored fields in the document."""
