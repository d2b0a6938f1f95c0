"""Reads migrate.toml: the file, `${VAR}`, `MIGRATE_SECTION__KEY`, and error messages for every invalid key.

Not here: the sections and their checks (models.py), masking (masking.py), the starter file (starter.py).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from migrator.config.fields import FOLDER_URLS
from migrator.config.models import Config, MigrationConfig, TargetConfig
from migrator.errors import UsageError
from migrator.formatting import format_count
from migrator.masking import Secrets, url_secrets

_Raw = dict[str, Any]
# Returns the model of the configuration: that of the package of mappings, which is searched in a folder first.
FindModel = Callable[[MigrationConfig, Path], type[Config]]
_VARIABLE = re.compile(r"\$?\$\{([^}]*)\}")
_SECRET_KEY = re.compile(r"(?i)(key|password|secret|token)$")
_PREFIX = "MIGRATE_"


def load_config(path: Path, environ: Mapping[str, str], find_model: FindModel) -> Config:
    """Returns the configuration in `path`, with variables of `environ`. Relative paths start at the folder of `path`.

    Raises: `UsageError` with one line per error.
    """
    folder = Path(os.path.abspath(path)).parent
    written = _read(path)
    model = find_model(_packages_of(written, environ), folder)
    overrides = _find_overrides(environ, model)
    raw = _expand(written, environ, overrides)
    _override(raw, environ, overrides)
    _resolve_paths(raw, folder)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        # Values of environment variables are treated as secrets, in any key.
        filled = Secrets(environ[name] for name in _VARIABLE.findall(repr(written)) if name in environ)
        problems = error.errors(include_url=False)
        raise _usage_error(path, [_describe(each, overrides, model) for each in problems], filled) from None


class _TargetOnly(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    target: TargetConfig


def load_target(path: Path, environ: Mapping[str, str]) -> tuple[TargetConfig, Secrets]:
    """Returns the section [target] of the configuration in `path`, and the secrets in all of it.

    Only that section is checked: the mappings declare others, and to import them takes half a second.
    Raises: `UsageError` with one line per error.
    """
    written = _read(path)
    named = {name: value for name, value in environ.items() if name.startswith(f"{_PREFIX}TARGET__")}
    overrides = _find_overrides(named, _TargetOnly)
    raw = _expand({key: value for key, value in written.items() if key == "target"}, environ, overrides)
    _override(raw, environ, overrides)
    _resolve_paths(raw, Path(os.path.abspath(path)).parent)
    secrets = Secrets(_secrets_in({"file": written, "environment": _overriding(environ)}, environ))
    try:
        return _TargetOnly.model_validate(raw).target, secrets
    except ValidationError as error:
        problems = [_describe(each, overrides, _TargetOnly) for each in error.errors(include_url=False)]
        raise _usage_error(path, problems, secrets) from None


def _overriding(environ: Mapping[str, str]) -> _Raw:
    return {name: value for name, value in environ.items() if name.startswith(_PREFIX)}


def _secrets_in(value: Any, environ: Mapping[str, str], key: str = "") -> Iterator[str]:
    """Yields what may be a secret in sections that are not checked: by the name of its key, in URLs, in variables."""
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else ((key, each) for each in value):
            yield from _secrets_in(inner, environ, name)
    elif isinstance(value, str):
        yield from (environ[name] for name in _VARIABLE.findall(value) if name in environ)
        filled = _VARIABLE.sub(lambda match: environ.get(match[1], ""), value)
        yield from url_secrets(filled) if "://" in filled else ()
        if _SECRET_KEY.search(key):
            yield filled


def _packages_of(raw: _Raw, environ: Mapping[str, str]) -> MigrationConfig:
    """Returns the names of the packages; the default ones if they are invalid, which is reported later."""
    section = raw.get("migration")
    section = dict(section) if isinstance(section, dict) else {}
    for key in _keys(MigrationConfig):
        variable = f"{_PREFIX}MIGRATION__{key}".upper()
        section |= {key: environ[variable]} if variable in environ else {}
    try:
        return MigrationConfig.model_validate(section)
    except ValidationError:
        return MigrationConfig()


def _read(path: Path) -> _Raw:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist", "Run `migrate init`, or name the file with --config.") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "Name a readable file with --config.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not valid UTF-8 at byte {error.start}", "Save the file as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        hint = "Put text in quotes, and write a backslash twice. `migrate init FILE` writes an example."
        raise UsageError(f"{path} is not valid TOML: {error}", hint) from error


# ── ${VAR} ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _expand(raw: _Raw, environ: Mapping[str, str], overrides: Mapping[str, str]) -> _Raw:
    missing: dict[str, str] = {}
    expanded = {key: _expand_value(value, key, environ, missing) for key, value in raw.items()}
    # The variable of an overridden key is not needed.
    lacking = [f"{key}: {text}" for key, text in missing.items() if key not in overrides]
    if lacking:
        raise UsageError("\n".join(lacking), "Set the variable, or write the value into migrate.toml.")
    return expanded


def _expand_value(value: Any, key: str, environ: Mapping[str, str], missing: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _expand_value(inner, f"{key}.{name}", environ, missing) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expand_value(inner, f"{key}[{i}]", environ, missing) for i, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        if match[1] not in environ:
            missing[key] = f"the environment variable {match[1]} is not set"
        return environ.get(match[1], "")

    return _VARIABLE.sub(fill, value)


# ── MIGRATE_SECTION__KEY ──────────────────────────────────────────────────────────────────────────────────────────


def _find_overrides(environ: Mapping[str, str], model: type[BaseModel]) -> dict[str, str]:
    """Returns the keys that the environment overrides: `{"target.url": "MIGRATE_TARGET__URL"}`."""
    known = dict(_variables(model))
    found: dict[str, str] = {}
    for name in sorted(n for n in environ if n.startswith(_PREFIX) and "__" in n):
        if name not in known:
            raise UsageError(f"the environment variable {name} matches no key of migrate.toml", _nearest(name, known))
        found[known[name]] = name
    return found


def _override(raw: _Raw, environ: Mapping[str, str], overrides: Mapping[str, str]) -> None:
    for dotted, variable in overrides.items():
        section, key = dotted.split(".")
        table = raw.setdefault(section, {})
        if isinstance(table, dict):  # otherwise the file is invalid, and pydantic reports it
            table[key] = environ[variable]


def _variables(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yields (variable, key) for every key that can be overridden. A list of sections cannot."""
    for section, field in model.model_fields.items():
        keys = _model_of(model, section)
        if keys is not None and get_origin(field.annotation) is not tuple:
            for key in _keys(keys):
                yield f"{_PREFIX}{section}__{key}".upper(), f"{section}.{key}"


def _model_of(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Returns the model of a section; None if the key is not a section. The section may be optional or a list."""
    field = model.model_fields.get(key)
    if field is None:
        return None
    candidates = (field.annotation, *get_args(field.annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _resolve_paths(raw: _Raw, folder: Path) -> None:
    for section in raw.values():
        if isinstance(section, dict) and isinstance(section.get("url"), str):
            section["url"] = _resolve(section["url"], folder)


def _resolve(url: str, folder: Path) -> str:
    for prefix in FOLDER_URLS:
        rest = url.removeprefix(prefix)
        if rest != url and rest.strip():
            # Not Path.resolve(): messages must show a symbolic link as the user wrote it.
            return prefix + os.path.normpath(folder / Path(rest).expanduser())
    return url


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _usage_error(path: Path, problems: list[str], secrets: Secrets) -> UsageError:
    lines = [secrets.mask(problem) for problem in problems]
    count = format_count(len(lines), "errors")
    return UsageError(
        f"{path}: invalid configuration: {count}\n" + "\n".join(lines),
        "`migrate init FILE` writes a file that explains every key.",
    )


def _describe(problem: ErrorDetails, overrides: Mapping[str, str], model: type[BaseModel]) -> str:
    """Returns one line: key, problem, remedy."""
    location = problem["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    origin = f" (from {overrides[key]})" if key in overrides else ""
    match problem["type"]:
        case "extra_forbidden":
            word, remedy = _unknown_key(problem, model)
        case "missing":
            word, remedy = f"this {'section' if len(location) == 1 else 'key'} is required", "add it"
        case _:
            word, remedy = _describe_invalid(problem)
    return f"  {key}{origin}: {word}; {remedy}"


def _unknown_key(problem: ErrorDetails, config: type[BaseModel]) -> tuple[str, str]:
    *parents, key = problem["loc"]
    model: type[BaseModel] | None = config
    for parent in parents:
        if model is not None and isinstance(parent, str):
            model = _model_of(model, parent)
    what = "section" if not parents else "key"
    return f"unknown {what}", _nearest(str(key), _keys(model or config))


def _nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    near = get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    if near:
        return f"did you mean {next(k for k in known if k.lower() == near[0])}?"
    return f"valid names: {', '.join(known)}"


def _describe_invalid(problem: ErrorDetails) -> tuple[str, str]:
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    value = problem["input"]
    # Text in place of a section is probably a URL.
    secret = len(problem["loc"]) == 1 or problem["loc"][-1] in ("url", "base_url", "api_key") or "://" in str(value)
    if secret or not isinstance(value, str | int | float):
        return message, "correct the value"
    return message, f"got {value!r}"
