"""Chapter "forking": what a program may do that forks itself while an executor works.

The children of these rules leave at once, without a word to the test's machinery. Executors of several interpreters are
left out: CPython supports no fork beside them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import pytest

from corefutures_conformance.deadlines import Overdue, all_done, joined, limit, result_of, short_limit, until
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import only_where, patient, requires
from corefutures_conformance.worker import calls, carrying
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

FORKS = 25
"""So many children come while the executor is busy."""

_HERE = hasattr(os, "fork")
_ABSENCE = "the rule is for platforms that fork"


class Forking:
    """Rules on processes that were forked while an executor works."""

    @requires(remote=False)
    @only_where(_HERE, _ABSENCE)
    @patient(2)
    def test_fork_returns_while_others_submit(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """os.fork() SHOULD return in the child, whatever other threads do with the executor at that moment.
        (promise E11)
        """
        self._skip_beside_interpreters(capabilities)
        executor = make(max_workers=2)
        result_of(executor.submit(calls.nothing))
        stop = threading.Event()
        threads = [threading.Thread(target=_keep_busy, args=(executor, stop), daemon=True) for _ in range(2)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for number in range(FORKS):
                assert _in_child(lambda: True), f"child {number + 1} of {FORKS} failed to leave"
        finally:
            sys.setswitchinterval(interval)
            stop.set()
        joined(threads, "threads that submit")
        result_of(executor.submit(calls.nothing), "a call after forks")

    @requires(remote=False)
    @only_where(_HERE, _ABSENCE)
    def test_a_child_has_its_own_calls_run(self, executor: Executor, capabilities: Mapping[str, bool]) -> None:
        """A forked child SHOULD be able to submit calls to an executor that it inherits. (promise E11)"""
        skip_unless_promised(executor)
        self._skip_beside_interpreters(capabilities)
        result_of(executor.submit(calls.nothing))

        def calls_anew() -> bool:
            return [result_of(executor.submit(calls.square, number)) for number in range(3)] == [0, 1, 4]

        assert _in_child(calls_anew), "a call of a forked child failed"
        assert result_of(executor.submit(calls.echo, 1)) == 1, "a call after a fork gave a wrong result"

    @requires(remote=False)
    @only_where(_HERE, _ABSENCE)
    def test_what_a_child_inherits_fails_there(
        self, executor: Executor, gate: Gate, journal: Journal, capabilities: Mapping[str, bool]
    ) -> None:
        """In a forked child a call that was pending SHOULD fail, and in its parent run once. (promise E11)"""
        skip_unless_promised(executor)
        self._skip_beside_interpreters(capabilities)
        running = executor.submit(calls.pass_gate, gate)
        waiting = executor.submit(calls.note_and_echo, journal, "waited")
        gate.await_arrivals()

        def fails() -> bool:
            return all(isinstance(future.exception(short_limit()), Exception) for future in (running, waiting))

        assert _in_child(fails), "in a forked child the future of a pending call did not fail"
        gate.open()
        assert result_of(waiting) == "waited", "a fork spoiled the result of a pending call"
        assert journal.entries == ["waited"], f"a call that was pending at a fork ran {len(journal.entries)} times"

    @requires("pickles", remote=False)
    @only_where(_HERE, _ABSENCE)
    def test_a_child_does_not_change_its_parents_results(
        self, executor: Executor, capabilities: Mapping[str, bool]
    ) -> None:
        """What a forked child writes into a result SHOULD not be seen by its parent. (promise E11)"""
        self._skip_beside_interpreters(capabilities)
        for size in (1_000, 40_000, 1_000_000):
            found = memoryview(result_of(executor.submit(carrying.table, size)).content)
            if found.readonly:
                continue
            before = bytes(found)
            assert _in_child(lambda found=found: _overwrite(found)), "a child could not write into a result"  # type: ignore[misc]
            assert bytes(found) == before, f"a forked child changed a result of {size} bytes in its parent"

    def _skip_beside_interpreters(self, capabilities: Mapping[str, bool]) -> None:
        if capabilities["same_process"] and not capabilities["shares_memory"]:
            pytest.skip("CPython supports no fork beside several interpreters")


def _keep_busy(executor: Executor, stop: threading.Event) -> None:
    """Submit and cancel calls, some at a time, until told to stop."""
    with contextlib.suppress(RuntimeError):  # the executor was shut down, after a rule that failed
        while not stop.is_set():
            futures = [executor.submit(calls.nothing) for _ in range(50)]
            for future in futures[::3]:
                future.cancel()
            all_done(futures)


def _overwrite(content: memoryview) -> bool:
    content[:] = bytes(len(content))
    return True


def _in_child(act: Callable[[], Any]) -> bool:
    """Fork, act in the child, which leaves at once; whether it acted.

    Raises:
        AssertionError: when it does not end.
    """
    if sys.platform == "win32":
        raise AssertionError("forking needs POSIX")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: that is the point
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if act() else 1
        finally:
            os._exit(status)
    found: list[int] = []

    def has_ended() -> bool:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            found.append(status)
        return bool(ended)

    try:
        until(has_ended, "", limit() / 2)
    except Overdue:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise AssertionError("a forked child hung, in os.fork() or right after it") from None
    return found[0] == 0
