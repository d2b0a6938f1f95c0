"""`migrate run --follow` and `migrate follow`: the target keeps up with a MongoDB that is written to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.changing import DATABASE, Changing, LiveChanges, changing_server, wait_applied
from tests.driving import call, digest_database, spawn
from tests.processes import start
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")


def settings() -> dict[str, dict[str, str]]:
    return {"source": {"database": DATABASE}}


def assert_equals_run(config: Path, database: str, fresh: str) -> None:
    """The database is what a run on the source as it is now would make."""
    other = config.with_name("fresh.toml")
    other.write_text(config.read_text().replace(database, fresh))
    answer = call("run", "-c", other, "--json")
    assert answer.code == 0, answer.told
    assert digest_database(database) == digest_database(fresh)


def test_writes_during_and_after_the_load(new_database: Callable[[], str], tmp_path: Path) -> None:
    """Changes during the load, while no process follows, and while `follow` runs: none is lost."""
    source, database = Changing(make_talks(3, messages=600), 3), new_database()
    with changing_server(tmp_path / "mongo", source) as server, closing(LiveChanges(server.url, source)) as live:
        config = write_config(tmp_path / "migrate.toml", server.url, database, settings())
        writer = threading.Thread(target=live.write, args=(60,))
        writer.start()
        ran = spawn("run", "--follow", "--until-caught-up", "-c", config, "--json")
        writer.join()
        assert ran.code == 0, ran.told
        live.write(40)
        process = start("follow", "-c", config, "--json")
        try:
            live.write(40)
            wait_applied(database, live.fence())
            process.send_signal(signal.SIGINT)
            assert process.wait() == 5
        finally:
            process.kill()
        proof = call("verify", "-c", config, "--level", "roundtrip")
        assert proof.code == 0, proof.told
        assert_equals_run(config, database, new_database())
