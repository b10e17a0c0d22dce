"""Options that make no sense or have no effect are refused by name: of a pool, its views, its cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.config
import dask_calls
import pytest
from distributed import Client, Security

import corefutures as futures
from corefutures_dask import DaskExecutor

ELSEWHERE = "tcp://127.0.0.1:1"


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"max_workers": 0}, ValueError, "max_workers"),
        ({"max_workers": "2"}, TypeError, "max_workers"),
        ({"initializer": 3}, TypeError, "initializer"),
        ({"retries": -1}, ValueError, "retries"),
        ({"retries": "2"}, TypeError, "retries"),
        ({"priority": "high"}, TypeError, "priority"),
        ({"resources": {"GPU": 0}}, ValueError, "resources"),
        ({"resources": {"GPU": "1"}}, TypeError, "resources"),
        ({"resources": ["GPU"]}, TypeError, "resources"),
        # options of our other executors
        ({"max_pending": 5}, futures.UnsupportedError, "calls that wait"),
        ({"at_exit": "cancel"}, futures.UnsupportedError, "exit"),
        ({"context": "copy"}, futures.UnsupportedError, "context"),
        ({"forward_logs": True, "address": ELSEWHERE}, futures.UnsupportedError, "logs"),
        ({"max_tasks_per_child": 1}, futures.UnsupportedError, "replace workers"),
        # the choice of the cluster
        ({"address": ELSEWHERE, "scheduler_file": "x"}, ValueError, "address and scheduler_file"),
        ({"address": ELSEWHERE, "n_workers": 2}, TypeError, "n_workers"),
        ({"address": ""}, ValueError, "address"),
        ({"address": 8786}, TypeError, "address"),
        ({"scheduler_file": 5}, TypeError, "scheduler_file"),
        ({"client": object()}, TypeError, "client"),
        # a cluster that is joined
        ({"address": ELSEWHERE, "timeout": 0}, ValueError, "timeout"),
        ({"address": ELSEWHERE, "timeout": "5s"}, TypeError, "timeout"),
        ({"address": ELSEWHERE, "security": Security()}, ValueError, "security"),
        # a cluster of the pool's own
        ({"n_worker": 2}, TypeError, "'n_worker': did you mean 'n_workers'"),
        ({"max_worker": 2}, TypeError, "'max_worker': did you mean 'max_workers'"),
        ({"memory_limt": 2}, TypeError, "'memory_limt': did you mean 'memory_limit'"),
        ({"asynchronous": True}, TypeError, "asynchronous"),
        ({"worker_class": "Worker"}, TypeError, "worker_class"),
        ({"n_workers": 0}, ValueError, "n_workers"),
        ({"threads_per_worker": "2"}, TypeError, "threads_per_worker"),
        ({"timeout": 5}, TypeError, "timeout"),
        ({"security": 5}, TypeError, "security"),
        ({"resources": {"GPU": 1}}, ValueError, r"resources.*\(0\)"),
        ({"check_versions": False}, TypeError, "check_versions"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(
    options: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        DaskExecutor(**options)


def test_options_of_a_given_client_are_its_own(shared_cluster: Any) -> None:
    with Client(shared_cluster.address, set_as_default=False) as client:
        for options in ({"timeout": 5}, {"security": Security()}):
            with pytest.raises(TypeError, match=next(iter(options))):
                DaskExecutor(client=client, **options)  # type: ignore[arg-type]


def test_what_an_own_cluster_has_not_is_not_waited_for() -> None:
    with dask.config.set({"distributed.worker.resources": {"GPU": 2}}), DaskExecutor(1, processes=False) as pool:
        assert pool.options(resources={"GPU": 2}, workers=[0]).submit(dask_calls.add, 1, 1).result(30) == 2
        for resources in ({"GPU": 3}, {"LICENCE": 1}):
            with pytest.raises(ValueError, match="more than a worker"):
                pool.options(resources=resources)
        with pytest.raises(ValueError, match="no worker 'licensed'"):
            pool.options(workers=["licensed"])


def test_security_without_effect_on_an_own_cluster_is_named() -> None:
    with pytest.raises(ValueError, match="require_encryption"):
        DaskExecutor(1, processes=False, protocol="tcp", security=Security())


def test_a_schedulers_file_is_waited_for_and_not_for_ever(tmp_path: Path, make_cluster: Callable[..., Any]) -> None:
    missing = tmp_path / "missing.json"
    with pytest.raises(futures.BackendUnavailableError, match=r"missing\.json"):
        DaskExecutor(scheduler_file=str(missing), timeout=0.1)
    missing.write_text("{")
    with pytest.raises(futures.BackendUnavailableError, match="no scheduler's"):
        DaskExecutor(scheduler_file=str(missing), timeout=0.1)
    cluster = make_cluster(0)  # the scheduler writes its file a moment later
    began = time.monotonic()
    with DaskExecutor(scheduler_file=cluster.scheduler_file, timeout=40):
        assert time.monotonic() - began < 40
