"""Futures that end at about the same time wake the event loop that awaits them once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from corefutures import _event_loops
from corefutures_thread import ThreadPoolExecutor

LIMIT = 30


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often other threads wake it."""

    wakeups = 0

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.wakeups += 1
        return super().call_soon_threadsafe(callback, *args, **options)


def run(program: Callable[[CountingLoop], Any]) -> CountingLoop:
    loop = CountingLoop()
    try:
        loop.run_until_complete(program(loop))
    finally:
        loop.close()
    return loop


def test_many_ends_wake_the_loop_once() -> None:
    calls = 100
    release, ended = threading.Event(), threading.Event()

    async def program(loop: CountingLoop) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(release.wait, LIMIT)
            futures = [loop.run_in_executor(pool, abs, -number) for number in range(calls)]
            pool.submit(ended.set)
            await asyncio.sleep(0)
            release.set()
            ended.wait(LIMIT)  # in the loop's thread: it hears of all ends after that
            assert await asyncio.gather(*futures) == list(range(calls))

    assert run(program).wakeups == 1


def test_what_a_call_has_the_loop_do_comes_before_its_end_is_seen() -> None:
    async def program(loop: CountingLoop) -> None:
        seen: list[int] = []
        release = threading.Event()  # once all futures are awaited: asyncio passes on at once what has ended before

        def call(number: int) -> int:
            assert release.wait(LIMIT)
            loop.call_soon_threadsafe(seen.append, number)
            return number

        async def one(pool: ThreadPoolExecutor, number: int) -> None:
            assert await loop.run_in_executor(pool, call, number) in seen

        with ThreadPoolExecutor(2) as pool:
            tasks = [asyncio.ensure_future(one(pool, number)) for number in range(200)]
            await asyncio.sleep(0)
            release.set()
            await asyncio.gather(*tasks)

    run(program)


def test_errors_and_cancellations_reach_the_loop() -> None:
    async def program(loop: CountingLoop) -> None:
        release = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            held = loop.run_in_executor(pool, release.wait, LIMIT)
            failed = loop.run_in_executor(pool, divmod, 1, 0)
            cancelled = loop.run_in_executor(pool, abs, -1)
            ours = pool.submit(abs, -2)
            wrapped = asyncio.wrap_future(ours)
            cancelled.cancel()
            assert ours.cancel()  # in the loop's own thread
            release.set()
            assert await held is True
            with pytest.raises(ZeroDivisionError):
                await failed
            for one in (cancelled, wrapped):
                with pytest.raises(asyncio.CancelledError):
                    await one

    run(program)


def test_a_loop_that_was_closed_is_told_nothing() -> None:
    release = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        loop = CountingLoop()
        future = pool.submit(release.wait, LIMIT)
        asyncio.wrap_future(future, loop=loop)
        loop.close()
        release.set()
        assert future.result(LIMIT)
    assert loop.wakeups == 0


def test_a_loop_is_not_kept() -> None:
    async def program(loop: CountingLoop) -> None:
        with ThreadPoolExecutor(1) as pool:
            await loop.run_in_executor(pool, abs, -1)

    before = set(_event_loops._wakeups)
    loop = run(program)
    assert set(_event_loops._wakeups) - before <= {id(loop)}
    del loop
    assert set(_event_loops._wakeups) <= before


def test_a_wakeup_that_fails_is_tried_again_for_the_next_end(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(CountingLoop):
        def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, **options: Any) -> Any:
            if not self.wakeups:
                self.wakeups += 1
                raise OSError("no wake-up")
            return super().call_soon_threadsafe(callback, *args, **options)

    async def program() -> None:
        release = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            first = asyncio.wrap_future(pool.submit(release.wait, LIMIT))
            release.set()
            while not loop.wakeups:
                await asyncio.sleep(0)
            release.clear()
            second = asyncio.wrap_future(pool.submit(release.wait, LIMIT))
            release.set()
            assert await asyncio.gather(first, second) == [True, True]

    loop = Failing()
    loop.run_until_complete(asyncio.wait_for(program(), LIMIT))
    loop.close()
    assert "no wake-up" in caplog.text
