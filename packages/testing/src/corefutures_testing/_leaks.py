"""`Leaks`: finds what a test leaves of its executors; the plugin behind `--corefutures-leaks`.

Touches executors by `_interception`, and their workers by the standard library's private names. Guarantees: executors
of fixtures that outlive the test are no leaks, nor is what has ended a moment after the test.
"""

from __future__ import annotations

import gc
import sys
import time
import traceback
import weakref
from collections.abc import Generator
from concurrent.futures import Executor, Future
from typing import Any, Final

import pytest

from corefutures.backend import clock
from corefutures_pools.executor import ForwardingExecutor
from corefutures_pools.foreign_code import class_name
from corefutures_testing._interception import Listener, listen, stop_listening

#: Seconds that executors have to come to an end after a test.
_GRACE: Final = 1.0
#: How many calls of one executor are shown.
_CALLS_SHOWN: Final = 3

_OWN: Final = __name__.partition(".")[0]
#: Modules whose executors are simulated, or pass on their calls to others.
_WITHOUT_WORKERS: Final = (_OWN, "corefutures_structured.")


class _Made:
    """An executor that a test has made."""

    def __init__(self, executor: Executor, stack: str) -> None:
        self.reference = weakref.ref(executor)
        self.stack = stack
        self.shut_down = False
        self.calls: list[tuple[weakref.ref[Future[Any]], str]] = []

    def unfinished(self) -> list[tuple[Future[Any], str]]:
        """Return the calls that have not ended, and the stacks of their submissions."""
        found = [(reference(), stack) for reference, stack in self.calls]
        return [(future, stack) for future, stack in found if future is not None and not future.done()]

    def workers(self) -> list[str]:
        """Return the names of the workers that live, as far as they are known."""
        executor = self.reference()
        threads = list(getattr(executor, "_threads", None) or ())
        processes = getattr(executor, "_processes", None)
        processes = list(processes.values()) if isinstance(processes, dict) else []
        return [str(worker.name) for worker in (*threads, *processes) if worker.is_alive()]

    def describe(self) -> str | None:
        """Return what is left; None if nothing is."""
        executor = self.reference()
        if executor is None:
            return None
        unfinished, workers = self.unfinished(), self.workers()
        left = [f"{len(unfinished)} unfinished call{'s' * (len(unfinished) != 1)}"] if unfinished else []
        left += [f"the workers {', '.join(sorted(workers))}"] if workers else []
        if not left and (self.shut_down or hasattr(executor, "_threads") or hasattr(executor, "_processes")):
            return None
        name = class_name(executor)
        state = "was shut down, and still has" if self.shut_down else "was not shut down, and has"
        lines = [f"{name} {state} {' and '.join(left) or 'perhaps workers'}; it was made at", self.stack.rstrip("\n")]
        for future, stack in unfinished[:_CALLS_SHOWN]:
            lines += [f"  its call {future!r} was submitted at", stack.rstrip("\n")]
        if len(unfinished) > _CALLS_SHOWN:
            lines.append(f"  and {len(unfinished) - _CALLS_SHOWN} more calls")
        return "\n".join(lines)


class Leaks(Listener):
    """The executors of the test that runs."""

    def __init__(self) -> None:
        self._made: dict[int, _Made] = {}  # by the id of the executor; appended to by any thread
        self._paused = 1  # not 0: no test runs, or a fixture is set up that outlives the test
        listen(self)

    def executor_made(self, executor: Executor) -> None:
        """Remember an executor."""
        has_workers = not type(executor).__module__.startswith(_WITHOUT_WORKERS)
        if has_workers and not self._paused and not isinstance(executor, ForwardingExecutor):
            self._made[id(executor)] = _Made(executor, _stack())

    def executor_shut_down(self, executor: Executor) -> None:
        """Remember that it was shut down."""
        if (made := self._find(executor)) is not None:
            made.shut_down = True

    def call_submitted(self, executor: Executor, future: Future[Any]) -> None:
        """Remember a call."""
        made = self._find(executor)
        if made is not None:
            try:
                made.calls.append((weakref.ref(future), _stack()))
            except TypeError:  # a future that allows no weak references
                return

    def _find(self, executor: Executor) -> _Made | None:
        made = self._made.get(id(executor))
        return made if made is not None and made.reference() is executor else None

    def _describe(self) -> list[str]:
        """Return what is left, after the time that executors have to end."""
        until = clock.monotonic() + _GRACE
        while found := [text for made in list(self._made.values()) if (text := made.describe()) is not None]:
            if clock.monotonic() > until or all("was not shut down" in text for text in found):
                break
            time.sleep(0.01)
        return found

    # ── pytest's hooks ───────────────────────────────────────────────────────────────────────────────────

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, Any]:
        """Begin a test."""
        self._made.clear()
        self._paused = 0
        try:
            return (yield)
        finally:
            self._paused = 1
            self._made.clear()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Leave out what a fixture makes for more than one test."""
        if fixturedef.scope == "function":
            return (yield)
        self._paused += 1
        try:
            return (yield)
        finally:
            self._paused -= 1

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        """Fail the test if it has left something, once its fixtures have ended."""
        result = yield
        if self._made:
            if any(not made.shut_down for made in self._made.values()):
                gc.collect()  # what nobody refers to has been left to the collector
            if found := self._describe():
                pytest.fail("\n".join(["corefutures: the test leaves executors behind", *found]), pytrace=False)
        return result

    def pytest_unconfigure(self) -> None:
        """Look no more."""
        stop_listening(self)


def _stack() -> str:
    """Return the lines of the program, from the test on, that lead here."""
    frames = []
    for frame, line in traceback.walk_stack(sys._getframe(2)):
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(("_pytest.", "pluggy.")):
            break
        if not module.startswith("corefutures"):
            frames.append((frame, line))
    return "".join(traceback.StackSummary.extract(iter(frames[::-1])).format())
