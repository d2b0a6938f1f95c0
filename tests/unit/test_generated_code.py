"""The generated code of three mappings, compared with golden files; and the programs that it is printed from.

After an intended change: `REFRESH_GOLDEN=1 .venv/bin/pytest tests/unit/test_generated_code.py`, then read the diff.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappings import MAPPINGS
from migrator.documents.codec import Document, decode, encode
from migrator.mapping.codecs import TEXT
from migrator.mapping.rules import map_field
from migrator.state.tenant import Options
from migrator.translation.compiler import source_of
from migrator.translation.interpreter import Translation
from migrator.translation.lowering import reference_program
from migrator.translation.operations import Convert, Emit, Lookup, Memo, Read, Residue
from migrator.translation.optimizer import optimized_program
from migrator.translation.outcomes import Loaded
from tests.toys import TOY, VARIANTS, things
from tests.unit.test_compiler import find_references

GOLDEN = Path(__file__).parent / "golden"
BY_NAME = {mapping.name: mapping for mapping in MAPPINGS}
COLLECTIONS = {"toy": TOY, "messages": BY_NAME["messages"], "agents": BY_NAME["agents"]}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_generated_code_equals_the_golden_file(name: str, options: Options) -> None:
    """A change of the generated code is intended, and visible in review."""
    path, code = GOLDEN / f"{name}.py.txt", source_of(COLLECTIONS[name], options) + "\n"
    if os.environ.get("REFRESH_GOLDEN"):
        path.write_text(code, encoding="utf-8")
    assert code == path.read_text(encoding="utf-8"), f"refresh {path.name}: see the docstring of this module"


def test_programs_have_the_expected_operations() -> None:
    """The reference runs the rules in their order; the optimizer moves lookups and the memo to the front."""
    messages = COLLECTIONS["messages"]
    reference = [type(operation) for operation in reference_program(messages)]
    assert reference[:3] == [Read, Convert, Lookup]  # the second one is the rule about expiry dates
    assert Memo not in reference
    assert reference[-1] is Emit
    optimized = [type(operation) for operation in optimized_program(messages)]
    assert optimized[:3] == [Lookup, Memo, Read]
    assert optimized[-1] is Emit
    order = [each for each in optimized if each in (Convert, Residue)]
    assert order == sorted(order, key=lambda each: each is Residue)  # first the columns, then the restored fields


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents=st.lists(things(), min_size=1, max_size=4))
def test_the_optimizer_preserves_the_result(documents: list[Document], variant: str, options: Options) -> None:
    """For documents without findings and rejects, the interpreter returns the same with both programs."""
    collection = VARIANTS[variant]
    documents = [decode(encode({**each, "_id": ObjectId()})) for each in documents]
    references = find_references(collection, documents)
    plain = Translation(collection, options, references)
    optimized = Translation(collection, options, references, program=optimized_program(collection))
    for document in documents:
        expected, findings = plain.translate(document)
        if isinstance(expected, Loaded) and not findings:
            assert optimized.translate(document) == (expected, [])


def test_names_are_unique_and_readable(options: Options) -> None:
    """Columns and fields whose names are no identifiers, or become the same one, have different names in the code."""
    rules = (map_field("a-b", "label", TEXT), map_field("a b", "short", TEXT), map_field("é", "known", TEXT))
    code = source_of(replace(VARIANTS["no rules"], rules=rules), options)
    assert "field_a_b_2" in code
    compile(code, "odd names", "exec")
