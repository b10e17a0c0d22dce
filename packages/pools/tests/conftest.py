"""Pools of each kind with isolated workers: processes and interpreters, over a shared queue and over pipes."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import corefutures

KINDS = [("process", "1")]
if sys.platform.startswith("linux") and getattr(sys, "_is_gil_enabled", lambda: True)():
    KINDS += [("process", "0")]
if corefutures.backends()["interpreter"].state in ("available", "installed") and sys.version_info >= (3, 14):
    KINDS += [("interpreter", portable) for _, portable in KINDS]


@pytest.fixture(params=KINDS, ids=["-".join((kind, "pipes" if way == "1" else "shared_queue")) for kind, way in KINDS])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Returns a function that makes executors of one kind and way; they end with the test."""
    kind, portable = request.param
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    made: list[corefutures.Executor] = []

    def make(max_workers: int = 1, **options: Any) -> corefutures.Executor:
        if kind == "process":
            methods = [m for m in ("forkserver", "spawn") if m in multiprocessing.get_all_start_methods()]
            options.setdefault("mp_context", multiprocessing.get_context(methods[0]))
        executor: corefutures.Executor = corefutures.create_executor(kind, max_workers=max_workers, **options)
        made.append(executor)
        return executor

    yield make
    for executor in made:
        executor.shutdown(cancel_futures=True)
