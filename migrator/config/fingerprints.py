"""The fingerprints of a configuration: of the settings that determine the content of the target."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel

from migrator.config.auxiliary import AuxiliarySection, ChunksSection
from migrator.config.models import Config, PoliciesConfig, Section
from migrator.documents.fingerprint import hash_json
from migrator.masking import address_of


def fingerprint(config: Config) -> str:
    """Returns the fingerprint (SHA-256, hex) of the settings that determine the content of the target.

    Not included: [engine], which changes the duration only; [cutover], which changes no row; passwords; the URLs of
    source and target, because a dump may be moved and a server renamed (the source has its own fingerprint);
    policies.max_rejected, which may stop a run but does not change its rows; [embedding], which may be decided later
    and has its own fingerprint. Its model and dimensions are included if vectors of a source are reused, because they
    decide which vectors are loaded.
    """
    return hash_json(_included(config), default=_plain)


def setting_fingerprints(config: Config) -> dict[str, str]:
    """Returns the fingerprint of each single setting that `fingerprint` covers, by its name in migrate.toml."""
    names = {"database": "source.database", "rls": "target.rls"}
    found: dict[str, str] = {}
    for name, value in _included(config).items():
        if isinstance(value, _Addressed):
            keys: Any = {"url": value.address, **_plain(value.section)}
        else:
            keys = _plain(value) if isinstance(value, Section) else value
        if isinstance(keys, dict):
            found |= {f"{name}.{key}": hash_json(each) for key, each in keys.items()}
        elif keys is not None:
            found[names.get(name, name)] = hash_json(keys, default=_plain)
    return found


class _Addressed(NamedTuple):
    """A section with the URL of a source, which is replaced by its address."""

    address: str
    section: AuxiliarySection


def _included(config: Config) -> dict[str, Any]:
    return {
        "database": config.source.database,
        "rls": config.target.rls,
        "tenant": config.tenant,
        "embedding": _reused_space(config),
        "policies": config.policies,
        "migration": config.migration,
        **{name: _addressed(value) for name, value in config.own_sections().items()},
    }


def _addressed(section: Any) -> Any:
    return _Addressed(address_of(section.url), section) if isinstance(section, AuxiliarySection) else section


def _reused_space(config: Config) -> dict[str, Any] | None:
    """Return the space on which it depends which vectors of a source are loaded; None if none are."""
    sections = config.own_sections().values()
    if not any(isinstance(each, ChunksSection) and each.reuses_vectors for each in sections):
        return None
    return {"model": config.embedding.space.model, "dimensions": config.embedding.space.dimensions}


def embedding_fingerprint(config: Config) -> str:
    """Returns the fingerprint (SHA-256, hex) of the settings on which the vectors depend."""
    chosen = config.embedding
    included = (chosen.provider, address_of(chosen.base_url), chosen.model, chosen.dimensions, chosen.input_tokens)
    return hash_json(included)


def _plain(value: object) -> dict[str, Any]:
    if not isinstance(value, BaseModel):
        raise TypeError(f"no fingerprint for {type(value).__name__}")
    excluded = {"max_rejected"} if isinstance(value, PoliciesConfig) else set()
    return value.model_dump(
        mode="json", by_alias=True, exclude=excluded | ({"url"} if isinstance(value, AuxiliarySection) else set())
    )
