"""The test class of a target named on the command line; pytest runs it in the examinee, nobody imports it.

The target comes in the environment variable COREFUTURES_CONFORMANCE_TARGET.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor
from typing import Any

from corefutures.conformance.executor_tests import ExecutorTests
from corefutures.conformance.target import Target

_target = Target.from_text(os.environ["COREFUTURES_CONFORMANCE_TARGET"])
_target.factory()  # a target that cannot be found is no verdict on it


class TestTarget(ExecutorTests):
    """The rules, on the target."""

    def make_executor(self, max_workers: int, **options: Any) -> Executor:
        """Make the target's executor."""
        return _target.make(max_workers, **options)
