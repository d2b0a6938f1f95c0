"""No decision depends on the text of a server's error: it may be in any language. SQLSTATE and libpq's state decide."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {"message_primary", "message_detail", "message_hint"}
FUNCTIONS = {
    "search",
    "match",
    "fullmatch",
    "findall",
    "finditer",
    "startswith",
    "endswith",
    "find",
    "index",
    "partition",
}
# (file, function): why it may read the text of an error
PERMITTED = {
    ("postgres/conninfo.py", "parse_url"): "cuts off what libpq quotes from the URL; decides nothing",
    ("sources/live_client.py", "explain"): "pymongo reports unknown hosts of mongodb+srv:// by a text of its own",
    ("sources/live_client.py", "_cause"): "pymongo reports failed connections by texts of Python and OpenSSL",
    ("sources/live_client.py", "_mask"): "cuts off pymongo's description of the topology; decides nothing",
    ("redaction.py", "describe_error"): "finds frames in a traceback of Python",
}  # fmt: skip


def find_matches(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield function and line of each comparison of the text of an error."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            tainted = _error_names(function)
            texts: set[str] = set()
            for node in ast.walk(function):  # assignments come before uses in all of our functions
                if isinstance(node, ast.Assign) and _holds_text(node.value, tainted, texts):
                    texts |= {name.id for each in node.targets for name in ast.walk(each) if isinstance(name, ast.Name)}
            for node in ast.walk(function):
                if _decides(node, tainted, texts):
                    yield function.name, node.lineno  # type: ignore[attr-defined]  # a Compare or a Call has a line


def _error_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the names of errors in a function: of `except … as name`, and of parameters annotated as errors."""
    names = {node.name for node in ast.walk(function) if isinstance(node, ast.ExceptHandler) and node.name}
    for each in [*function.args.args, *function.args.kwonlyargs]:
        annotation = ast.unparse(each.annotation) if each.annotation else ""
        if "Error" in annotation or "Exception" in annotation:
            names.add(each.arg)
    return names


def _holds_text(node: ast.AST, errors: set[str], texts: set[str]) -> bool:
    """Return whether an expression contains the text of an error."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and part.attr in TEXTS:
            return True
        if isinstance(part, ast.Name) and part.id in texts:
            return True
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in ("str", "repr"):
            names = {name.id for each in part.args for name in ast.walk(each) if isinstance(name, ast.Name)}
            if names & errors:
                return True
    return False


def _decides(node: ast.AST, errors: set[str], texts: set[str]) -> bool:
    if isinstance(node, ast.Compare):
        kinds = (ast.In, ast.NotIn, ast.Eq, ast.NotEq)
        operands = [node.left, *node.comparators]
        return any(isinstance(each, kinds) for each in node.ops) and any(
            _holds_text(each, errors, texts) for each in operands
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS:
        return any(_holds_text(each, errors, texts) for each in [node.func.value, *node.args])
    return False


def test_no_text_of_an_error_is_compared() -> None:
    """Each place that reads such a text is listed above with its reason."""
    found = {}
    for path in sorted((ROOT / "migrator").rglob("*.py")):
        name = path.relative_to(ROOT / "migrator").as_posix()
        for function, line in find_matches(ast.parse(path.read_text(encoding="utf-8"))):
            found[name, function] = line
    assert found.keys() - PERMITTED.keys() == set(), "decide by SQLSTATE instead"
    assert PERMITTED.keys() - found.keys() == set(), "no longer needed"


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n try: pass\n except E as error:\n  if 'exist' in str(error): pass",
        "def f(error: psycopg.Error):\n return re.search('a', error.diag.message_primary or '')",
        "def f(error: psycopg.Error):\n text = ' '.join(str(error).split())\n return text.startswith('FATAL')",
        "def f(error: E, cause: DatabaseError):\n return str(cause) == 'x'",
    ],
)
def test_comparisons_are_found(code: str) -> None:
    """The test notices the usual ways to compare a text."""
    assert list(find_matches(ast.parse(code)))
