"""Chapter "sharing": `share`, an object that is sent to each worker once, however many calls use it.

Owed by executors of `corefutures.Executor` that declare the capability; the others refuse, in a sentence.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import corefutures
from corefutures_conformance.deadlines import Overdue, brief, done, error_of, finishes, result_of, short_limit, until
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import requires
from corefutures_conformance.worker import calls, owned
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

_SIZE = 70_000


def _sharing(executor: Executor) -> Any:
    """The executor, if it promises to share; otherwise the rule does not apply."""
    skip_unless_promised(executor)
    return executor


def _table(journal: Journal) -> owned.Table:
    return owned.Table(bytearray(_SIZE), journal)


def _error_of_call(pool: Any, argument: Any) -> BaseException | None:
    """The error that a call raises at its submission or afterwards; None if it succeeds."""
    try:
        future = pool.submit(owned.size, argument)
    except Exception as error:
        return error
    done(future)
    raised: BaseException | None = future.exception()
    return raised


class Sharing:
    """Rules on `share`."""

    @requires("shares_objects")
    def test_a_shared_object_arrives_wherever_it_is(self, executor: Executor, journal: Journal) -> None:
        """A handle of share() SHOULD arrive as the object anywhere in the arguments of a call. (promise C11)"""
        pool = _sharing(executor)
        shared = pool.share(_table(journal))
        assert result_of(pool.submit(owned.size, shared)) == _SIZE, "it did not arrive as an argument"
        within = [shared], {"a": shared}, ([shared], 1)
        got = result_of(pool.submit(owned.sizes_within, *within, named=shared))
        assert got == [_SIZE] * 4, f"in a list, a dict, a tuple and a keyword it arrived like this: {brief(got)}"
        got = result_of(pool.submit(partial(owned.sizes_within, *within, named=shared)))
        assert got == [_SIZE] * 4, f"in a partial it arrived like this: {brief(got)}"

    @requires("shares_objects", "shares_memory")
    def test_a_shared_object_is_the_very_object(self, executor: Executor, journal: Journal) -> None:
        """A shared object SHOULD be the very object where arguments are. (promise C11)"""
        pool, table = _sharing(executor), _table(journal)
        shared = pool.share(table)
        assert result_of(pool.submit(owned.identity, shared)) == id(table), "the call got another object"

    @requires("shares_objects", "pickles")
    def test_a_shared_object_is_pickled_once(self, executor: Executor, journal: Journal) -> None:
        """share() SHOULD pickle the object once, however many calls use it. (promise C11)"""
        pool = _sharing(executor)
        shared = pool.share(_table(journal))
        for _ in range(10):
            result_of(pool.submit(owned.size, shared))
        pickled = journal.entries.count("pickled")
        assert pickled == 1, f"for 10 calls the shared object was pickled {pickled} times"

    @requires("shares_objects", "pickles")
    def test_a_worker_loads_a_shared_object_once(self, make: ExecutorFactory, journal: Journal) -> None:
        """A worker SHOULD get a shared object at most once, however many calls use it. (promise C11)"""
        pool = _sharing(make(max_workers=2))
        shared = pool.share(_table(journal))
        workers = {result_of(pool.submit(owned.worker_with, shared)) for _ in range(30)}
        loaded = Counter(entry for entry in journal.entries if entry.startswith("loaded"))
        expected = {f"loaded by {worker}": 1 for worker in workers}
        assert loaded == expected, f"30 calls in {len(workers)} workers loaded it like this: {brief(dict(loaded))}"

    @requires("shares_objects", "pickles")
    def test_buffers_of_a_shared_object_are_read_only(self, executor: Executor, journal: Journal) -> None:
        """A call SHOULD not be able to write to the out-of-band buffers of a shared object. (promise C11)"""
        pool = _sharing(executor)
        shared = pool.share(_table(journal))
        future = pool.submit(owned.write_into, shared)
        done(future)
        assert isinstance(future.exception(), TypeError), f"a call that writes to it gave {brief(future)}"

    @requires("shares_objects")
    def test_a_call_submitted_before_the_close_gets_the_object(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """A call that was submitted before its handle is closed SHOULD get the object. (promise C11)"""
        pool = _sharing(executor)
        with pool.share(_table(journal)) as shared:
            futures = [pool.submit(owned.size_behind, gate, shared) for _ in range(2)]
            gate.await_arrivals()
        gate.open()
        got = [result_of(future) for future in futures]
        assert got == [_SIZE] * 2, f"the calls that ran and waited at the close gave {brief(got)}"

    @requires("shares_objects")
    def test_a_closed_handle_fails_its_call_alone(self, executor: Executor, journal: Journal) -> None:
        """A call with a closed handle SHOULD raise ValueError, and the executor go on. (promise C11)"""
        pool = _sharing(executor)
        shared = pool.share(_table(journal))
        shared.close()
        error = _error_of_call(pool, shared)
        assert isinstance(error, ValueError), f"a call with a closed handle gave {brief(error)}"
        assert result_of(pool.submit(calls.echo, 1)) == 1, "the executor did not go on"

    @requires("shares_objects")
    def test_a_handle_of_another_executor_is_refused(self, make: ExecutorFactory, journal: Journal) -> None:
        """A call with the handle of another executor SHOULD raise ValueError. (promise C11)"""
        pools = [_sharing(make(max_workers=1)) for _ in range(2)]
        handles = [pool.share(_table(journal)) for pool in pools]
        error = _error_of_call(pools[0], handles[1])
        assert isinstance(error, ValueError), f"a call with the handle of another executor gave {brief(error)}"

    @requires("shares_objects")
    def test_handles_are_closed_by_their_block_and_by_shutdown(self, make: ExecutorFactory, journal: Journal) -> None:
        """A handle SHOULD be closed when its block is left, and when its executor is shut down. (promise C11)"""
        pool = _sharing(make(max_workers=1))
        handles = [pool.share(_table(journal)) for _ in range(2)]
        with handles[0]:
            assert not handles[0].closed, "a handle is closed within its block"
        assert handles[0].closed, "a handle whose block was left is open"
        finishes(pool.shutdown, "shutdown()")
        assert handles[1].closed, "a handle is open after shutdown()"

    @requires("shares_objects", "pickles")
    def test_a_closed_object_is_freed_in_the_worker(self, executor: Executor, journal: Journal) -> None:
        """A worker SHOULD free a shared object that was closed, at the latest when it has run another call.
        (promise C11)
        """
        pool = _sharing(executor)
        with pool.share(_table(journal)) as shared:
            result_of(pool.submit(owned.size, shared))

        def is_freed() -> bool:
            result_of(pool.submit(calls.echo, 1))
            return "freed" in journal.entries

        until(is_freed, "a closed object to be freed in the worker", short_limit())

    @requires("shares_objects", "pickles")
    def test_an_object_that_can_not_be_pickled_is_refused(self, executor: Executor) -> None:
        """share() SHOULD raise the error of an object that can't be pickled. (promise C11)"""
        pool = _sharing(executor)
        refusal: BaseException | None = None
        try:
            pool.share([lambda: 1, os.scandir()])
        except Overdue:
            raise
        except Exception as error:
            refusal = error
        assert refusal is not None, "an object that can't be pickled was shared"

    @requires("shares_objects", "pickles")
    def test_an_object_that_can_not_be_loaded(self, executor: Executor, folder: str) -> None:
        """A shared object that can't be loaded SHOULD fail the calls that use it, and be loaded once it can.
        (promise C11)
        """
        pool, path = _sharing(executor), Path(folder, "path")
        shared = pool.share(owned.Latecomer(str(path)))
        error = error_of(pool.submit(owned.size, shared))
        assert "not yet" in str(error), f"an object that raised LookupError where it was loaded gave {brief(error)}"
        path.touch()
        assert result_of(pool.submit(owned.size, shared)) == 1, "the object was not loaded, though it can be now"

    @requires("shares_objects", "survives_worker_loss", same_process=False)
    def test_a_worker_that_replaces_another_gets_the_object(self, executor: Executor, journal: Journal) -> None:
        """A worker in the place of a lost one SHOULD get the shared object as well. (promise C11)"""
        pool = _sharing(executor)
        shared = pool.share(_table(journal))
        result_of(pool.submit(owned.size, shared))
        done(pool.submit(calls.kill_process), "the call whose worker is killed to end")
        future = pool.submit(owned.size, shared)
        done(future)
        assert future.exception() is None, f"the worker in the place of the lost one gave {brief(future.exception())}"

    @requires(shares_objects=False)
    def test_sharing_is_refused(self, executor: Executor) -> None:
        """share() SHOULD raise UnsupportedError where workers can't get objects once. (promise C1)"""
        pool = _sharing(executor)
        if not hasattr(pool, "share"):
            pytest.skip("it has no such method")
        refusal: BaseException | None = None
        try:
            finishes(lambda: pool.share([1]), "share()", short_limit())
        except BaseException as error:
            refusal = error
        assert refusal is not None, "share() is not to be had, and was not refused"
        fits = isinstance(refusal, corefutures.UnsupportedError)
        assert fits, f"share(), which is not to be had, raised {brief(refusal)} in place of UnsupportedError"
