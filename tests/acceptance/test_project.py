"""A project is the folder of migrate.toml: its packages are found first, and errors in them are the user's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from pydantic import PostgresDsn, SecretBytes, SecretStr

from migrator.config.example import LAYOUT
from migrator.config.models import Config, Section
from tests import scenarios
from tests.archive_writer import write_folder
from tests.clusters import cluster_in
from tests.driving import Answer, call, spawn
from tests.processes import finish
from tests.talks import make_talks

USERS = "mappings/users.py"


pytestmark = pytest.mark.usefixtures("restored_modules")
# In a process that has imported the packages of the checkout, and in a new one with worker processes.
PROCESSES = pytest.mark.parametrize(("workers", "execute"), [(1, finish), (2, spawn)], ids=["1", "2"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example project."""
    folder = tmp_path / "project"
    assert call("init", "--example", "librechat", folder).code == 0
    return folder


def change(project: Path, file: str, old: str, new: str) -> None:
    path = project / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def add_column(project: Path, name: str) -> None:
    code = f"import sqlalchemy\n\nmetadata.tables['users'].append_column(sqlalchemy.Column('{name}', sqlalchemy.Text))"
    change(project, "schema/__init__.py", "__all__ =", f"{code}\n\n__all__ =")


def test_the_example_is_complete_and_overwrites_nothing(project: Path) -> None:
    """All files are copied; a second time is refused, and names the first file that exists."""
    assert {path.name for path in project.iterdir()} == set(LAYOUT.values())
    answer = call("init", "--example", "librechat", project)
    assert answer.code == 2
    assert f"{project / 'migrate.toml'} already exists" in answer.err
    assert call("init", "--example", "nothing", project / "other").code == 2


def test_the_folder_of_the_configuration_is_searched_first(project: Path, tmp_path: Path) -> None:
    """The project's own schema is printed, in this process and in one of its own, from any folder."""
    add_column(project, "marker")
    config = project / "migrate.toml"
    for answer in (call("schema", "-c", config), spawn("schema", "-c", config)):
        assert answer.code == 0, answer.told
        assert "marker" in answer.out
    checkout = call("schema", "-c", tmp_path / write_config(tmp_path))
    assert checkout.code == 0, checkout.told
    assert "marker" not in checkout.out


def write_config(folder: Path) -> str:
    text = '[source]\nurl = "dump:demo"\n[target]\nurl = "embedded:postgres"\n'
    (folder / "other.toml").write_text(text, encoding="utf-8")
    return "other.toml"


def test_two_projects_in_one_process(tmp_path: Path) -> None:
    """Each gets its own packages, even if they have the same names."""
    for name in ("first", "second"):
        folder = tmp_path / name
        assert call("init", "--example", "librechat", folder).code == 0
        add_column(folder, f"marker_{name}")
    for name in ("first", "second", "first"):
        assert f"marker_{name}" in call("schema", "-c", tmp_path / name / "migrate.toml").out


MISTAKES = {
    "a name that does not exist": ("from mappings import shared", "from mappings import sharde", "ImportError"),
    "a package that is not installed": ("from mappings", "import no_such_package\nfrom mappings", "no_such_package"),
    "a syntax error": ("from mappings", "def\nfrom mappings", "SyntaxError"),
    "a program that ends": ("from mappings", "raise SystemExit(0)\nfrom mappings", "SystemExit: 0"),
    "an exception": ("from mappings", "int('x')\nfrom mappings", "ValueError: invalid literal"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_mappings_is_the_users(project: Path, mistake: str) -> None:
    """Exit code 2, with file, line and cause; nothing of an internal error."""
    old, new, cause = MISTAKES[mistake]
    source = (project / USERS).read_text(encoding="utf-8")
    line = next(number for number, text in enumerate(source.splitlines(), 1) if text.startswith("from mappings"))
    change(project, USERS, old, new)
    answer = call("schema", "-c", project / "migrate.toml")
    require_users_error(answer, cause)
    assert f"{project / USERS}, line {line}" in answer.err


@pytest.mark.parametrize(
    ("package", "line", "cause"),
    [
        ("mappings", "MAPPINGS = None", "MAPPINGS is not a tuple"),
        ("mappings", "MAPPINGS = MAPPINGS[0]", "MAPPINGS is not a tuple"),
        ("mappings", "MAPPINGS = ('users',)", "MAPPINGS is not a tuple"),
        ("schema", "metadata = metadata.tables", "not a MetaData"),
        ("schema", "del metadata", "does not define metadata"),
    ],
)
def test_names_of_another_type_are_the_users(project: Path, package: str, line: str, cause: str) -> None:
    with (project / package / "__init__.py").open("a") as file:
        file.write(f"\n{line}\n")
    require_users_error(call("schema", "-c", project / "migrate.toml"), cause)


def require_users_error(answer: Answer, cause: str) -> None:
    assert answer.code == 2, answer.told
    assert cause in answer.err
    assert "internal" not in answer.told.lower()


def test_a_project_without_mappings(project: Path) -> None:
    """The message names the folder that was searched, and the command that writes an example."""
    change(project, "migrate.toml", "[embedding]", '[migration]\nmappings = "no_such.mappings"\n\n[embedding]')
    answer = call("schema", "-c", project / "migrate.toml")
    require_users_error(answer, "no Python package 'no_such.mappings'")
    assert str(project) in answer.err
    assert "migrate init --example librechat" in answer.err


@PROCESSES
def test_an_exception_in_a_rule_is_the_users(
    project: Path, database: str, workers: int, execute: Callable[..., Answer]
) -> None:
    """An exception that a function of the mappings raises for a document ends with exit code 2, file and line."""
    start = "def compute_role(context: Context, created_by_user: Any, sender: Any) -> str:"
    change(project, "mappings/messages.py", start, f"{start}\n    raise RuntimeError('wrong')")
    change(project, "migrate.toml", "embedded:.migrate/postgres", database)
    answer = execute("run", "-q", "--workers", workers, "-c", project / "migrate.toml")
    require_users_error(answer, "RuntimeError: wrong")
    assert f"{project / 'mappings/messages.py'}, line" in answer.err


def add_setting(project: Path) -> None:
    """Gives the project a section of its own, which a rule of messages reads."""
    field = "    storage: tuple[StorageRule, ...] = ()"
    section = 'class GreetingSection(Section):\n    """A greeting."""\n\n    text: Text\n\n\nclass Settings(Config):'
    change(project, "mappings/settings.py", field, f"{field}\n    greeting: GreetingSection | None = None")
    change(project, "mappings/settings.py", "class Settings(Config):", section)
    start = "def compute_role(context: Context, created_by_user: Any, sender: Any) -> str:"
    change(project, "mappings/messages.py", start, f"{start}\n    return str(context.options.config.greeting.text)")


@PROCESSES
def test_a_section_of_the_projects_own(
    project: Path, database: str, workers: int, execute: Callable[..., Answer]
) -> None:
    """Rules read it, also in worker processes, although the current folder has mappings that lack it."""
    add_setting(project)
    change(project, "migrate.toml", "embedded:.migrate/postgres", database)
    config = project / "migrate.toml"
    answer = finish("check", "-c", config, environment={"MIGRATE_GREETINGS__TEXT": "hello"})
    require_users_error(answer, "MIGRATE_GREETINGS__TEXT matches no key of migrate.toml")
    assert "did you mean MIGRATE_GREETING__TEXT?" in answer.err
    part = {"MIGRATE_GREETING__TEXT": "assistant", "MIGRATE_ENGINE__PART_BYTES": "20000"}
    run = execute("run", "-q", "--workers", workers, "-c", config, environment=part)
    assert run.code == 0, run.told
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT DISTINCT role::text FROM messages").fetchall() == [("assistant",)]
    changed = finish("run", "-q", "-c", config, environment={**part, "MIGRATE_GREETING__TEXT": "user"})
    require_users_error(changed, "configuration (greeting.text)")


@pytest.mark.long
def test_a_section_of_the_projects_own_on_a_cluster(
    project: Path, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """A Dask worker reads it, although it has imported the mappings of another project for an earlier run."""
    add_setting(project)
    target = new_database()
    change(project, "migrate.toml", "embedded:.migrate/postgres", target)
    with cluster_in(tmp_path / "cluster", workers=1) as cluster:
        remote = {"MIGRATE_ENGINE__EXECUTOR": cluster.address, "MIGRATE_ENGINE__PART_BYTES": "20000"}
        dump = write_folder(tmp_path / "dump", make_talks(messages=100))
        earlier = scenarios.write_config(tmp_path / "migrate.toml", f"dump:{dump}", new_database())
        first = finish("run", "-q", "-c", earlier, environment=remote)
        assert first.code == 0, first.told
        greeting = {"MIGRATE_GREETING__TEXT": "assistant"}
        run = finish("run", "-q", "-c", project / "migrate.toml", environment=remote | greeting)
        assert run.code == 0, run.told + cluster.logs()
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT DISTINCT role::text FROM messages").fetchall() == [("assistant",)]


def test_a_section_that_no_settings_declare(project: Path) -> None:
    """A mapping that reads an undeclared section is refused by name; the settings must be a configuration."""
    change(project, "mappings/chunks.py", 'section="chunks"', 'section="texts"')
    require_users_error(
        call("schema", "-c", project / "migrate.toml"),
        "the mapping of document_chunks reads the section [texts], which the mappings do not declare",
    )
    change(project, "mappings/__init__.py", "from mappings.settings import Settings", "Settings = 1")
    require_users_error(finish("schema", "-c", project / "migrate.toml"), "mappings.Settings is not a subclass")


@pytest.mark.parametrize(
    ("section", "base"), [("greeting: Plain = Plain()", "Section"), ("engine: Plain = Plain()", "EngineConfig")]
)
def test_a_section_of_another_class_is_refused(project: Path, section: str, base: str) -> None:
    """It would accept misspelled keys, or lack those that the engine reads."""
    code = f"from pydantic import BaseModel\nclass Plain(BaseModel): ...\nclass Settings(Settings):\n    {section}\n"
    with (project / "mappings" / "__init__.py").open("a") as file:
        file.write(code)
    name = section.partition(":")[0]
    answer = call("schema", "-c", project / "migrate.toml")
    require_users_error(answer, f"the section [{name}] is not a subclass of {base}")


def test_secrets_of_all_types_are_known() -> None:
    """Texts, bytes, and the URLs of pydantic, in lists and tables."""

    class Service(Section):
        key: SecretStr = SecretStr("k3y-of-text")
        blob: SecretBytes = SecretBytes(b"k3y-of-bytes")
        url: PostgresDsn = PostgresDsn("postgresql://app:p4ss-of-url@host/db")
        more: frozenset[str] = frozenset({"https://app:p4ss-in-set@host"})

    class Settings(Config):
        service: tuple[Service, ...] = (Service(),)

    settings = Settings.model_validate({"source": {"url": "dump:x"}, "target": {"url": "embedded:y"}})
    text = "k3y-of-text k3y-of-bytes p4ss-of-url p4ss-in-set"
    assert not any(each in settings.secrets().mask(text) for each in text.split())


def test_init_describes_the_settings_of_the_mappings(project: Path, tmp_path: Path) -> None:
    """Next to the mappings of the example, the file has their sections; elsewhere, only the engine's."""
    assert call("init", project / "other.toml").code == 0
    assert call("init", tmp_path / "migrate.toml").code == 0
    texts = [(path / name).read_text() for path, name in ((project, "other.toml"), (tmp_path, "migrate.toml"))]
    assert ["# [recordings]" in text for text in texts] == [True, False]
    assert ["# orphan_owner" in text for text in texts] == [True, False]


@pytest.mark.long
def test_python_m(tmp_path: Path) -> None:
    """`python -m migrator` is `migrate`; -h and --version work; completion can be installed."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "migrator", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert run("--version").startswith("migrate ")
    assert "Usage: python -m migrator" in run("-h")
    assert "--install-completion" in run("--help")
    assert json.loads(run("id", "users", "64baaaafd882a3fac3fb6a2b", "--json"))["from"] == "objectid"
