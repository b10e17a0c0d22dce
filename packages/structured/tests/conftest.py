"""Executors of every kind that scopes must work over."""

from __future__ import annotations

import concurrent.futures as standard
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import corefutures

sys.path.insert(0, os.path.dirname(__file__))  # workers import `scoped_calls` from there

Kinds = Callable[..., standard.Executor]


class Minimal:
    """What somebody's own executor may be at the least."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> standard.Future[Any]:
        future: standard.Future[Any] = standard.Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True) -> None:
        pass


def make(kind: str, workers: int) -> standard.Executor:
    if kind == "minimal":
        return corefutures.adapt(Minimal())
    if kind == "adapted":
        return corefutures.adapt(standard.ThreadPoolExecutor(workers))
    return corefutures.create_executor(kind, max_workers=workers)


LOCAL = [
    "thread",
    "process",
    pytest.param(
        "interpreter",
        marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14"),
    ),
]
EVERY = [
    *LOCAL,
    "concurrent.futures:ThreadPoolExecutor",
    "concurrent.futures:ProcessPoolExecutor",
    "adapted",
    "minimal",
]


@pytest.fixture
def executors() -> Iterator[Kinds]:
    """Makes executors of a kind, which end with the test."""
    with ExitStack() as stack:
        yield lambda kind, workers=2: stack.enter_context(make(kind, workers))


@pytest.fixture(params=EVERY)
def executor(request: pytest.FixtureRequest, executors: Kinds) -> standard.Executor:
    return executors(request.param)
