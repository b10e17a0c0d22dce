"""Pools of each kind that has streams: threads, and processes and interpreters over a shared queue and over pipes."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import corefutures

KINDS = [("thread", "0"), ("process", "1")]
if sys.platform.startswith("linux"):
    KINDS += [("process", "0")]
if corefutures.backends()["interpreter"].state in ("available", "installed") and sys.version_info >= (3, 14):
    KINDS += [("interpreter", portable) for kind, portable in KINDS if kind == "process"]
NAMES = [kind if kind == "thread" else f"{kind}-{'pipes' if way == '1' else 'queue'}" for kind, way in KINDS]

Make = Callable[..., Any]


def maker(kind_and_way: tuple[str, str], made: list[Any]) -> Make:
    kind, portable = kind_and_way

    def make(max_workers: int = 1, **options: Any) -> Any:
        if kind == "process":
            methods = [m for m in ("forkserver", "spawn") if m in multiprocessing.get_all_start_methods()]
            options.setdefault("mp_context", multiprocessing.get_context(methods[0]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COREFUTURES_PORTABLE", portable)
            executor = corefutures.create_executor(kind, max_workers=max_workers, **options)
        made.append(executor)
        return executor

    return make


@pytest.fixture(params=KINDS, ids=NAMES)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Returns a function that makes executors of one kind; they end with the test."""
    made: list[Any] = []
    yield maker(request.param, made)
    for executor in made:
        executor.shutdown(cancel_futures=True)


@pytest.fixture(params=KINDS, ids=NAMES)
def kind_and_way(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The name of a backend, and what COREFUTURES_PORTABLE is to be: for programs."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture(params=[kind for kind in KINDS if kind[0] == "process"], ids=[n for n in NAMES if "process" in n])
def make_processes(request: pytest.FixtureRequest) -> Iterator[Make]:
    """The same for processes, which can be lost."""
    made: list[Any] = []
    yield maker(request.param, made)
    for executor in made:
        executor.shutdown(cancel_futures=True)


@pytest.fixture(scope="module", params=KINDS, ids=NAMES)
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One pool of each kind for tests that leave it usable."""
    made: list[Any] = []
    yield maker(request.param, made)(2)
    for executor in made:
        executor.shutdown(cancel_futures=True)
