"""F4, F5: a callback that raises what is no `Exception` keeps nobody else from being told, and no pool from ending."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import control_calls
import pytest
from races import LIMIT, Parking
from subprocesses import run_script

import corefutures
from corefutures import BrokenExecutor, CancelledError

Make = Callable[..., Any]


class Stop(BaseException):
    """No Exception: raised to whoever ends the future."""


def _stop(_: object) -> None:
    raise Stop


def _busy(make: Make, **options: Any) -> tuple[Any, Any, list[Any], list[Any]]:
    """Returns a pool, the call that it runs, calls that wait, some of them sent ahead, and a list of those told of."""
    pool = make(1, **options)
    first = pool.submit(control_calls.until_asked)
    Parking.until(first.running)
    told: list[Any] = []
    futures = [pool.submit(int) for _ in range(50)]
    for future in futures:
        future.add_done_callback(_stop)
        future.add_done_callback(told.append)
        future.add_done_callback(_stop)
    return pool, first, futures, told


def test_a_shutdown_cancels_all_and_then_raises(make: Make) -> None:
    pool, first, futures, told = _busy(make)
    waited: list[str] = []

    def wait_for(future: Any) -> None:
        try:
            future.result(LIMIT)
        except CancelledError:
            waited.append("cancelled")

    waiting = [threading.Thread(target=wait_for, args=(future,), daemon=True) for future in futures[::10]]
    for thread in waiting:
        thread.start()
    with pytest.raises(Stop):
        pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert sorted(map(id, told)) == sorted(map(id, futures))
    for thread in waiting:
        thread.join(LIMIT)
    assert waited == ["cancelled"] * len(waiting)
    pool.request_cancel(first)
    pool.shutdown()
    assert first.result(0) == "stopped"
    assert pool.stats().cancelled == len(futures)


def test_a_shutdown_that_raises_waits_first(make: Make) -> None:
    pool, first, futures, told = _busy(make)
    asking = threading.Timer(0.1, pool.request_cancel, (first,))
    asking.start()
    with pytest.raises(Stop):
        pool.shutdown(cancel_futures=True)
    assert first.done()
    assert len(told) == len(futures)
    asking.join(LIMIT)


def test_workers_are_killed_though_a_callback_raises(make: Make) -> None:
    if not hasattr(make(1), "kill_workers"):
        pytest.skip("interpreters can't be killed")
    pool, first, futures, told = _busy(make)
    with pytest.raises(Stop):
        pool.kill_workers()
    assert isinstance(first.exception(LIMIT), BrokenExecutor)
    assert len(told) == len(futures)


def test_a_pool_that_breaks_fails_every_call(make: Make) -> None:
    """A thread of ours logs what a callback raises, and goes on even if the log fails."""
    pool, first, futures, told = _busy(make)

    def broken(_: object) -> bool:
        raise Stop

    logger = logging.getLogger("concurrent.futures")
    logger.addFilter(broken)
    try:
        pool._cf_pool.mark_broken("on purpose", None)
    finally:
        logger.removeFilter(broken)
        pool._cf_pool.request_stop(first)
    assert all(isinstance(future.exception(0), BrokenExecutor) for future in futures)
    assert told == futures


def test_a_pool_that_breaks_fails_every_call_though_a_callback_detains_its_thread(make: Make) -> None:
    """The result thread, which takes back what was sent, leaves the calls to nobody, and cancels none."""
    pool = make(1)
    first = pool.submit(control_calls.until_asked)
    Parking.until(first.running)
    futures = [pool.submit(int) for _ in range(50)]

    def detain(_: object) -> None:
        for _ in range(10):  # longer than a thread may be late
            pool._cf_pool.wake()
            threading.Event().wait(0.05)

    first.add_done_callback(detain)
    pool._cf_pool.mark_broken("on purpose", None)
    pool._cf_pool.request_stop(first)
    assert all(isinstance(future.exception(LIMIT), BrokenExecutor) for future in (first, *futures))
    assert pool.stats().cancelled == 0


@pytest.mark.parametrize(
    "backend",
    [
        "process",
        pytest.param(
            "interpreter",
            marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14"),
        ),
    ],
)
def test_at_exit_every_pool_ends_though_a_callback_raises(backend: str) -> None:
    if corefutures.backends()[backend].state not in ("available", "installed"):
        pytest.skip(f"there is no backend {backend!r} here")
    ended = run_script(
        f"""
        import threading, time
        import corefutures

        class Stop(BaseException):
            pass

        def stop(_):
            raise Stop

        if __name__ == "__main__":
            pools = [corefutures.create_executor({backend!r}, max_workers=1, at_exit="cancel") for _ in range(3)]
            for pool in pools:
                first = pool.submit(time.sleep, 0.5)
                while not first.running():
                    time.sleep(0.001)
                for future in [pool.submit(int) for _ in range(3)]:
                    future.add_done_callback(lambda _: print("told"))
                    future.add_done_callback(stop)
        """
    )
    assert ended.out.split() == ["told"] * 9
