"""migrate.toml: what is read, what overrides it, and what each mistake says."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from mappings.settings import Settings, StorageRule
from migrator.config.fingerprints import embedding_fingerprint, fingerprint
from migrator.config.loader import load_config, load_target
from migrator.config.models import Config, MigrationConfig
from migrator.config.starter import compose_starter
from migrator.errors import UsageError
from migrator.masking import mask

ROOT = Path(__file__).parents[2]
STARTER = compose_starter(ROOT / "mappings")
MINIMAL = """
[source]
url = "dump:backup"
[target]
url = "embedded:data"
"""
EVERY_SECTION = """
[source]
url = "mongodb://reader:s3cr3t-word@db.example:27017"
database = "LibreChat"
[target]
url = "postgresql://app:0ther-word@pg.example/app"
rls = "off"
[tenant]
name = "Harbour"
[recordings]
url = "csv:exports/recordings.csv"
prefer = "recording"
[chunks]
url = "files:/var/chunks"
[embedding]
provider = "openai"
api_key = "sk-abcdefghijklmnopqrst"
[policies]
orphan_owner = "admin@example.org"
[transactions]
amount_unit = "major"
[[storage]]
source = "local"
provider = "r2"
match = "^/uploads/(.*)$"
key = "uploads/$1"
url = "https://cdn.example.com/uploads/$1"
[engine]
workers = 3
[migration]
mappings = "other.mappings"
schema = "other.schema"
"""

Load = Callable[..., Settings]


def settings_of_librechat(names: MigrationConfig, folder: Path) -> type[Config]:
    """The settings that the mappings of LibreChat declare, whatever the names of the packages."""
    return Settings


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes a text as migrate.toml and loads it with an environment."""

    def write_and_load(text: str, environ: Mapping[str, str] | None = None) -> Settings:
        path = tmp_path / "migrate.toml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        loaded = load_config(path, environ or {}, settings_of_librechat)
        assert isinstance(loaded, Settings)
        return loaded

    return write_and_load


def failure(load: Load, text: str, environ: Mapping[str, str] | None = None) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(text, environ)
    return caught.value


def test_defaults_are_the_contracts(load: Load) -> None:
    """A file with nothing but source and target gets the values contract.md gives."""
    config = load(MINIMAL)
    assert str(config.tenant.id) == "0190b5a0-0000-7000-8000-000000000001"
    assert (config.tenant.name, config.tenant.subdomain, config.target.rls) == ("Default", "default", "all")
    assert (config.recordings, config.chunks, config.storage) == (None, None, ())
    assert config.policies.model_dump() == {
        "orphan_owner": "reject",
        "duplicate_email": "reject",
        "unmapped_collections": "archive",
        "max_rejected": None,
        "temporary": "load",
    }
    assert config.transactions.amount_unit == "cents"
    assert config.engine.model_dump() == {
        "workers": 0,
        "batch_rows": 5000,
        "executor": "local",
        "part_bytes": 0,
        "max_rows_per_second": 0,
        "max_replication_lag_seconds": 0,
        "max_source_latency_ms": 0,
    }
    assert (config.migration.mappings, config.migration.schema_module) == ("mappings", "schema")
    assert (config.embedding.provider, config.embedding.dimensions) == ("none", 1536)


def test_every_section_is_read(load: Load) -> None:
    """What a file says wins over the defaults, in every section."""
    config = load(EVERY_SECTION)
    assert config.recordings is not None
    assert config.recordings.prefer == "recording"
    assert config.recordings.table == "recordings"
    assert config.embedding.api_key.get_secret_value() == "sk-abcdefghijklmnopqrst"
    assert config.policies.orphan_owner == "admin@example.org"
    assert (config.migration.mappings, config.migration.schema_module) == ("other.mappings", "other.schema")


def test_config_is_frozen(load: Load) -> None:
    """Nobody changes the settings while a run is under way."""
    config = load(MINIMAL)
    with pytest.raises(ValidationError):
        config.engine.workers = 5


def test_relative_paths_start_at_the_file(load: Load, tmp_path: Path) -> None:
    """`dump:`, `embedded:` and `csv:` paths do not depend on where the command was typed; absolute ones stay."""
    config = load(MINIMAL)
    assert config.source.url == f"dump:{tmp_path}/backup"
    assert config.target.url == f"embedded:{tmp_path}/data"
    every = load(EVERY_SECTION)
    assert every.recordings is not None
    assert every.chunks is not None
    assert every.recordings.url == f"csv:{tmp_path}/exports/recordings.csv"
    assert every.chunks.url == "files:/var/chunks"
    assert every.target.url == "postgresql://app:0ther-word@pg.example/app"


def test_relative_file_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default `migrate.toml` in the working directory gives absolute paths, too."""
    monkeypatch.chdir(tmp_path)
    Path("migrate.toml").write_text(MINIMAL)
    assert load_config(Path("migrate.toml"), {}, settings_of_librechat).source.url == f"dump:{tmp_path}/backup"


def test_variables_are_filled_in(load: Load) -> None:
    """`${VAR}` comes from the environment, also inside lists and several times; `$${` and a lone `$` stay."""
    text = MINIMAL.replace("dump:backup", "dump:${WHERE}/$${x}/${WHERE}$1")
    assert load(text, {"WHERE": "/a"}).source.url == "dump:/a/${x}/a$1"


def test_missing_variable_is_named(load: Load) -> None:
    """Every variable that is missing is named with the key that needs it."""
    error = failure(load, MINIMAL.replace("backup", "${NOWHERE}").replace("data", "${NEITHER}"))
    assert "source.url: the environment variable NOWHERE" in error.message
    assert "target.url: the environment variable NEITHER" in error.message
    assert "environment" in error.message
    assert error.hint


def test_environment_overrides_any_key(load: Load) -> None:
    """`MIGRATE_SECTION__KEY` wins, is typed like the key, and may open a section the file does not have."""
    environ = {
        "MIGRATE_ENGINE__WORKERS": "7",
        "MIGRATE_TARGET__URL": "embedded:elsewhere",
        "MIGRATE_MIGRATION__SCHEMA": "my.schema",
        "MIGRATE_RECORDINGS__URL": "csv:/r.csv",
        "MIGRATE_LOG": "not ours",
    }
    config = load(MINIMAL, environ)
    assert config.engine.workers == 7
    assert config.target.url.endswith("/elsewhere")
    assert config.migration.schema_module == "my.schema"
    assert config.recordings is not None


def test_override_spares_the_files_variable(load: Load) -> None:
    """A key that is overridden does not need the variable the file names for it."""
    text = MINIMAL.replace("embedded:data", "postgresql://u:${PGPASSWORD}@h/d")
    assert load(text, {"MIGRATE_TARGET__URL": "embedded:/d"}).target.url == "embedded:/d"


def test_unknown_override_is_refused(load: Load) -> None:
    """A mistyped variable is named together with the nearest one that exists."""
    error = failure(load, MINIMAL, {"MIGRATE_ENGINE__WORKER": "7"})
    assert "MIGRATE_ENGINE__WORKER matches no key" in error.message
    assert "MIGRATE_ENGINE__WORKERS" in error.hint


def test_wrong_override_names_the_variable(load: Load) -> None:
    """A value that does not fit says that it came from the environment."""
    error = failure(load, MINIMAL, {"MIGRATE_ENGINE__WORKERS": "many"})
    assert "engine.workers (from MIGRATE_ENGINE__WORKERS)" in error.message


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("[engine]\nworker = 1", "engine.worker: unknown key; did you mean workers?"),
        ("[polices]", "polices: unknown section; did you mean policies?"),
        ("[zzz]", "zzz: unknown section; valid names: source, target"),
        ("[engine]\nworkers = -1", "engine.workers: should be greater than or equal to 0; got -1"),
        ("[engine]\nexecutor = 'ray'", 'engine.executor: must be "local" or "dask://HOST:PORT"'),
        ("[tenant]\nid = 'abc'", "tenant.id: should be a valid UUID"),
        ("[policies]\norphan_owner = 'bob'", 'policies.orphan_owner: must be "reject" or the e-mail address of a user'),
        ("[policies]\nduplicate_email = 'keep'", "policies.duplicate_email: should be 'reject' or 'merge'"),
        ("[migration]\nschema = 'a b'", "migration.schema: "),
        ("[recordings]\ntable = 'r'", "recordings.url: this key is required; add it"),
        ("[recordings]\nurl = 'jsonl:x'", "recordings.url: must start with csv:, postgresql:// or postgres://"),
        ("[chunks]\nurl = 'files:'", "chunks.url: nothing follows files:"),
        (
            "[[storage]]\nprovider='a'\nmatch='('\nkey='k'\nurl='u'",
            "storage[0].match: invalid regular expression: ",
        ),
        (
            "[[storage]]\nprovider='a'\nmatch='x'\nkey='$1'\nurl='u'",
            "storage[0]: key uses $1, but match has only 0",
        ),
        ("[[storage]]\nprovidr='a'", "storage[0].providr: unknown key; did you mean provider?"),
        ("storage = 3", "storage: "),
        ("engine = 3", "engine: "),
    ],
)
def test_mistakes_are_worded(load: Load, extra: str, expected: str) -> None:
    """Each mistake is a line with key, problem and remedy."""
    text = extra + MINIMAL if "=" in extra.splitlines()[0] else MINIMAL + extra
    assert any(line.strip().startswith(expected) for line in failure(load, text).message.splitlines())


def test_all_mistakes_at_once(load: Load) -> None:
    """Several mistakes are one error, one a line."""
    error = failure(load, "[source]\nurl = 'ftp://x'\n[engine]\nbatch_rows = 0")
    lines = error.message.splitlines()
    assert lines[0].endswith("invalid configuration: 3 errors")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["source.url", "target", "engine.batch_rows"]
    assert all(";" in line for line in lines[1:])


def test_no_file(tmp_path: Path) -> None:
    """Without a file the hint is the command that writes one."""
    with pytest.raises(UsageError, match="does not exist") as caught:
        load_config(tmp_path / "none.toml", {}, settings_of_librechat)
    assert "migrate init" in caught.value.hint


def test_folder_instead_of_file(tmp_path: Path) -> None:
    """A folder is no settings file."""
    with pytest.raises(UsageError, match="cannot read"):
        load_config(tmp_path, {}, settings_of_librechat)


def test_syntax_error_has_its_line(load: Load) -> None:
    """A file that is not TOML says where."""
    assert "line 3" in failure(load, "[source]\n\nurl = dump:x\n").message


def test_other_encodings(tmp_path: Path) -> None:
    """A byte order mark is no harm; another encoding than UTF-8 is named."""
    path = tmp_path / "migrate.toml"
    path.write_bytes(MINIMAL.encode("utf-8-sig"))
    assert load_config(path, {}, settings_of_librechat).target.rls == "all"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(UsageError, match="not valid UTF-8"):
        load_config(path, {}, settings_of_librechat)


def test_repr_has_no_secrets(load: Load) -> None:
    """No password or key turns up where a config is printed."""
    shown = repr(load(EVERY_SECTION)) + str(load(EVERY_SECTION))
    assert "word" not in shown
    assert "sk-" not in shown


def test_mistakes_have_no_secrets(load: Load) -> None:
    """A URL with a mistake is not repeated with its password."""
    text = EVERY_SECTION.replace("@pg.example", "@pg.example:port").replace('"off"', '"of"')
    message = failure(load, text).message
    assert "target.url" in message
    assert "ther-word" not in message


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://app:s3cr3t@host/db",
        "mongodb+srv://app:s3cr3t@host",
        "postgres://app:s3cr3t/with@signs@host/db refused",
        "host=h user=u password=s3cr3t dbname=d",
        "host=h password='s3cr3t word' dbname=d",
        "postgresql://h/d?user=u&password=s3cr3t&sslmode=require",
        "Authorization: Bearer s3cr3t",
        "key sk-s3cr3t0123456789abc is wrong",
    ],
)
def test_mask_hides(text: str) -> None:
    """Passwords and keys go, in whatever form a message carries them."""
    assert "s3cr3t" not in mask(text)
    assert "***" in mask(text)


def test_mask_leaves_the_rest() -> None:
    """A text without secrets stays as it is."""
    text = 'https://example.org:8080/a?b=c, mail a@b.example; password authentication failed for user "x"'
    assert mask(text) == text


def test_known_secrets_are_hidden_in_every_spelling(load: Load) -> None:
    """A password of the config is found outside its URL, escaped or not, but not inside a longer word."""
    text = MINIMAL.replace("embedded:data", "postgresql://app:a%20b%3Fcd@h/d").replace(
        "dump:backup", "mongodb://u:postgres@h"
    )
    secrets = load(text).secrets()
    assert secrets.mask("tried a b?cd and a%20b%3Fcd") == "tried *** and ***"
    assert secrets.mask("a postgresql server") == "a postgresql server"
    assert "a b?cd" not in repr(secrets)


def test_storage_rule_rewrites() -> None:
    """A rule gives key and address for files of its source whose path matches, None for others."""
    rule = StorageRule.model_validate(
        {"source": "local", "provider": "r2", "match": "^/up/(.*)$", "key": "k/$1", "url": "https://c/$1?all=$0"}
    )
    assert rule.rewrite("local", "/up/a$2.png") == ("k/a$2.png", "https://c/a$2.png?all=/up/a$2.png")
    assert rule.rewrite("s3", "/up/a.png") is None
    assert rule.rewrite("local", "/other") is None


def test_fingerprint_ignores_speed_places_and_secrets(load: Load) -> None:
    """What does not change the outcome does not change the fingerprint."""
    first = fingerprint(load(EVERY_SECTION))
    changed = {
        "MIGRATE_ENGINE__WORKERS": "9",
        "MIGRATE_ENGINE__BATCH_ROWS": "1",
        "MIGRATE_TARGET__URL": "embedded:/other",
        "MIGRATE_SOURCE__URL": "dump:/moved",
        "MIGRATE_EMBEDDING__API_KEY": "other",
        "MIGRATE_EMBEDDING__CONCURRENCY": "1",
        "MIGRATE_EMBEDDING__BATCH": "1",
        "MIGRATE_EMBEDDING__USD_PER_MILLION": "1",
    }
    assert embedding_fingerprint(load(EVERY_SECTION, changed)) == embedding_fingerprint(load(EVERY_SECTION))
    assert fingerprint(load(EVERY_SECTION, changed)) == first


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MIGRATE_SOURCE__DATABASE", "other"),
        ("MIGRATE_TARGET__RLS", "all"),
        ("MIGRATE_TENANT__NAME", "other"),
        ("MIGRATE_RECORDINGS__URL", "csv:/other.csv"),
        ("MIGRATE_RECORDINGS__PREFER", "module"),
        ("MIGRATE_CHUNKS__URL", "files:/other"),
        ("MIGRATE_POLICIES__ORPHAN_OWNER", "reject"),
        ("MIGRATE_TRANSACTIONS__AMOUNT_UNIT", "cents"),
        ("MIGRATE_MIGRATION__SCHEMA", "other"),
    ],
)
def test_fingerprint_sees_what_matters(load: Load, variable: str, value: str) -> None:
    """What changes the outcome changes the fingerprint."""
    assert fingerprint(load(EVERY_SECTION, {variable: value})) != fingerprint(load(EVERY_SECTION))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MIGRATE_EMBEDDING__PROVIDER", "none"),
        ("MIGRATE_EMBEDDING__MODEL", "other"),
        ("MIGRATE_EMBEDDING__BASE_URL", "https://other.example"),
        ("MIGRATE_EMBEDDING__DIMENSIONS", "7"),
        ("MIGRATE_EMBEDDING__INPUT_TOKENS", "77"),
    ],
)
def test_embedding_has_a_fingerprint_of_its_own(load: Load, variable: str, value: str) -> None:
    """Who computes embeddings may be decided after the run, so a run goes on; a plan that foretold another does not."""
    first, other = load(EVERY_SECTION), load(EVERY_SECTION, {variable: value})
    assert fingerprint(first) == fingerprint(other)
    assert embedding_fingerprint(first) != embedding_fingerprint(other)


def test_fingerprint_sees_storage_rules(load: Load) -> None:
    """Another rewrite of the files' addresses is another outcome."""
    other = EVERY_SECTION.replace("uploads/$1", "files/$1")
    assert fingerprint(load(other)) != fingerprint(load(EVERY_SECTION))


def test_example_is_the_starter() -> None:
    """`migrate.toml.example` is what `migrate init` writes next to the mappings of LibreChat."""
    assert (ROOT / "migrate.toml.example").read_text(encoding="utf-8") == STARTER


def test_starter_loads_as_it_is(load: Load) -> None:
    """The starter works without any variable set, and shows the defaults truthfully."""
    config = load(STARTER)
    assert config == load(MINIMAL.replace("backup", "dump").replace("data", ".migrate/postgres"))


def test_starter_is_true_when_uncommented(load: Load) -> None:
    """Every commented line, taken in, is valid; those of sections that are on show the default."""
    lines = []
    for line in STARTER.splitlines():
        setting = line.removeprefix("# ")
        is_setting = setting.startswith("[") or setting.split(" = ")[0].isidentifier()
        second_url = line.startswith(('# url = "mongodb', '# url = "postgresql'))
        lines.append(setting if is_setting and not second_url else "")
    config = load("\n".join(lines), {"OPENAI_API_KEY": "k"})
    assert config.engine == load(MINIMAL).engine
    assert config.policies == load(MINIMAL).policies.model_copy(update={"max_rejected": "2%"})  # no default
    assert config.tenant == load(MINIMAL).tenant
    assert config.storage[0].provider == "r2"
    assert config.recordings is not None
    assert config.chunks is not None


def test_the_engine_refuses_sections_of_others(tmp_path: Path) -> None:
    """Without mappings that declare them, a section and a policy are unknown, and their variables, too."""
    path = tmp_path / "migrate.toml"
    path.write_text(MINIMAL + '[chunks]\nurl = "jsonl:x"\n[policies]\norphan_owner = "reject"\n')
    with pytest.raises(UsageError) as caught:
        load_config(path, {}, lambda names, folder: Config)
    assert "chunks: unknown section" in caught.value.message
    assert "policies.orphan_owner: unknown key; valid names: unmapped_collections, max_rejected" in caught.value.message
    with pytest.raises(UsageError, match="MIGRATE_POLICIES__ORPHAN_OWNER matches no key"):
        load_config(path, {"MIGRATE_POLICIES__ORPHAN_OWNER": "reject"}, lambda names, folder: Config)


def test_the_name_of_the_mappings_can_come_from_the_environment(tmp_path: Path) -> None:
    """Their settings are found before the file is checked."""
    path = tmp_path / "migrate.toml"
    path.write_text(MINIMAL + '[migration]\nmappings = "one"\n')
    asked: list[tuple[str, str, Path]] = []

    def find(names: MigrationConfig, folder: Path) -> type[Config]:
        asked.append((names.mappings, names.schema_module, folder))
        return Config

    load_config(path, {}, find)
    load_config(path, {"MIGRATE_MIGRATION__MAPPINGS": "two", "MIGRATE_MIGRATION__SCHEMA": "tables"}, find)
    assert asked == [("one", "schema", tmp_path), ("two", "tables", tmp_path)]


def test_starter_has_every_key() -> None:
    """No key is missing from the starter."""
    from migrator.config.loader import _keys, _model_of

    for section in Settings.model_fields:
        model = _model_of(Settings, section)
        assert model is not None
        text = STARTER.split(f"[{section}]")[1]
        assert all(f"{key} = " in text for key in _keys(model)), section


def test_the_reject_limit_is_not_in_the_fingerprint(load: Load) -> None:
    """A stopped run resumes with a higher limit."""
    before = load(MINIMAL)
    after = load(MINIMAL + '[policies]\nmax_rejected = "2%"\n')
    assert after.policies.max_rejected == "2%"
    assert fingerprint(before) == fingerprint(after)


def test_the_target_alone(tmp_path: Path) -> None:
    """`status` reads [target] only. It masks what may be a secret anywhere in the file or in the environment."""
    path = tmp_path / "migrate.toml"
    path.write_text(
        """
        [target]
        url = "embedded:data"
        rls = "all"
        [invented]
        url = "https://someone:s3cr3t-word@x.example"
        places = [{ signing_key = "0ther-word" }]
        [source]
        url = "mongodb://reader:${PASSWORD}@db"
        database = "${MISSING}"
        """
    )
    environ = {"PASSWORD": "th1rd-word", "MIGRATE_INVENTED__TOKEN": "f0urth-word", "MIGRATE_TARGET__RLS": "off"}
    target, secrets = load_target(path, environ)
    assert (target.url, target.rls) == (f"embedded:{tmp_path}/data", "off")
    for word in ("s3cr3t-word", "0ther-word", "th1rd-word", "f0urth-word"):
        assert secrets.mask(f"is {word} here?") == "is *** here?"


@pytest.mark.parametrize(
    ("text", "environ", "told"),
    [
        ('[target]\nurl = "embedded:data"\ncolour = 1', {}, "target.colour: unknown key"),
        ('[targets]\nurl = "embedded:data"', {}, "target: this section is required"),
        ('[target]\nurl = "embedded:data"', {"MIGRATE_TARGET__COLOUR": "1"}, "MIGRATE_TARGET__COLOUR"),
        ('[target]\nurl = "${ABSENT}"', {}, "ABSENT is not set"),
    ],
)
def test_mistakes_in_the_target_alone(text: str, environ: dict[str, str], told: str, tmp_path: Path) -> None:
    (tmp_path / "migrate.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_target(tmp_path / "migrate.toml", environ)
    assert told in caught.value.message
