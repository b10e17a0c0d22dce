"""The test class of a target named on the command line; pytest runs it in the runner process, nobody imports it.

The runner says which target it is, and may change it between rules.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from corefutures_conformance.executor_tests import ExecutorTests
from corefutures_conformance.target import current_target

current_target().factory()  # a target that cannot be found is no verdict on it


class TestTarget(ExecutorTests):
    """The rules, on the target."""

    def make_executor(self, max_workers: int, **options: Any) -> Executor:
        """Make the target's executor."""
        return current_target().make(max_workers, **options)
