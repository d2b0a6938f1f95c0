"""The sections of migrate.toml as frozen values, with defaults and checks, and the fingerprint of the configuration.

`url` and `api_key` may contain secrets: no repr shows them. Not here: reading the file and the environment, and error
messages (loader.py); masking secrets in text (masking.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from migrator.config.reject_limit import RejectLimit, parse_reject_limit
from migrator.documents.fingerprint import hash_json
from migrator.masking import Secrets, url_secrets

DATABASE_URLS = ("postgresql://", "postgres://")
FOLDER_URLS = ("dump:", "embedded:", "csv:", "jsonl:", "files:")  # a path follows, relative to migrate.toml
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_DOTTED_NAME = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


def _one_of(*prefixes: str) -> Callable[[str], str]:
    """Returns a check that a URL starts with one of the prefixes, and that something follows."""

    def check(url: str) -> str:
        prefix = next((p for p in prefixes if url.startswith(p)), None)
        if prefix is None:
            raise ValueError(f"must start with {', '.join(prefixes[:-1])} or {prefixes[-1]}")
        if not url.removeprefix(prefix).strip():
            raise ValueError(f"nothing follows {prefix}")
        _check_address(url)
        return url

    return check


def _check_address(url: str) -> None:
    """Rejects a password with unescaped special characters: its end would be read, and printed, as host or port."""
    scheme, known, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    if scheme.startswith("http"):  # an @ may occur in the path
        stray = "@" in "".join(re.split("[?#]", rest, maxsplit=1)[1:]) or not _is_host(authority)
    else:
        stray = "@" in re.split("[?#]", path)[0]
    if known and (stray or "@" in user or not all(map(_is_host, re.split("[?#]", hosts)[0].split(",")))):
        raise ValueError("invalid host or port; write special characters in a password as %XX")


def _is_host(host: str) -> bool:
    """Checks one host of a URL. An empty host is libpq's Unix socket."""
    with suppress(ValueError):
        _ = urlsplit(f"//{host}").port
        return True
    return False


def _check_owner(value: str) -> str:
    if value != "reject" and not _EMAIL.fullmatch(value):
        raise ValueError('must be "reject" or the e-mail address of a user')
    return value


def _check_executor(value: str) -> str:
    if value != "local" and not re.fullmatch(r"dask://[^\s/:]+:\d+", value):
        raise ValueError('must be "local" or "dask://HOST:PORT"')
    return value


def _check_limit(value: Any) -> Any:
    if value is not None:
        parse_reject_limit(value)
    return value


def _compile(value: object) -> object:
    """Compiles a regular expression. pydantic's own message does not say what is wrong with it."""
    if not isinstance(value, str):
        return value
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"invalid regular expression: {error}") from error


Text = Annotated[str, Field(min_length=1)]
SourceUrl = Annotated[str, AfterValidator(_one_of("dump:", "mongodb://", "mongodb+srv://"))]
TargetUrl = Annotated[str, AfterValidator(_one_of("embedded:", *DATABASE_URLS))]
RecordingsUrl = Annotated[str, AfterValidator(_one_of("csv:", *DATABASE_URLS))]
ChunksUrl = Annotated[str, AfterValidator(_one_of("jsonl:", "files:", *DATABASE_URLS))]
HttpUrl = Annotated[str, AfterValidator(_one_of("https://", "http://"))]
DottedName = Annotated[str, Field(pattern=_DOTTED_NAME)]


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


class RecordingsConfig(Section):
    """The source of recordings. `columns`: the name in the mapping → the different name in that table."""

    url: RecordingsUrl = Field(repr=False)
    table: Text = "recordings"
    prefer: Literal["module", "recording"] = "module"
    columns: dict[Text, Text] = Field(default_factory=dict)


class ChunksConfig(Section):
    """The source of text chunks. `collection`: in the RAG API's store, None: all.

    `size` and `overlap`, in characters: of chunks that are cut from files. `vectors`: whether the vectors of the source
    are loaded. `model`: the model that computed them.
    """

    url: ChunksUrl = Field(repr=False)
    collection: Text | None = None
    vectors: Literal["reembed", "reuse"] = "reembed"
    model: Text | None = None
    size: int = Field(default=1500, ge=50, le=100_000)
    overlap: int = Field(default=100, ge=0)

    @model_validator(mode="after")
    def _check_overlap(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError("overlap must be smaller than size")
        return self

    @model_validator(mode="after")
    def _check_vectors(self) -> Self:
        if self.reuses_vectors and self.url.startswith("files:"):
            raise ValueError('vectors = "reuse" requires a url of stored vectors: postgresql:// or jsonl:')
        if self.reuses_vectors and self.model is None:
            raise ValueError('vectors = "reuse" requires the key `model`: the model that computed the vectors')
        return self

    @property
    def reuses_vectors(self) -> bool:
        return self.vectors == "reuse"


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

    orphan_owner: Annotated[str, AfterValidator(_check_owner)] = "reject"
    duplicate_email: Literal["reject", "merge"] = "reject"
    unmapped_collections: Literal["archive", "ignore"] = "archive"
    temporary: Literal["load", "archive"] = "load"
    max_rejected: Annotated[int | str | None, BeforeValidator(_check_limit)] = None

    @property
    def reject_limit(self) -> RejectLimit | None:
        return None if self.max_rejected is None else parse_reject_limit(self.max_rejected)


class TransactionsConfig(Section):
    """The unit of amounts in the source."""

    amount_unit: Literal["cents", "major"] = "cents"


class StorageRule(Section):
    """One rule that rewrites the address of stored files. `source` None: all files."""

    source: Text | None = None
    provider: Text
    match: Annotated[re.Pattern[str], BeforeValidator(_compile)]
    key: Text
    url: Text

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        for name in ("key", "url"):
            for reference in re.findall(r"\$(\d)", getattr(self, name)):
                if int(reference) > self.match.groups:
                    raise ValueError(f"{name} uses ${reference}, but match has only {self.match.groups} groups")
        return self

    def rewrite(self, source: str | None, path: str) -> tuple[str, str] | None:
        """Returns the new (key, url) of a file; None if the rule does not apply to it."""
        if self.source is not None and self.source != source:
            return None
        found = self.match.search(path)
        if found is None:
            return None
        return self._fill(self.key, found), self._fill(self.url, found)

    @staticmethod
    def _fill(template: str, found: re.Match[str]) -> str:
        return re.sub(r"\$(\d)", lambda reference: found[int(reference[1])] or "", template)


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
    """The checked configuration. An optional section that is missing is None, and its feature is off."""

    source: SourceConfig
    target: TargetConfig
    tenant: TenantConfig = TenantConfig()
    recordings: RecordingsConfig | None = None
    chunks: ChunksConfig | None = None
    embedding: EmbeddingConfig = EmbeddingConfig()
    policies: PoliciesConfig = PoliciesConfig()
    transactions: TransactionsConfig = TransactionsConfig()
    storage: tuple[StorageRule, ...] = ()
    engine: EngineConfig = EngineConfig()
    cutover: CutoverConfig = CutoverConfig()
    migration: MigrationConfig = MigrationConfig()

    def secrets(self) -> Secrets:
        """Returns the secrets, which must never be printed: the passwords in URLs, and the API key."""
        sections = (self.source, self.target, self.recordings, self.chunks)
        urls = [section.url for section in (*sections, *self.storage) if section is not None]
        urls.append(self.embedding.base_url)
        passwords = [secret for url in urls for secret in url_secrets(url)]
        return Secrets([*passwords, self.embedding.api_key.get_secret_value()])


def fingerprint(config: Config) -> str:
    """Returns the fingerprint (SHA-256, hex) of the settings that determine the content of the target.

    Not included: [engine], which changes the duration only; [cutover], which changes no row; passwords; the URLs of
    source and target, because a dump may be moved and a server renamed (the source has its own fingerprint);
    policies.max_rejected, which may stop a run but does not change its rows; [embedding], which may be decided later
    and has its own fingerprint. Its model and dimensions are included if chunks.vectors is "reuse", because they decide
    which vectors are loaded.
    """
    return hash_json(_included(config), default=_plain)


def setting_fingerprints(config: Config) -> dict[str, str]:
    """Returns the fingerprint of each single setting that `fingerprint` covers, by its name in migrate.toml."""
    names = {"database": "source.database", "rls": "target.rls"}
    found: dict[str, str] = {}
    for name, value in _included(config).items():
        if isinstance(value, tuple) and name != "storage":
            address, section = value
            value = {"url": address, **_plain(section)}
        elif isinstance(value, Section):
            value = _plain(value)
        if isinstance(value, dict):
            found |= {f"{name}.{key}": hash_json(each) for key, each in value.items()}
        elif value is not None:
            found[names.get(name, name)] = hash_json(value, default=_plain)
    return found


def _included(config: Config) -> dict[str, Any]:
    return {
        "database": config.source.database,
        "rls": config.target.rls,
        "tenant": config.tenant,
        "recordings": config.recordings and (address_of(config.recordings.url), config.recordings),
        "chunks": config.chunks and (address_of(config.chunks.url), config.chunks),
        "embedding": _reused_space(config),
        "policies": config.policies,
        "transactions": config.transactions,
        "storage": config.storage,
        "migration": config.migration,
    }


def _reused_space(config: Config) -> dict[str, Any] | None:
    """Return the space on which it depends which vectors of chunks are loaded; None if none are."""
    if config.chunks is None or not config.chunks.reuses_vectors:
        return None
    return {"model": config.embedding.space.model, "dimensions": config.embedding.space.dimensions}


def embedding_fingerprint(config: Config) -> str:
    """Returns the fingerprint (SHA-256, hex) of the settings on which the vectors depend."""
    chosen = config.embedding
    included = (chosen.provider, address_of(chosen.base_url), chosen.model, chosen.dimensions, chosen.input_tokens)
    return hash_json(included)


def address_of(url: str) -> str:
    """Returns a URL without user, password and parameters, which do not change the data behind it."""
    if "://" not in url:
        return url
    scheme, rest = url.split("://", 1)
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _plain(value: object) -> dict[str, Any]:
    if not isinstance(value, BaseModel):
        raise TypeError(f"no fingerprint for {type(value).__name__}")
    excluded = {"max_rejected"} if isinstance(value, PoliciesConfig) else {"url"}
    return value.model_dump(mode="json", by_alias=True, exclude=set() if isinstance(value, StorageRule) else excluded)
