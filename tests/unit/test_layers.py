"""Imports in `migrator`: no cycle between packages or files, and few modules outside the packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import count
from pathlib import Path

import grimp

import migrator

ROOT = "migrator"
LOOSE = {
    "__init__", "__main__", "cli", "errors", "events", "findings", "formatting", "ids", "masking", "redaction",
}  # fmt: skip
Graph = Mapping[str, Set[str]]


def test_files_without_cycle() -> None:
    """No module imports itself through other modules; imports under TYPE_CHECKING count."""
    assert list(cycles(read_imports())) == []


def test_packages_without_cycle() -> None:
    """No package directly in `migrator` imports itself through other packages."""
    imports = read_imports()
    packages: dict[str, set[str]] = {package_of(name): set() for name in imports}
    for importer, imported in imports.items():
        packages[package_of(importer)] |= {package_of(each) for each in imported} - {package_of(importer)}
    assert list(cycles(packages)) == []


def test_loose_modules() -> None:
    """Only these modules lie directly in `migrator`."""
    found = {path.stem for path in Path(migrator.__file__).parent.glob("*.py*") if path.is_file()}
    assert found <= LOOSE


def test_finds_cycles() -> None:
    """The search finds a cycle of any length, and nothing else."""
    graph: Graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert sorted(sorted(each) for each in cycles(graph)) == [["a", "b", "c"], ["d", "e"]]


def read_imports() -> Graph:
    """Return module → modules that it imports. A package's `__init__` is the module with the package's name."""
    graph = grimp.build_graph(ROOT, cache_dir=None)
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}


def package_of(module: str) -> str:
    """Return the package or the loose module directly in `migrator` that a module belongs to."""
    return ".".join(module.split(".")[:2])


def cycles(graph: Graph) -> Iterator[set[str]]:
    """Yield the strongly connected components with more than one node (Tarjan's algorithm)."""
    counter = count()
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[set[str]]:
        index[node] = low[node] = next(counter)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                yield from visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            start = stack.index(node)
            component, stack[start:] = set(stack[start:]), []
            if len(component) > 1:
                yield component

    for node in sorted(graph):
        if node not in index:
            yield from visit(node)
