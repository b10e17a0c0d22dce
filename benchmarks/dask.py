"""The Dask backend beside Dask's own executor and map, issue 6's table; what docs/scale.md says is measured here.

Two worker processes with one thread each on this machine, the same cluster for all. What Dask itself takes for 100,000
calls is minutes: it is measured with fewer, and told for each call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks import tiny
from benchmarks.measuring import Row, Sheet, seconds

WORKERS = 2
TINY = 100_000
TINY_BY_DASK = 2_000
MEDIUM = 1_000
PAUSE = 0.01  # seconds that a medium call takes
ALONE = 300
MEGABYTES = 64

Pool = Callable[[Any], Any]


@contextmanager
def ours(client: Any) -> Iterator[Any]:
    from corefutures_dask import DaskExecutor

    with DaskExecutor(client=client) as pool:
        pool.submit(tiny.nothing).result()
        yield pool


@contextmanager
def dasks(client: Any) -> Iterator[Any]:
    executor = client.get_executor(pure=False)
    executor.submit(tiny.nothing).result()
    yield executor
    executor.shutdown()


def submit_many(client: Any, pool: Pool, calls: int, call: Callable[..., object], *arguments: object) -> float:
    def run(executor: Any) -> None:
        for future in [executor.submit(call, *arguments) for _ in range(calls)]:
            future.result()

    with pool(client) as executor:
        return seconds(lambda: run(executor)) / calls * 1e6


def map_by_client(client: Any, call: Callable[..., object], items: list[Any]) -> float:
    client.submit(tiny.nothing, pure=False).result()
    return seconds(lambda: client.gather(client.map(call, items, pure=False))) / len(items) * 1e6


def map_many(client: Any, call: Callable[..., object], items: list[Any]) -> float:
    with ours(client) as executor:
        return seconds(lambda: list(executor.map(call, items))) / len(items) * 1e6


def submit_and_wait(client: Any, pool: Pool, calls: int) -> float:
    def run(executor: Any) -> None:
        for _ in range(calls):
            executor.submit(tiny.nothing).result()

    with pool(client) as executor:
        return seconds(lambda: run(executor)) / calls * 1e3


def carry(client: Any, pool: Pool) -> float:
    content = bytes(MEGABYTES << 20)
    with pool(client) as executor:
        return seconds(lambda: executor.submit(len, content).result()) * 1e3


def spent(pool: Any, process: Any, calls: int) -> float:
    """The time of its CPU that a process spends for a tiny call."""

    def total() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    before = total()
    for future in [pool.submit(tiny.nothing) for _ in range(calls)]:
        future.result()
    return (total() - before) / calls * 1e6


def rows() -> Iterator[Row]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        return
    os.environ.setdefault("PYTHONPATH", os.getcwd())  # the workers import the calls
    make_cluster: Any = LocalCluster
    make_client: Any = Client
    with (
        make_cluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        make_client(cluster, set_as_default=False) as client,
    ):
        yield Row(
            what=f"submit {TINY:,} tiny calls, beside Client.get_executor()",
            unit="µs a call",
            ours=lambda: submit_many(client, ours, TINY, tiny.nothing),
            against=lambda: submit_many(client, dasks, TINY_BY_DASK, tiny.nothing),
            at_least=1,
        )
        yield Row(
            what=f"map over {TINY:,} tiny calls, beside Client.map",
            unit="µs a call",
            ours=lambda: map_many(client, tiny.echo, list(range(TINY))),
            against=lambda: map_by_client(client, tiny.echo, list(range(TINY_BY_DASK))),
            at_least=1 / 1.3,
        )
        yield Row(
            what=f"submit {MEDIUM:,} calls of {PAUSE * 1e3:.0f} ms, beside Client.get_executor()",
            unit="µs a call",
            ours=lambda: submit_many(client, ours, MEDIUM, tiny.pause, PAUSE),
            against=lambda: submit_many(client, dasks, MEDIUM, tiny.pause, PAUSE),
            at_least=1,
        )
        yield Row(
            what=f"map over {MEDIUM:,} calls of {PAUSE * 1e3:.0f} ms, beside Client.map",
            unit="µs a call",
            ours=lambda: map_many(client, tiny.pause, [PAUSE] * MEDIUM),
            against=lambda: map_by_client(client, tiny.pause, [PAUSE] * MEDIUM),
            at_least=1 / 1.3,
        )
        yield Row(
            what="submit one, wait for it, repeat",
            unit="ms a call",
            ours=lambda: submit_and_wait(client, ours, 50),
            against=lambda: submit_and_wait(client, dasks, 50),
        )
        yield Row(
            what=f"send {MEGABYTES} MB of bytes",
            unit="ms",
            ours=lambda: carry(client, ours),
            against=lambda: carry(client, dasks),
        )


def spent_rows() -> Iterator[Row]:
    """What the client and the scheduler, each a process of its own, spend for a call: the limits of a large cluster."""
    try:
        import psutil  # type: ignore[import-untyped, unused-ignore]
        from distributed.deploy.subprocess import SubprocessCluster

        from corefutures_dask import DaskExecutor
    except ImportError:
        return
    os.environ.setdefault("PYTHONPATH", os.getcwd())
    make_cluster: Any = SubprocessCluster
    with (
        make_cluster(
            worker_class="distributed.Worker", n_workers=WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        DaskExecutor(address=cluster.scheduler_address) as pool,
    ):
        scheduler = psutil.Process(cluster.scheduler.process.pid)
        alone = pool.options(retries=1)  # what Dask is to try again travels alone
        for way, view, calls in (("with others", pool, TINY), ("alone", alone, ALONE)):
            for who, process in (("client", psutil.Process()), ("scheduler", scheduler)):
                yield Row(
                    what=f"a tiny call that travels {way}: the {who}'s CPU",
                    unit="µs a call",
                    ours=partial(spent, view, process, calls),
                )


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Dask: what a call costs", rows=rows)
    yield Sheet(title="Dask: what client and scheduler spend", rows=spent_rows)
