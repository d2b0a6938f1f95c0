"""The catalogue of messages: every error, hint, notice, finding and reject reason in the source code.

`python -m tests.messages` writes the golden file that tests/unit/test_messages.py compares with.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mappings  # noqa: F401  # declares codes
from migrator import errors
from migrator.findings import FINDINGS, REASONS

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "unit" / "golden" / "messages.txt"
REFRESH = "python -m tests.messages"


def collect() -> str:
    """Returns the catalogue as text: one block per module, one entry per message."""
    classes = error_classes()
    blocks = [f"{'findings':=^80}", *(f"{code} ({FINDINGS[code][0]}): {FINDINGS[code][1]}" for code in FINDINGS)]
    blocks += [f"{'reject reasons':=^80}", *(f"{code}: {meaning}" for code, meaning in REASONS.items())]
    for folder in ("migrator", "mappings", "schema"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found = list(messages_of(ast.parse(path.read_text(encoding="utf-8")), classes))
            if found:
                blocks += [f"{f' {path.relative_to(ROOT)} ':=^80}", *found]
    return "\n".join(blocks) + "\n"


def error_classes() -> set[str]:
    """The names of all subclasses of MigrateError that the source code defines, and of Notice."""
    names = {name for name, value in vars(errors).items() if isinstance(value, type)} | {"Notice", "ValueError"}
    for path in (ROOT / "migrator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") in names for base in node.bases):
                names.add(node.name)
    return names


def messages_of(tree: ast.Module, classes: set[str]) -> Iterator[str]:
    """Yields 'Class: message' and, if there is one, its hint on the next line; in the order of the code."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and name_of(node) in classes]
    assignments = sorted((each for node in ast.walk(tree) for each in assigned(node)), key=lambda each: each[0])
    for call in sorted(calls, key=lambda each: (each.lineno, each.col_offset)):
        known = {name: value for line, name, value in assignments if line <= call.lineno}  # the last one counts
        positional = [text_of(each, known) for each in call.args]
        named = {each.arg: text_of(each.value, known) for each in call.keywords}
        message = named.get("text") or (positional[0] if positional else "")
        hint = named.get("hint") or (positional[1] if len(positional) > 1 else "")
        if message:
            yield f"{name_of(call)}: {message}" + (f"\n    hint: {hint}" if hint else "")


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def assigned(node: ast.AST) -> Iterator[tuple[int, str, ast.expr]]:
    """Yields the texts that a statement assigns to a name, with the line."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.JoinedStr | ast.BinOp | ast.IfExp):
        yield from ((node.lineno, target.id, node.value) for target in node.targets if isinstance(target, ast.Name))


def text_of(node: ast.expr, known: dict[str, ast.expr]) -> str:
    """Returns a text with the expressions of an f-string in braces; alternatives are separated by ' | '."""
    match node:
        case ast.Constant(value=str(text)):
            return text.replace("\n", "\\n")
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part, {}) for part in parts)
        case ast.FormattedValue(value=value):
            return f"{{{ast.unparse(value)}}}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left, known) + text_of(right, known)
        case ast.IfExp(body=body, orelse=otherwise):
            return f"{text_of(body, known)} | {text_of(otherwise, known)}"
        case ast.Name(id=name) if name in known:
            return text_of(known[name], {})
        case _:
            return f"{{{ast.unparse(node)}}}"


def main() -> None:
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(collect(), encoding="utf-8")


if __name__ == "__main__":
    main()
