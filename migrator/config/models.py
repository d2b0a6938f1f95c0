"""The engine's sections of migrate.toml as frozen values, with defaults and checks.

A package of mappings adds sections and policies of its own: its `Settings` is a subclass of `Config`. `url` and
`api_key` may contain secrets: no repr shows them. Not here: reading the file and the environment, and error messages
(loader.py); fingerprints (fingerprints.py); masking secrets in text (masking.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    model_validator,
)

from migrator.config.fields import DottedName, HttpUrl, SourceUrl, TargetUrl, Text
from migrator.config.reject_limit import RejectLimit, parse_reject_limit
from migrator.masking import Secrets, url_secrets


def _check_executor(value: str) -> str:
    if value != "local" and not re.fullmatch(r"dask://[^\s/:]+:\d+", value):
        raise ValueError('must be "local" or "dask://HOST:PORT"')
    return value


def _check_limit(value: Any) -> Any:
    if value is not None:
        parse_reject_limit(value)
    return value


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """A model and the dimensions of its vectors. Only vectors of one space can be compared."""

    model: str
    dimensions: int


LOCAL_SPACE = VectorSpace("wordllama/l2_supercat_256", 256)  # that of provider "local"


class Section(BaseModel):
    """Base class of all sections: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(Section):
    """The MongoDB database to read. `database` may be None if the source contains one database only."""

    url: SourceUrl = Field(repr=False)
    database: Text | None = None


class TargetConfig(Section):
    """The PostgreSQL database to write."""

    url: TargetUrl = Field(repr=False)
    rls: Literal["all", "off"] = "all"


class TenantConfig(Section):
    """The tenant that all migrated data belongs to."""

    id: UUID = UUID("0190b5a0-0000-7000-8000-000000000001")
    name: Text = "Default"
    subdomain: Text = "default"


class EmbeddingConfig(Section):
    """The provider of missing embeddings. pgvector's `vector` has at most 16,000 dimensions.

    A request contains at most `batch` texts of at most `input_tokens` tokens. `usd_per_million`: the price of tokens;
    None: the list price of OpenAI for its models.
    """

    provider: Literal["openai", "local", "none"] = "none"
    base_url: HttpUrl = Field(default="https://api.openai.com/v1", repr=False)
    api_key: SecretStr = SecretStr("")
    model: Text = "text-embedding-3-small"
    dimensions: int = Field(default=1536, ge=1, le=16_000)
    concurrency: int = Field(default=8, ge=1, le=1000)
    batch: int = Field(default=128, ge=1, le=2048)
    input_tokens: int = Field(default=8000, ge=16)
    usd_per_million: float | None = Field(default=None, ge=0)

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors that the provider computes. With provider "none": that of a later `embed`."""
        return LOCAL_SPACE if self.provider == "local" else VectorSpace(self.model, self.dimensions)


class PoliciesConfig(Section):
    """Decisions about documents that cannot be loaded as they are. `max_rejected` None: no limit."""

    unmapped_collections: Literal["archive", "ignore"] = "archive"
    max_rejected: Annotated[int | str | None, BeforeValidator(_check_limit)] = None

    @property
    def reject_limit(self) -> RejectLimit | None:
        return None if self.max_rejected is None else parse_reject_limit(self.max_rejected)


class EngineConfig(Section):
    """Parallelism and rate limits. Nothing here changes the result. `workers` 0: one per core."""

    workers: int = Field(default=0, ge=0, le=1024)
    batch_rows: int = Field(default=5000, ge=1, le=1_000_000)
    part_bytes: int = Field(default=0, ge=0)  # 0: automatic
    max_rows_per_second: int = Field(default=0, ge=0)  # 0: unlimited
    max_replication_lag_seconds: int = Field(default=0, ge=0)  # 0: unlimited
    max_source_latency_ms: int = Field(default=0, ge=0)  # 0: unlimited
    executor: Annotated[str, AfterValidator(_check_executor)] = "local"


class CutoverConfig(Section):
    """How the switch of the application to PostgreSQL stops and resumes its writes. Hooks are shell commands.

    `max_downtime_seconds`: after which a cutover that is not switched is undone. `on_conflict`: what happens after the
    switch if a document in MongoDB is not as expected: the row takes precedence, or returning changes stops.
    """

    stop_writes: Literal["manual", "hook", "block"] = "manual"
    stop_hook: Text | None = None
    resume_hook: Text | None = None
    switch_hook: Text | None = None
    hook_timeout_seconds: float = Field(default=60, ge=0.1)
    max_lag_seconds: float = Field(default=2, ge=0.1)
    max_downtime_seconds: float = Field(default=30, ge=0.1)
    on_conflict: Literal["target", "stop"] = "target"

    @model_validator(mode="after")
    def _check_hooks(self) -> Self:
        if self.stop_writes == "hook" and (self.stop_hook is None or self.resume_hook is None):
            raise ValueError('stop_writes = "hook" requires stop_hook and resume_hook')
        return self


class MigrationConfig(Section):
    """The dotted names of the packages that define the migration."""

    mappings: DottedName = "mappings"
    # pydantic's models have a (deprecated) method `schema`.
    schema_module: DottedName = Field(default="schema", alias="schema")


class Config(Section):
    """The checked configuration.

    `ACCEPTED_BY_RETRY`: the policies that `rejects retry` accepts with a new value, by section.key, with the value that
    they must have had in the run; None: any.
    """

    ACCEPTED_BY_RETRY: ClassVar[Mapping[str, str | None]] = {}

    source: SourceConfig
    target: TargetConfig
    tenant: TenantConfig = TenantConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    policies: PoliciesConfig = PoliciesConfig()
    engine: EngineConfig = EngineConfig()
    cutover: CutoverConfig = CutoverConfig()
    migration: MigrationConfig = MigrationConfig()

    def own_sections(self) -> dict[str, Any]:
        """Returns the values of the sections that the package of mappings has declared."""
        return {name: getattr(self, name) for name in type(self).model_fields if name not in Config.model_fields}

    def secrets(self) -> Secrets:
        """Returns the secrets, which must never be printed: the passwords in URLs, and API keys."""
        found: list[str] = []
        for value in _values(self):
            if isinstance(value, SecretStr):
                found.append(value.get_secret_value())
            elif isinstance(value, SecretBytes):
                found.append(value.get_secret_value().decode(errors="replace"))
            elif not isinstance(value, re.Pattern) and "://" in (text := str(value)):  # pydantic's URLs are no texts
                found += url_secrets(text)
        return Secrets(found)


def _values(value: object) -> Iterator[object]:
    """Yields all values in sections, in their lists and their tables."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _values(getattr(value, name))
    elif isinstance(value, tuple | list | set | frozenset):
        for each in value:
            yield from _values(each)
    elif isinstance(value, dict):
        yield from _values(list(value.values()))
    else:
        yield value
