"""Loads the definition of a migration, its mappings and schema, from two Python packages that are named in settings.

The engine imports neither package by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, get_args

from pydantic import BaseModel
from sqlalchemy import MetaData

from migrator.config.loader import load_config
from migrator.config.models import Config, MigrationConfig, Section
from migrator.documents.fingerprint import hash_code
from migrator.errors import UsageError
from migrator.mapping.adopter import Adopter
from migrator.mapping.collection import Collection, VectorColumn
from migrator.mapping.composite_key_checks import check_single_keys
from migrator.mapping.merges import Merge
from migrator.mapping.project import ProjectPackages, import_packages
from migrator.mapping.schema_checks import check_embedded
from migrator.mapping.shared_collections import reject_rest
from migrator.mapping.shared_tables import check_single_tables, order_shared
from migrator.mapping.validation import validate

# The parts of the engine that determine, together with the mappings, what a document becomes.
_ENGINE: Final = ("documents", "mapping", "translation", "ids.py", "postgres/copy_format.py")

FindBlockers = Callable[[Any, Mapping[str, int]], Iterable[str]]


@dataclass(frozen=True, slots=True)
class MigrationDefinition:
    """The mappings by collection, the tables of the target, and the packages that define them.

    `merges` are keyed by the collection whose documents are merged into rows of another. `embedded` names the rows that
    get an embedding; None: no rows. `blockers` returns what prevents a run, with the remedy, from the configuration and
    the number of rejected documents by reason in the rehearsal.
    """

    mappings: Mapping[str, Collection]
    metadata: MetaData
    adopter: Adopter | None
    packages: ProjectPackages
    merges: Mapping[str, Merge] = field(default_factory=dict)
    embedded: VectorColumn | None = None
    blockers: FindBlockers | None = None

    @property
    def known(self) -> frozenset[str]:
        """The collections that have a mapping or a merge."""
        return frozenset(self.mappings) | frozenset(self.merges)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the code that determines the result: the packages', and the engine's part of it."""
        return _fingerprint(self.packages)


def load_settings(path: Path, environ: Mapping[str, str]) -> Config:
    """Return the configuration in `path`: with the sections and policies that its package of mappings declares.

    Raises: `UsageError` with one line per error, or if the package cannot be imported.
    """
    return load_config(path, environ, _find_settings)


def _find_settings(names: MigrationConfig, folder: Path) -> type[Config]:
    mappings, _ = import_packages(ProjectPackages(names.mappings, names.schema_module, str(folder)))
    model: Any = getattr(mappings, "Settings", Config)
    if not (isinstance(model, type) and issubclass(model, Config)):
        raise UsageError(
            f"{mappings.__name__}.Settings is not a subclass of migrator.config.models.Config", hint="Correct it."
        )
    for name, field_ in model.model_fields.items():
        engine = Config.model_fields.get(name)
        base: Any = Section if engine is None else engine.annotation
        if any(not issubclass(each, base) for each in _models_in(field_.annotation)) or (
            engine is not None and field_.annotation not in _models_in(field_.annotation)
        ):
            raise UsageError(
                f"{mappings.__name__}.Settings: the section [{name}] is not a subclass of {base.__name__}",
                hint=f"Derive it from {base.__module__}.{base.__name__}: misspelled keys are errors then.",
            )
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the classes of sections in the type of a field: itself, or in a union or a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models_in(each)]


def load_definition(mappings_name: str, schema_name: str, folder: str = "") -> MigrationDefinition:
    """Import both packages, from `folder` first, and return what they define.

    Raises: UsageError if a package cannot be imported or lacks a required name.
    """
    packages = ProjectPackages(mappings_name, schema_name, folder)
    mappings, schema = import_packages(packages)
    collections: Any = _attribute(mappings, "MAPPINGS")
    metadata: Any = _attribute(schema, "metadata")
    _check_types(collections, metadata)
    by_name = order_shared({each.name: each for each in reject_rest(collections)})
    if len(by_name) < len(collections):
        raise UsageError("MAPPINGS has two entries for one collection", hint="Keep one of them.")
    merges = {merge.name: merge for merge in getattr(mappings, "MERGES", ())}
    _require_sections(getattr(mappings, "Settings", Config), [*by_name.values(), *merges.values()])
    validate(by_name, metadata)
    definition = MigrationDefinition(
        mappings=by_name,
        metadata=metadata,
        adopter=getattr(mappings, "ADOPTER", None),
        packages=packages,
        merges=merges,
        embedded=getattr(mappings, "EMBEDDED", None),
        blockers=getattr(mappings, "find_blockers", None),
    )
    check_single_tables(by_name, _users_of_tables(definition))
    check_single_keys(by_name, _users_of_tables(definition))
    if definition.embedded is not None:
        check_embedded(definition.embedded.table)
    return definition


def _check_types(collections: Any, metadata: Any) -> None:
    """Raises: `UsageError` if a package defines something else than mappings or a schema, or rules without a comma."""
    if not isinstance(metadata, MetaData):
        raise UsageError("`metadata` of the schema is not a MetaData", hint="Use the MetaData of the tables.")
    if not isinstance(collections, tuple | list) or not all(isinstance(each, Collection) for each in collections):
        raise UsageError("MAPPINGS is not a tuple of `Collection`", hint="Write a comma after each mapping.")
    for each in collections:
        if not isinstance(each.rules, tuple):
            raise UsageError(f"collection {each.name}: `rules` is not a tuple", hint="Write a comma after each rule.")


def _users_of_tables(definition: MigrationDefinition) -> dict[str, str]:
    """Return the collections whose tables something else uses, by what that is."""
    used = {f"the merge of {name}": merge.into for name, merge in definition.merges.items()}
    used |= {} if definition.embedded is None else {"EMBEDDED": definition.embedded.collection}
    return used | ({} if definition.adopter is None else {"ADOPTER": definition.adopter.collection})


def _require_sections(settings: type[Config], filled: Iterable[Collection | Merge]) -> None:
    """Raises: UsageError if the settings lack a section from which a collection or a merge gets its documents."""
    for each in filled:
        if each.section is not None and each.section not in settings.model_fields:
            raise UsageError(
                f"the mapping of {each.name} reads the section [{each.section}], which the mappings do not declare",
                hint=f"Add the field {each.section} to the class Settings of the mappings, for example a TableSection.",
            )


def _attribute(module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        raise UsageError(
            f"the package {module.__name__} does not define {name}", hint="See docs/how-to/own-migration.md."
        )
    return getattr(module, name)


@cache
def _fingerprint(packages: ProjectPackages) -> str:
    folder = Path(__file__).parents[1]
    files = list[Path]()
    modules = import_packages(packages)
    for module in modules:
        assert module.__file__ is not None  # a namespace package defines neither MAPPINGS nor metadata
        file = Path(module.__file__)
        files += _python_files(file.parent if hasattr(module, "__path__") else file)
    names = frozenset({"migrator", *(module.__name__.split(".")[0] for module in modules)})
    return hash_code(files, names, engine=_python_files(*(folder / name for name in _ENGINE)))


def _python_files(*paths: Path) -> Iterator[Path]:
    for path in paths:
        yield from path.rglob("*.py") if path.is_dir() else (path,)
