"""Loads the concrete migration, mappings and schema, by dotted name: the engine imports neither."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import MetaData

from migrator.errors import UsageError
from migrator.mapping.collection import Collection, VectorColumn
from migrator.mapping.merges import Merge
from migrator.mapping.project import ProjectPackages, import_packages


@dataclass(frozen=True, slots=True)
class MigrationDefinition:
    """Mappings by collection, the target's tables, a digest over the code of both, and the packages they came from.

    `packages` is None where they came from no package that another process could import. `merges`: by the collection
    whose documents go into rows of another. `embedded` says which rows want a vector; None: none.
    """

    mappings: Mapping[str, Collection]
    metadata: MetaData
    adopter: tuple[str, str] | None
    fingerprint: str
    packages: ProjectPackages | None = None
    merges: Mapping[str, Merge] = field(default_factory=dict)
    embedded: VectorColumn | None = None

    @property
    def known(self) -> frozenset[str]:
        """The collections that the mappings have rules for."""
        return frozenset(self.mappings) | frozenset(self.merges)


def load_definition(mappings_name: str, schema_name: str, folder: str = "") -> MigrationDefinition:
    """Imports both packages, from `folder` first. Raises: `UsageError` if that fails or a definition is missing."""
    packages = ProjectPackages(mappings_name, schema_name, folder)
    mappings, schema = import_packages(packages)
    collections: Any = _attribute(mappings, "MAPPINGS")
    metadata: Any = _attribute(schema, "metadata")
    digest = hashlib.sha256()
    for module in (mappings, schema):
        _digest(module, digest)
    return MigrationDefinition(
        mappings={collection.name: collection for collection in collections},
        metadata=metadata,
        adopter=getattr(mappings, "ADOPTER", None),
        fingerprint=digest.hexdigest(),
        packages=packages,
        merges={merge.name: merge for merge in getattr(mappings, "MERGES", ())},
        embedded=getattr(mappings, "EMBEDDED", None),
    )


def _attribute(module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        raise UsageError(f"the package {module.__name__} has no {name}", hint="See README, Your own migration.")
    return getattr(module, name)


def _digest(module: ModuleType, digest: Any) -> None:
    assert module.__file__ is not None  # a package from files
    for path in sorted(Path(module.__file__).parent.glob("**/*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
