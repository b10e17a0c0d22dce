"""The backends on MPI, SLURM and Ray, each beside the engine itself: what docs/scale.md says of them is measured here.

Two workers on this machine. An engine that is not installed has no rows; MPI needs `mpiexec` on PATH.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks import tiny
from benchmarks.measuring import Row, Sheet, seconds

WORKERS = 2

#: Makes an executor, or what submits like one, and ends it.
Made = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Subject:
    """A backend on an engine.

    Args:
        backend: Its name.
        title: The engine's.
        module: The module that the engine needs.
        itself: Makes the engine's own executor.
        calls: How many calls are submitted at once.
        by_itself: How many to the engine itself.
        alone: How many one after the other.
        items: How many items a map has.
        options: Of the backend.
    """

    backend: str
    title: str
    module: str
    itself: Made
    calls: int
    by_itself: int
    alone: int
    items: int
    options: dict[str, Any]


@contextmanager
def ours(subject: Subject) -> Iterator[Any]:
    from corefutures import create_executor

    with create_executor(subject.backend, max_workers=WORKERS, **subject.options) as executor:
        executor.submit(tiny.nothing).result()
        yield executor


@contextmanager
def mpi_itself() -> Iterator[Any]:
    make: Any = importlib.import_module("mpi4py.futures").MPIPoolExecutor
    with make(max_workers=WORKERS, path=sys.path) as executor:
        executor.submit(tiny.nothing).result()
        yield executor


@contextmanager
def submitit_itself() -> Iterator[Any]:
    make: Any = importlib.import_module("submitit").AutoExecutor
    with tempfile.TemporaryDirectory() as folder:
        yield make(folder, cluster="local")


@contextmanager
def ray_itself() -> Iterator[Any]:
    ray: Any = importlib.import_module("ray")
    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False)  # not a cluster that happens to run here

    class Tasks:
        def submit(self, fn: Callable[..., object]) -> Any:
            return ray.remote(fn).remote().future()

    executor = Tasks()
    executor.submit(tiny.nothing).result()
    yield executor
    ray.shutdown()


def submit_many(made: Made, calls: int) -> float:
    def run(executor: Any) -> None:
        for future in [executor.submit(tiny.nothing) for _ in range(calls)]:
            future.result()

    with made() as executor:
        return seconds(lambda: run(executor)) / calls * 1e6


def submit_and_wait(made: Made, calls: int) -> float:
    def run(executor: Any) -> None:
        for _ in range(calls):
            executor.submit(tiny.nothing).result()

    with made() as executor:
        return seconds(lambda: run(executor)) / calls * 1e3


def map_in_chunks(made: Made, items: int) -> float:
    with made() as executor:
        return seconds(lambda: list(executor.map(tiny.echo, range(items), chunksize="auto"))) / items * 1e6


FOLDER = tempfile.gettempdir()

SUBJECTS = [
    Subject("mpi", "MPI, beside mpi4py.futures itself", "mpi4py", mpi_itself, 2_000, 2_000, 200, 100_000, {}),
    Subject(
        "slurm", "SLURM: submitit's local executor, beside submitit itself", "submitit", submitit_itself, 1_000, 10, 5,
        100_000, {"cluster": "local", "folder": FOLDER},
    ),
    Subject("ray", "Ray, beside ray.remote itself", "ray", ray_itself, 2_000, 200, 200, 100_000, {}),
]  # fmt: skip


def rows(subject: Subject) -> Iterator[Row]:
    try:
        importlib.import_module(subject.module)
    except ImportError:
        return
    os.environ.setdefault("PYTHONPATH", os.getcwd())  # the workers import the calls
    made = partial(ours, subject)
    yield Row(
        what=f"submit {subject.calls:,} tiny calls",
        unit="µs a call",
        ours=lambda: submit_many(made, subject.calls),
        against=lambda: submit_many(subject.itself, subject.by_itself),
    )
    yield Row(
        what="submit one, wait for it, repeat",
        unit="ms a call",
        ours=lambda: submit_and_wait(made, subject.alone),
        against=lambda: submit_and_wait(subject.itself, subject.alone),
    )
    yield Row(
        what=f'map over {subject.items:,} tiny calls, chunksize="auto"',
        unit="µs a call",
        ours=lambda: map_in_chunks(made, subject.items),
    )


def sheets() -> Iterator[Sheet]:
    for subject in SUBJECTS:
        yield Sheet(subject.title, partial(rows, subject))
