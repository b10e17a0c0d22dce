"""A `with` block, or the loop over a map in it, that is left by an exception: what waits is withdrawn first."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

import corefutures

BACKENDS = ["thread", "process"]
if sys.version_info >= (3, 14):
    BACKENDS.append("interpreter")
LIMIT = 30


def meet(number: int) -> int:
    """Fails for 1; those after it take long enough for the block to be left meanwhile, but not all of them together."""
    if number == 1:
        raise LookupError(number)
    if number > 1:
        time.sleep(0.2)
    return number


@pytest.fixture(params=BACKENDS)
def make(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return lambda: corefutures.create_executor(request.param, max_workers=1)


def submit_and_leave(
    executor: corefutures.Executor, fn: Any, arguments: Iterable[tuple[Any, ...]], error: BaseException
) -> list[corefutures.Future[Any]]:
    """Leaves a block by `error` once the first call runs, or has ended."""
    futures: list[corefutures.Future[Any]] = []

    def block() -> None:
        with executor:
            futures.extend([executor.submit(fn, *args) for args in arguments])
            while not (futures[0].running() or futures[0].done()):
                time.sleep(0.001)
            raise error

    with pytest.raises(type(error)):
        block()
    return futures


@pytest.mark.parametrize("chunksize", [1, 2])
def test_an_error_of_a_call_that_leaves_the_loop_cancels_the_rest(make: Callable[[], Any], chunksize: int) -> None:
    executor = make()
    results: list[int] = []

    def loop() -> None:
        with executor:
            results.extend(executor.map(meet, range(400), chunksize=chunksize))

    with pytest.raises(LookupError):
        loop()
    assert results == [0]
    assert executor.stats().cancelled * chunksize > 200


def test_an_error_of_the_body_that_leaves_the_loop_cancels_the_rest(make: Callable[[], Any]) -> None:
    executor = make()

    def loop() -> None:
        with executor:
            for _ in executor.map(meet, [0] + [2] * 400):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert executor.stats().cancelled > 200


def test_a_map_goes_on_where_its_error_is_caught(make: Callable[[], Any]) -> None:
    executor = make()
    outcomes = []
    with executor:
        results = executor.map(meet, [0, 1, 2, 1, 2])
        while True:
            try:
                outcomes.append(next(results))
            except LookupError:
                outcomes.append(-1)
            except StopIteration:
                break
    assert outcomes == [0, -1, 2, -1, 2]


def test_a_block_that_an_interrupt_leaves(make: Callable[[], Any]) -> None:
    executor = make()
    futures = submit_and_leave(executor, meet, [(2,)] * 400, KeyboardInterrupt())
    assert all(future.done() for future in futures)
    assert sum(future.cancelled() for future in futures) > 200


def test_a_call_that_runs_is_asked_to_stop(make: Callable[[], Any]) -> None:
    executor = make()
    (future,) = submit_and_leave(executor, work_until_asked, [()], KeyboardInterrupt())
    assert isinstance(future.exception(LIMIT), KeyboardInterrupt) or future.result(LIMIT) == "asked"


@pytest.mark.thread_unsafe(reason="signals are for the main thread")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pthread_kill")
@pytest.mark.parametrize("explicit", [False, True])
def test_an_interrupt_during_the_shutdown_cancels_pending_calls(make: Callable[[], Any], explicit: bool) -> None:
    executor = make()
    futures = [executor.submit(work_until_asked)] + [executor.submit(meet, 2) for _ in range(400)]
    main, over = threading.main_thread().ident, threading.Event()

    def interrupt() -> None:
        while not futures[0].running():
            time.sleep(0.001)
        with contextlib.suppress(RuntimeError):
            while True:
                executor.submit(meet, 2)  # until it is shut down
                time.sleep(0.001)
        time.sleep(0.01)
        if not over.is_set() and main is not None:
            signal.pthread_kill(main, signal.SIGINT)

    def leave() -> None:
        if explicit:
            executor.shutdown()
        else:
            with executor:
                pass

    (interrupter := threading.Thread(target=interrupt)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            leave()
    finally:
        over.set()
        interrupter.join()
    assert isinstance(futures[0].exception(LIMIT), KeyboardInterrupt) or futures[0].result(LIMIT) == "asked"
    executor.shutdown()
    assert sum(future.cancelled() for future in futures) > 200


def work_until_asked() -> str:
    deadline = time.monotonic() + LIMIT
    while not corefutures.cancel_requested():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return "asked"


def test_pending_calls_run_after_other_errors(make: Callable[[], Any]) -> None:
    executor = make()
    futures = submit_and_leave(executor, meet, [(0,)] * 20, LookupError())
    assert [future.result() for future in futures] == [0] * 20
