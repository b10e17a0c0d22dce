"""Chapter "interoperation": the executor and its futures among asyncio, concurrent.futures and corefutures.

The futures of the executor are mixed with those of others; event loops run in threads that may be abandoned.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import corefutures
from corefutures_conformance.deadlines import all_done, brief, error_of, finishes, result_of, until
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.worker import calls, hostile
from corefutures_conformance.worker.gates import Gate


class Interoperation:
    """Rules on working together with others."""

    # Types

    def test_executor_is_of_the_standard_type(self, executor: Executor) -> None:
        """An executor SHOULD be a concurrent.futures.Executor. (PEP 3148)"""
        assert isinstance(executor, Executor), f"{type(executor).__name__} is no concurrent.futures.Executor"

    def test_future_is_hashable_and_equals_itself_alone(self, executor: Executor) -> None:
        """Futures MUST be usable in sets: hashable, each different from the others. (manual: wait)"""
        futures = [executor.submit(calls.echo, 1) for _ in range(5)]
        assert len(set(futures)) == 5, f"5 futures are {len(set(futures))} in a set"
        all_done(futures)
        assert len(set(futures)) == 5, f"5 finished futures are {len(set(futures))} in a set"

    def test_executor_is_used_from_another_thread(self, executor: Executor) -> None:
        """An executor SHOULD be usable from a thread that did not make it. (PEP 3148)"""
        found = finishes(lambda: result_of(executor.submit(calls.echo, "there")), "a call from another thread")
        assert found == "there", f"a call from another thread returned {brief(found)}"
        found = result_of(executor.submit(calls.echo, "here"))
        assert found == "here", f"a call after one from another thread returned {brief(found)}"

    # asyncio

    def test_run_in_executor_returns_the_result(self, executor: Executor) -> None:
        """loop.run_in_executor() SHOULD return the call's result. (PEP 3148)"""

        async def main() -> object:
            return await asyncio.get_running_loop().run_in_executor(executor, calls.square, 7)

        found = _run(main())
        assert found == 49, f"run_in_executor() returned {brief(found)}"

    def test_run_in_executor_raises_the_exception(self, executor: Executor) -> None:
        """loop.run_in_executor() SHOULD raise the call's exception. (PEP 3148)"""

        async def main() -> object:
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(executor, partial(calls.raise_new, hostile.HostileError, "from afar"))
            except hostile.HostileError as error:
                return error.args

        found = _run(main())
        assert found == ("from afar",), f"run_in_executor() gave {brief(found)} instead of the exception"

    def test_run_in_executor_runs_many(self, make: ExecutorFactory) -> None:
        """Many calls by loop.run_in_executor() SHOULD all return. (PEP 3148)"""
        executor = make(max_workers=2)

        async def main() -> list[int]:
            loop = asyncio.get_running_loop()
            return await asyncio.gather(*(loop.run_in_executor(executor, calls.square, number) for number in range(60)))

        found = _run(main())
        assert found == [number * number for number in range(60)], f"run_in_executor() returned {brief(found)}"

    def test_wrap_future_returns_the_result(self, executor: Executor) -> None:
        """asyncio.wrap_future() SHOULD return the result of a future, whether it was done or not. (PEP
        3148)
        """

        async def main() -> list[int]:
            done = executor.submit(calls.square, 3)
            result_of(done)
            return [
                await asyncio.wrap_future(done),
                await asyncio.wrap_future(executor.submit(calls.square, 4)),
            ]

        found = _run(main())
        assert found == [9, 16], f"asyncio.wrap_future() returned {brief(found)}"

    def test_asyncio_cancels_a_waiting_call(self, make: ExecutorFactory, gate: Gate) -> None:
        """Cancelling the asyncio future of a waiting call SHOULD cancel the call. (PEP 3148)"""
        executor = make(max_workers=1)
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        waiting = [executor.submit(calls.nothing) for _ in range(6)]
        gate.await_arrivals()

        async def main() -> None:
            wrapped = asyncio.wrap_future(waiting[-1])
            await asyncio.sleep(0)
            wrapped.cancel()
            await asyncio.wait([wrapped])
            assert wrapped.cancelled(), "a cancelled asyncio future returned"

        _run(main())
        until(waiting[-1].cancelled, "the call of a cancelled asyncio future to be cancelled")
        gate.open()
        all_done([blocker, *waiting])

    def test_asyncio_gives_up_on_a_running_call(self, executor: Executor, gate: Gate) -> None:
        """Giving up on a running call in asyncio SHOULD leave the call and the executor alone. (PEP 3148)"""
        futures: list[Future[Any]] = []

        async def main() -> None:
            futures.append(executor.submit(calls.pass_gate, gate, "ran"))
            gate.await_arrivals()
            try:
                await asyncio.wait_for(asyncio.wrap_future(futures[0]), 0.01)
            except TimeoutError:
                return
            raise AssertionError("asyncio.wait_for() did not time out on a call that waits at a gate")

        _run(main())
        gate.open()
        found = result_of(futures[0])
        assert found == "ran", f"a call that asyncio gave up on returned {brief(found)}"
        found = result_of(executor.submit(calls.echo, "next"))
        assert found == "next", f"the call after one that asyncio gave up on returned {brief(found)}"

    def test_cancelled_future_cancels_its_asyncio_future(self, make: ExecutorFactory, gate: Gate) -> None:
        """Cancelling a waiting call SHOULD cancel the asyncio future that wraps it. (PEP 3148)"""
        executor = make(max_workers=1)
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        waiting = [executor.submit(calls.nothing) for _ in range(6)]
        gate.await_arrivals()

        async def main() -> object:
            wrapped = asyncio.wrap_future(waiting[-1])
            waiting[-1].cancel()
            await asyncio.wait([wrapped])
            return wrapped.cancelled()

        found = _run(main())
        assert found is True, "the asyncio future of a cancelled call was not cancelled"
        gate.open()
        all_done([blocker, *waiting])

    def test_asyncio_goes_on_while_calls_run(self, executor: Executor, gate: Gate) -> None:
        """An event loop SHOULD go on while a call of run_in_executor() runs. (PEP 3148)"""

        async def main() -> object:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(executor, calls.pass_gate, gate, "ran")
            while not gate.arrived:
                await asyncio.sleep(0.001)
            gate.open()
            return await future

        found = _run(main())
        assert found == "ran", f"a call beside a living event loop returned {brief(found)}"

    # concurrent.futures

    def test_standard_wait_takes_a_mixture(self, executor: Executor, gate: Gate) -> None:
        """concurrent.futures.wait() MUST take futures of different executors. (manual: wait)"""
        never: Future[Any] = Future()
        with ThreadPoolExecutor(1) as other:
            ours, theirs = executor.submit(calls.echo, 1), other.submit(calls.echo, 2)
            both = finishes(lambda: concurrent.futures.wait([ours, theirs]), "wait() for a mixture")
        assert both.done == {ours, theirs}, f"wait() for a mixture returned {brief(both)}"
        held: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        opener = threading.Timer(0.02, gate.open)
        opener.start()
        first = finishes(
            lambda: concurrent.futures.wait([never, held], return_when="FIRST_COMPLETED"),
            "wait() for the first",
        )
        opener.join()
        assert first.done == {held}, f"wait() for the first of a mixture returned {brief(first)}"

    def test_standard_as_completed_takes_a_mixture(self, executor: Executor) -> None:
        """concurrent.futures.as_completed() MUST take futures of different executors. (manual:
        as_completed)
        """
        with ThreadPoolExecutor(1) as other:
            futures = {each.submit(calls.square, number) for each in (executor, other) for number in range(5)}
            found = finishes(lambda: set(concurrent.futures.as_completed(futures)), "as_completed() over a mixture")
        assert found == futures, f"as_completed() over a mixture yielded {len(found)} of {len(futures)} futures"

    def test_standard_wait_wakes_at_an_exception(self, executor: Executor, gate: Gate) -> None:
        """concurrent.futures.wait() MUST return at the first exception when asked to. (manual: wait)"""
        pending: Future[Any] = Future()
        failing = executor.submit(calls.pass_gate_and_raise, gate, ValueError("now"))
        gate.await_arrivals()
        opener = threading.Timer(0.02, gate.open)
        opener.start()
        found = finishes(
            lambda: concurrent.futures.wait([pending, failing], return_when="FIRST_EXCEPTION"),
            "wait() for the first exception",
        )
        opener.join()
        assert found.done == {failing}, f"wait() for the first exception returned {brief(found)}"

    def test_corefutures_wait_takes_a_mixture(self, executor: Executor, gate: Gate) -> None:
        """corefutures.wait() SHOULD take the executor's futures among others. (PEP 3148)"""
        own: corefutures.Future[Any] = corefutures.Future()
        own.set_result(1)
        held: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        opener = threading.Timer(0.02, gate.open)
        opener.start()
        with ThreadPoolExecutor(1) as other:
            futures: Any = {own, held, other.submit(calls.echo, 3)}
            found = finishes(lambda: corefutures.wait(futures), "corefutures.wait() for a mixture")
        opener.join()
        assert set(found.done) == futures, f"corefutures.wait() for a mixture returned {brief(found)}"

    def test_corefutures_as_completed_takes_a_mixture(self, executor: Executor, gate: Gate) -> None:
        """corefutures.as_completed() SHOULD take the executor's futures among others. (PEP 3148)"""
        own: corefutures.Future[Any] = corefutures.Future()
        own.set_result(1)
        held: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        opener = threading.Timer(0.02, gate.open)
        opener.start()
        with ThreadPoolExecutor(1) as other:
            futures: Any = {own, held, other.submit(calls.echo, 3)}
            found: set[object] = finishes(
                lambda: set(corefutures.as_completed(futures)), "corefutures.as_completed() over a mixture"
            )
        opener.join()
        assert found == futures, f"corefutures.as_completed() over a mixture yielded {len(found)} of 3"

    def test_standard_errors_are_raised(self, executor: Executor, gate: Gate) -> None:
        """Futures MUST raise the standard TimeoutError and CancelledError. (manual: Future.result)"""
        held: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        waiting = [executor.submit(calls.nothing) for _ in range(6)]
        for ask in (held.result, held.exception):
            try:
                finishes(partial(ask, timeout=0.01), "result(timeout=0.01)")
            except TimeoutError:
                continue
            except Exception as error:
                raise AssertionError(f"a timeout raised {brief(error)}, no TimeoutError") from error
            raise AssertionError("a timeout on a call that runs did not raise")
        assert waiting[-1].cancel() is True, "cancel() did not return True for a waiting call"
        try:
            finishes(waiting[-1].result, "result() of a cancelled call")
        except CancelledError:
            pass
        else:
            raise AssertionError("result() of a cancelled call returned")
        gate.open()
        result_of(held)

    def test_future_of_one_executor_completes_another(self, executor: Executor) -> None:
        """Calls of one executor SHOULD be able to wait for another's. (PEP 3148)"""
        inner = executor.submit(calls.square, 5)
        with ThreadPoolExecutor(1) as other:
            outer = other.submit(lambda: result_of(inner) + 1)
            found = result_of(outer, "a call of another executor that waits for ours")
        assert found == 26, f"a call that waited for another executor's returned {brief(found)}"

    def test_invalid_state_is_refused(self, executor: Executor) -> None:
        """set_result() and set_exception() of a finished future MUST raise InvalidStateError. (manual:
        Future.set_result)
        """
        future = executor.submit(calls.echo, 1)
        result_of(future)
        for act in (partial(future.set_result, 2), partial(future.set_exception, ValueError("late"))):
            try:
                act()
            except concurrent.futures.InvalidStateError:
                continue
            raise AssertionError("a finished future was given another outcome")
        assert result_of(future) == 1, "a finished future changed its result"
        failed: Future[Any] = executor.submit(calls.raise_new, ValueError)
        error_of(failed)
        try:
            failed.set_result(3)
        except concurrent.futures.InvalidStateError:
            return
        raise AssertionError("a failed future was given a result")


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run an event loop in a thread that may be abandoned."""
    return finishes(lambda: asyncio.run(main), "asyncio.run()")
