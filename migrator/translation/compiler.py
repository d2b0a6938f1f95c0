"""Compiles a mapping to one specialised function, which turns projected documents into tuples of binary COPY.

The function does inline what documents usually need, takes from a memo what follows from low-cardinality fields, and
calls rules for the rest. It leaves every document with an unusual value (another type, NUL, a date out of range, an
`_id` that is no ObjectId …) to the interpreter. For all other documents it must agree with the interpreter to the
byte; tests compare the two on arbitrary documents. `source_of` returns the code; tests/unit/golden has examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

from migrator.documents.codec import Document
from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.context import ABSENT
from migrator.translation.codegen import CodeWriter
from migrator.translation.elements import Elements, compile_elements
from migrator.translation.interpreter import constants_of
from migrator.translation.operations import Memo
from migrator.translation.optimizer import optimized_program
from migrator.translation.projection import Projection, Projections, SlotType
from migrator.translation.write_output import Destination
from migrator.translation.write_program import write_program

Translate = Callable[..., list[int]]

_HEAD = 3  # values before the slots in the tuple of a projected document


@dataclass(frozen=True, slots=True)
class Compiled:
    """The function for one collection: `translate(projections, translation, output, first)`, and its projection.

    `elements` are the compiled rules of fields whose elements become rows, by path.

    `translate` fills `output`, and returns the indexes of the documents that it leaves to the interpreter. Documents
    that could not be projected are skipped. Indexes are counted from `first`.
    """

    projection: Projection
    translate: Translate
    elements: Mapping[str, Elements] = field(default_factory=dict)

    def lookup_documents(self, projections: Projections, known_by: object = None) -> list[Document]:
        """Return documents with the same lookups as those projected: whole ones, or one for each distinct reference.

        The answers of the lookups `known_by` do not change while it is used; None: they may.
        """
        projected = [each for each in projections.tuples if each is not None]
        documents: list[Document] = []
        for place, (name, slot_type) in enumerate(self.projection.slots, _HEAD):
            if slot_type is SlotType.DOCUMENT:
                return [each[place] for each in projected]
            if slot_type is SlotType.ELEMENTS:
                places = [each[place] for each in projected]
                documents += self.elements[name].lookup_documents(projections, places, known_by)
            if slot_type is SlotType.VALUE and name in self.projection.lookup_fields:
                values = [each[place] for each in projected if each[place] is not ABSENT]
                documents += [{name: text} for text in {value for value in values if type(value) is str}]
                documents += [{name: value} for value in values if type(value) is not str]
        return documents

    def lookup_document(self, projections: Projections, projected: tuple[Any, ...]) -> Document:
        """Return the fields of one projected document that lookups read, or the whole document."""
        found: Document = {}
        for place, (name, slot_type) in enumerate(self.projection.slots, _HEAD):
            if slot_type is SlotType.DOCUMENT:
                return dict(projected[place])
            if name not in self.projection.lookup_fields or projected[place] is ABSENT:
                continue
            value = projected[place]
            found[name] = self.elements[name].value(projections, value) if slot_type is SlotType.ELEMENTS else value
        return found


def compile_collection(collection: Collection, options: Any, destination: Destination | None = None) -> Compiled:
    """Return the function for one collection."""
    if any(collection.key.column in rule.columns for rule in collection.rules):
        # The ID follows from other columns: nothing can be compiled.
        return Compiled(Projection(frozenset(), (), (("", SlotType.DOCUMENT),)), leave_all)
    text, writer, projection = _generate(collection, options, destination or Destination())
    namespace = dict(writer.bound)
    exec(_compile(text, f"<compiled {collection.name}>"), namespace)
    return Compiled(projection, namespace["translate"], writer.elements)


@lru_cache(maxsize=64)
def _compile(text: str, name: str) -> CodeType:
    """Compile generated code once in a process: a rehearsal and a verification translate the same collections again."""
    return compile(text, name, "exec")


def leave_all(projections: Projections, translation: Any, output: Any, first: int = 0) -> list[int]:
    """Leave all documents to the interpreter: the function of mappings that cannot be compiled."""
    return [index for index, each in enumerate(projections.tuples, first) if each is not None]


def source_of(collection: Collection, options: Any) -> str:
    """Return the generated code, to read."""
    text, _, _ = _generate(collection, options, Destination())
    return text


def _generate(collection: Collection, options: Any, destination: Destination) -> tuple[str, CodeWriter, Projection]:
    program = optimized_program(collection)
    # Compiled elements take the key of their parent as one value.
    fields = () if isinstance(collection.key, CompositeKey) else collection.children
    compiled = {rule.path: compile_elements(rule) for rule in fields}
    elements = {path: each for path, each in compiled.items() if each is not None}
    writer = CodeWriter(collection, constants_of(collection, options), elements)
    text = write_program(program, writer, destination)
    low_cardinality = next(operation.fields for operation in program if isinstance(operation, Memo))
    lookup_fields = frozenset(name for lookup in collection.lookups for name in lookup.fields)
    projection = Projection(
        collection.restored_fields, low_cardinality, tuple(writer.fields), lookup_fields, writer.forms
    )
    return text, writer, projection
