"""What rules ask for by name: executors, gates, a journal. They are pytest fixtures of the runner process.

Everything a rule made is taken down after it: gates are opened, executors shut down. What does not come to
rest within a grace period marks the process as tainted, so that the next rule runs in a fresh one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from corefutures_conformance.deadlines import Overdue, finishes, limit
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

GRACE_SECONDS = 3.0


class ExecutorFactory:
    """Makes the executors of one rule, `make(max_workers=2)`; each is shut down after the rule."""

    def __init__(self, tests: Any) -> None:
        """Make executors with `tests.make_executor`."""
        self._tests = tests
        self._made: list[Executor] = []

    def __call__(self, max_workers: int = 1, **options: Any) -> Executor:
        """Make an executor and remember it."""
        executor: Executor = self._tests.make_executor(max_workers, **options)
        self._made.append(executor)
        return executor

    def untracked(self, max_workers: int = 1, **options: Any) -> Executor:
        """Make an executor that only the rule refers to: for rules that drop it without shutdown."""
        executor: Executor = self._tests.make_executor(max_workers, **options)
        return executor

    def close(self) -> bool:
        """Shut all down; say whether they came to rest."""
        calm = True
        for executor in self._made:
            try:
                finishes(partial(executor.shutdown, wait=True), "shutdown()", min(GRACE_SECONDS, limit()))
            except Overdue:
                calm = False
            except BaseException:  # the executor's own trouble: rules on shutting down look at that
                pass
        self._made.clear()
        return calm


class GateFactory:
    """Makes gates: `gates()`; all are opened after the rule."""

    def __init__(self, folder: str) -> None:
        """Make gates inside `folder`."""
        self._folder = folder
        self._numbers = itertools.count()
        self._made: list[Gate] = []

    def __call__(self) -> Gate:
        """Make a new gate, closed."""
        path = os.path.join(self._folder, f"gate{next(self._numbers)}")
        os.mkdir(path)
        gate = Gate(path, seconds=4 * limit())
        self._made.append(gate)
        return gate

    def open_all(self) -> None:
        """Let everybody pass everywhere."""
        for gate in self._made:
            gate.open()


@pytest.fixture
def folder() -> Iterator[str]:
    """Provide an empty folder of the rule's own."""
    path = tempfile.mkdtemp(prefix="corefutures-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def gates(folder: str) -> Iterator[GateFactory]:
    """Provide a maker of gates."""
    maker = GateFactory(folder)
    yield maker
    maker.open_all()


@pytest.fixture
def gate(gates: GateFactory) -> Gate:
    """One gate."""
    return gates()


@pytest.fixture
def journal(folder: str) -> Journal:
    """Return an empty journal."""
    return Journal(os.path.join(folder, "journal"))


@pytest.fixture
def make(request: pytest.FixtureRequest, gates: GateFactory) -> Iterator[ExecutorFactory]:
    """Provide a maker of executors."""
    maker = ExecutorFactory(request.instance)
    yield maker
    gates.open_all()
    if not maker.close():
        request.config.stash[TAINTED] = True


@pytest.fixture
def foreign(gates: GateFactory) -> Iterator[Executor]:
    """Provide an executor of the standard library's with one thread: its futures are mixed with those under test."""
    executor = ThreadPoolExecutor(1)
    yield executor
    gates.open_all()
    executor.shutdown(wait=False)


@pytest.fixture
def executor(make: ExecutorFactory) -> Executor:
    """Return an executor with one worker."""
    return make(max_workers=1)


@pytest.fixture
def capabilities(request: pytest.FixtureRequest) -> Mapping[str, bool]:
    """Return what the target can do, for rules whose expectation depends on it."""
    return request.config.stash[CAPABILITIES]


TAINTED = pytest.StashKey[bool]()
CAPABILITIES = pytest.StashKey[Mapping[str, bool]]()
