"""asyncio takes our futures and pools for the standard library's: on every version, without a warning."""

from __future__ import annotations

import asyncio
import concurrent.futures as standard
import contextvars
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
from races import LIMIT

from corefutures import Future, ThreadPoolExecutor


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(coroutine, LIMIT)

    return asyncio.run(limited())


def fail() -> None:
    raise ZeroDivisionError("in a call")


def test_wrap_future_hands_over_results_and_errors() -> None:
    async def main() -> None:
        with ThreadPoolExecutor(2) as pool:
            assert await asyncio.wrap_future(pool.submit(abs, -1)) == 1
            with pytest.raises(ZeroDivisionError, match="in a call"):
                await asyncio.wrap_future(pool.submit(fail))

    run(main())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_wrap_future_over_a_bare_future(moment: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        futures: list[Future[int]] = [Future() for _ in range(3)]

        def end() -> None:
            futures[0].set_result(1)
            futures[1].set_exception(OSError("bare"))
            futures[2].cancel()
            futures[2].set_running_or_notify_cancel()

        if moment == "before":
            end()
        wrapped = [asyncio.wrap_future(future) for future in futures]
        if moment == "after":
            await loop.run_in_executor(None, end)
        results = await asyncio.gather(*wrapped, return_exceptions=True)
        assert results[0] == 1
        assert isinstance(results[1], OSError)
        assert isinstance(results[2], asyncio.CancelledError)

    run(main())


def test_many_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            calls = [loop.run_in_executor(pool, abs, -number) for number in range(500)]
            assert await asyncio.gather(*calls) == list(range(500))

    run(main())


def test_the_default_executor() -> None:
    variable = contextvars.ContextVar("variable", default="none")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(2, thread_name_prefix="ours")
        loop.set_default_executor(pool)
        variable.set("task's")
        assert await asyncio.to_thread(variable.get) == "task's"
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name.startswith("ours_")
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError):
            pool.submit(int)
        assert not any(thread.is_alive() for thread in pool._threads)

    run(main())


def test_the_loop_s_own_end_shuts_the_default_executor_down() -> None:
    pools = []

    async def main() -> int:
        pools.append(ThreadPoolExecutor(1))
        asyncio.get_running_loop().set_default_executor(pools[0])
        return await asyncio.to_thread(abs, -3)

    assert run(main()) == 3
    assert not any(thread.is_alive() for thread in pools[0]._threads)


def test_cancelling_goes_both_ways() -> None:
    async def main() -> None:
        gate = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            busy = pool.submit(gate.wait, LIMIT)
            ours = [pool.submit(int) for _ in range(2)]
            wrapped = [asyncio.wrap_future(future) for future in ours]
            wrapped[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await wrapped[0]
            for _ in range(1000):
                if ours[0].cancelled():
                    break
                await asyncio.sleep(0)
            assert ours[0].cancelled()
            assert ours[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await wrapped[1]
            gate.set()
            assert await asyncio.wrap_future(busy) is True

    run(main())


def test_a_task_that_is_cancelled_while_the_call_runs() -> None:
    async def main() -> None:
        gate, started = threading.Event(), threading.Event()

        def call() -> int:
            started.set()
            gate.wait(LIMIT)
            return 1

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as pool:
            future = pool.submit(call)
            task = asyncio.ensure_future(asyncio.wrap_future(future))
            await loop.run_in_executor(pool, started.wait, LIMIT)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert future.running()
            gate.set()
            assert future.result(LIMIT) == 1

    run(main())


def test_run_coroutine_threadsafe_waits_with_ours() -> None:
    """Its future is the standard library's: it goes into our `wait` together with ours."""
    from corefutures import as_completed, wait

    async def answer() -> int:
        return 42

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with ThreadPoolExecutor(1) as pool:
            mixed: list[Any] = [asyncio.run_coroutine_threadsafe(answer(), loop), pool.submit(lambda: 42)]
            assert wait(mixed, LIMIT).done == set(mixed)
            assert {future.result() for future in as_completed(mixed, LIMIT)} == {42}
            assert standard.wait(mixed, LIMIT).not_done == set()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT)
        loop.close()
