"""Chapter "submitting": arguments, kinds of callables, order of start, after shutdown."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any

import pytest

from corefutures.conformance.fixtures import Maker
from corefutures.conformance.patience import brief, error_of, finishes, result_of
from corefutures.conformance.rules import requires
from corefutures.conformance.worker import calls, hostile
from corefutures.conformance.worker.gates import Gate
from corefutures.conformance.worker.journal import Journal


class Submitting:
    """Rules on `Executor.submit`."""

    def test_submit_returns_a_future(self, executor: Executor) -> None:
        """submit() MUST return a Future. (manual: Executor.submit)"""
        future = executor.submit(calls.nothing)
        assert isinstance(future, Future), f"submit() returned {brief(future)}, which is no concurrent.futures.Future"
