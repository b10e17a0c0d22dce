"""Fixtures of the Dask backend's tests: a real scheduler and real workers, each a process of its own on loopback."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # workers import `dask_calls` from there

from dask_gates import PATIENCE, Gate, await_that  # noqa: E402

if importlib.util.find_spec("distributed") is None:
    collect_ignore_glob = ["test_[!a]*.py"]  # all but test_availability


def python_path() -> str:
    """Return the search path for programs of the tests: the folder of `dask_calls`, and the path of this process."""
    return os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))


class Cluster:
    """A scheduler and its workers as processes, which start side by side: workers wait for the scheduler's file.

    Args:
        folder: Where it writes.
        port: Of the scheduler; 0 for any.
        settings: Of the scheduler, as Dask reads them from the environment.
    """

    def __init__(self, folder: Path, port: int = 0, **settings: str) -> None:
        self.scheduler_file = str(folder / "scheduler.json")
        self.folder = folder
        self.log = open(folder / "log.txt", "w")  # noqa: SIM115 - open as long as the processes
        self.workers: list[subprocess.Popen[bytes]] = []
        self.settings = settings
        options = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        self.scheduler = self._start("dask_scheduler", *options)

    @functools.cached_property
    def address(self) -> str:
        await_that(self._read_address, "the scheduler's file")
        return str(self._read_address())

    def _read_address(self) -> str | None:
        try:
            return str(json.loads(Path(self.scheduler_file).read_text())["address"])
        except (OSError, ValueError):  # missing or incomplete
            return None

    def add_worker(self, *options: str, lacks: str = "-") -> subprocess.Popen[bytes]:
        usual = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
        worker = self._start("dask_worker", *usual, *options, lacks=lacks)
        self.workers.append(worker)
        return worker

    def await_workers(self, count: int) -> None:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=PATIENCE)

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
        for process in [*self.workers, self.scheduler]:
            process.wait(timeout=PATIENCE)
            assert process.stdin is not None
            process.stdin.close()
        self.log.close()

    def _start(self, tool: str, *options: str, lacks: str = "-") -> subprocess.Popen[bytes]:
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
        command = [sys.executable, str(HERE / "cluster_process.py"), lacks, f"distributed.cli.{tool}"]
        return subprocess.Popen(
            [*command, "--scheduler-file", self.scheduler_file, *options],
            cwd=self.folder,
            env={**inherited, **self.settings, "PYTHONPATH": python_path()},
            stdin=subprocess.PIPE,  # ends with this process, however this process ends
            stdout=self.log,
            stderr=self.log,
        )


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a cluster of two workers, which no test may kill."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.add_worker("--resources", "LICENCE=1", "--name", "licensed")
        cluster.add_worker()
        cluster.await_workers(2)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Make clusters with a number of workers; a test may kill any of their processes."""
    made: list[Cluster] = []

    def make(workers: int, port: int = 0, **settings: str) -> Cluster:
        folder = tmp_path / f"cluster-{len(made)}"
        folder.mkdir()
        cluster = Cluster(folder, port, **settings)
        made.append(cluster)
        for _ in range(workers):
            cluster.add_worker()
        if workers:
            cluster.await_workers(workers)
        return cluster

    try:
        yield make
    finally:
        for cluster in made:
            cluster.stop()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def other_gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "other")
