"""A plugin of pytest, for the tests of scikit-learn: joblib's default backend is `corefutures`.

It selects the tests whose functions mention `n_jobs`, unless `COREFUTURES_TEST_ALL` is set. `COREFUTURES_TEST_EXECUTOR`
names the executor. At the end it prints how many `Parallel`s and calls ran on the backend: none would prove nothing.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

import joblib
import pytest

import corefutures_joblib

EXECUTOR = os.environ.get("COREFUTURES_TEST_EXECUTOR")
counts = {"parallels": 0, "calls": 0}


class Counting(corefutures_joblib.CorefuturesBackend):
    """The backend, with its uses counted."""

    def configure(self, *args: Any, **kwargs: Any) -> Any:
        n_jobs = super().configure(*args, **kwargs)
        counts["parallels"] += 1
        return n_jobs

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        counts["calls"] += 1
        return super().submit(*args, **kwargs)


@pytest.fixture(autouse=True)
def corefutures_is_the_default() -> Iterator[None]:
    options: dict[str, Any] = {} if EXECUTOR is None else {"executor": EXECUTOR}
    with joblib.parallel_config(backend="corefutures", **options):
        yield


def pytest_configure() -> None:
    joblib.register_parallel_backend("corefutures", Counting)


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    if "COREFUTURES_TEST_ALL" in os.environ:
        return
    without = [item for item in items if "n_jobs" not in inspect.getsource(item.function)]
    items[:] = [item for item in items if item not in set(without)]
    config.hook.pytest_deselected(items=without)


def pytest_unconfigure() -> None:
    corefutures_joblib.shutdown()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"corefutures ran {counts['parallels']} Parallels, {counts['calls']} calls")
