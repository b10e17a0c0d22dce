"""The promises that hold on every Python are owed by executors made from `corefutures.Executor` alone.

An executor that has the running Python's own `map` or futures is asked for no more than that Python does
itself.
"""

from __future__ import annotations

from concurrent.futures import Executor

import pytest

import corefutures
from corefutures_conformance.expectations import Expectation


def skip_unless_promised(executor: Executor, expectation: Expectation | None = None) -> None:
    """Let the rule end as not applicable where nobody promised what it demands.

    Args:
        executor: the executor under test.
        expectation: what Python itself does from some version on; None where it never does.
    """
    if isinstance(executor, corefutures.Executor) or (expectation is not None and expectation.here):
        return
    if expectation is None:
        pytest.skip("promised by executors made from corefutures.Executor")
    pytest.skip(f"promised by executors made from corefutures.Executor, by others by version: {expectation.absence}")
