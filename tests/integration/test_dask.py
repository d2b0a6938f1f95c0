"""engine.executor = "dask://…": the same end by the workers of a cluster, whoever of them is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from migrator.execution import dask
from tests.archive_writer import write_folder
from tests.clusters import Cluster, cluster_in
from tests.driving import call, digest_database
from tests.killing import wait_for
from tests.mongo import fill, free_port, mongo
from tests.processes import start
from tests.scenarios import write_config
from tests.talks import make_talks

SMALL = {"batch_rows": 60, "part_bytes": 20_000}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_in(tmp_path_factory.mktemp("cluster")) as found:
        yield found


LONG = pytest.mark.long
FORMS = ["folder", pytest.param("gzip", marks=LONG), pytest.param("live", marks=LONG)]


@pytest.mark.parametrize("form", FORMS)
def test_a_cluster_does_the_same(form: str, cluster: Cluster, new_database: Callable[[], str], tmp_path: Path) -> None:
    """A run on two Dask workers, one killed on the way and replaced, ends as a run without any; no value is logged."""
    made = make_talks()
    dump = write_folder(tmp_path / "dump", made, gzipped=form == "gzip")
    here, there = new_database(), new_database()
    assert call("run", "-c", write_config(tmp_path / "here.toml", f"dump:{dump}", here)).code == 0
    with mongo(tmp_path / "mongo") as url:
        if form == "live":
            fill(url, "talks", made)
        source = f"{url}/talks" if form == "live" else f"dump:{dump}"
        settings = {"engine": {**SMALL, "executor": cluster.address}}
        config = write_config(tmp_path / "there.toml", source, there, settings)
        run = start("run", "-c", config, "--json")
        assert wait_for(there, "SELECT count(*) FROM migrator.batches", 15, run)
        cluster.workers.pop(0).kill()
        cluster.start_worker()
        _, told = run.communicate(timeout=120)
    assert run.returncode == 0, told.decode() + cluster.logs()
    assert digest_database(there) == digest_database(here)
    if form != "live":  # that server is gone, and a verification looks whether the source is the run's
        assert call("verify", "-c", write_config(config, source, there), "--level", "rows").code == 0
    assert "person" not in cluster.logs()
    assert "Traceback" not in told.decode()


def test_no_scheduler(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 7, and what to do."""
    monkeypatch.setattr(dask, "CONNECT_TIMEOUT", 1)
    dump = write_folder(tmp_path / "dump", make_talks(messages=10))
    config = tmp_path / "migrate.toml"
    nobody = {"engine": {"executor": f"dask://127.0.0.1:{free_port()}"}}
    answer = call("run", "-c", write_config(config, f"dump:{dump}", database, nobody))
    assert answer.code == 7, answer.told
    assert "no answer from a Dask scheduler" in answer.told


@pytest.mark.long
def test_no_worker(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler without workers: exit code 7 within seconds."""
    dump, config = write_folder(tmp_path / "dump", make_talks(messages=10)), tmp_path / "migrate.toml"
    monkeypatch.setattr(dask, "CONNECT_TIMEOUT", 5)
    with cluster_in(tmp_path / "idle", workers=0) as idle:
        settings = {"engine": {"executor": idle.address}}
        answer = call("run", "-c", write_config(config, f"dump:{dump}", database, settings))
        assert answer.code == 7, answer.told
        assert "has no worker" in answer.told
