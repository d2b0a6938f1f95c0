"""What unit tests of translation share."""

from __future__ import annotations

import pytest

from migrator.mapping.loader import load_settings
from migrator.state.tenant import Options


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """The options of a run with the settings of the example, all at their defaults."""
    path = tmp_path_factory.mktemp("config") / "migrate.toml"
    path.write_text('[source]\nurl = "dump:nowhere"\n[target]\nurl = "embedded:nowhere"\n')
    config = load_settings(path, {})
    return Options(config, config.tenant.id)
