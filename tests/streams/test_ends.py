"""How a stream ends before its generator: closed, left, dropped, asked, killed, lost, shut down, interrupted."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import stream_calls
from races import LIMIT, Parking
from subprocesses import run_script

import corefutures


def closed(folder: Path) -> bool:
    return "closed" in stream_calls.noted(folder)


def take(stream: Any, taken: list[Any]) -> None:
    """Takes all items; `taken` has those that came before an exception."""
    for item in stream:
        taken.append(item)  # noqa: PERF402


def test_leaving_early_runs_the_finally_blocks(pool: Any, tmp_path: Path) -> None:
    for number in pool.stream(stream_calls.numbers, 10**9, str(tmp_path)):
        if number == 150:
            break
    Parking.until(lambda: closed(tmp_path))
    assert pool.submit(abs, -1).result(LIMIT) == 1


def test_close_waits_for_the_finally_blocks(pool: Any, tmp_path: Path) -> None:
    stream = pool.stream(stream_calls.numbers, 10**9, str(tmp_path))
    assert next(stream) == 0
    stream.close()
    assert closed(tmp_path)
    assert list(stream) == []
    stream.close()
    with pytest.raises(corefutures.CancelledError):
        stream.future.result(LIMIT)


def test_leaving_the_block_waits_as_well(pool: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyError), pool.stream(stream_calls.numbers, 10**9, str(tmp_path), buffer=1) as stream:
        raise KeyError(next(stream))
    assert closed(tmp_path)


def test_what_the_finally_blocks_raise_is_the_future_s(pool: Any, tmp_path: Path) -> None:
    with pool.stream(stream_calls.failing_when_closed, str(tmp_path)) as stream:
        next(stream)
    assert closed(tmp_path)
    with pytest.raises(ValueError, match="while it was closed"):
        stream.future.result(LIMIT)


def test_a_stream_that_is_dropped_is_closed(pool: Any, tmp_path: Path) -> None:
    stream: Any = pool.stream(stream_calls.numbers, 10**9, str(tmp_path))
    future, cycle = stream.future, [stream]
    cycle.append(cycle)
    Parking.until(lambda: len(stream_calls.noted(tmp_path)) >= 100)  # and it waits for its consumer
    del stream, cycle
    gc.collect()
    Parking.until(future.done)
    assert closed(tmp_path)


def test_a_stream_that_has_not_started_is_cancelled(make: Any, tmp_path: Path) -> None:
    pool = make(1)
    with pool.stream(stream_calls.numbers, 10**9) as first:
        next(first)
        with pool.stream(stream_calls.numbers, 5, str(tmp_path)) as second:
            pass
        assert second.future.cancelled()
        assert list(second) == []
        third = pool.stream(stream_calls.numbers, 5, str(tmp_path))
        assert third.future.cancel()
        with pytest.raises(corefutures.CancelledError):
            next(third)
    assert pool.submit(abs, -1).result(LIMIT) == 1
    assert stream_calls.noted(tmp_path) == set()


def test_closing_while_the_generator_computes(pool: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stream = pool.stream(stream_calls.stuck, str(gate))
    assert next(stream) == 0
    Parking.until(lambda: "gate-waits" in stream_calls.noted(tmp_path))
    closer = threading.Thread(target=stream.close)
    closer.start()
    Parking.until(lambda: next(stream, None) is None)
    assert closer.is_alive()
    gate.touch()
    closer.join(LIMIT)
    assert "gate-closed" in stream_calls.noted(tmp_path)


def test_closing_wakes_a_thread_that_waits_for_an_item(pool: Any, tmp_path: Path) -> None:
    gate, taken = tmp_path / "gate", []
    stream = pool.stream(stream_calls.stuck, str(gate))
    taker = threading.Thread(target=lambda: taken.extend(list(stream)))
    taker.start()
    Parking.until(lambda: bool(stream._buffer.waiting) or not taker.is_alive())
    stream._stop()
    taker.join(LIMIT)
    assert not taker.is_alive()
    gate.touch()
    stream.close()


def test_a_generator_is_asked_to_stop(pool: Any, tmp_path: Path) -> None:
    stream = pool.stream(stream_calls.until_asked, str(tmp_path))
    assert next(stream) == "begun"
    Parking.until(lambda: "goes on" in stream_calls.noted(tmp_path))
    assert pool.request_cancel(stream.future)
    assert stream.future.result(LIMIT) == "was asked"
    assert list(stream) == []
    # One that waits for its consumer is closed, and its consumer is told.
    stream = pool.stream(stream_calls.numbers, 10**9, str(tmp_path), buffer=3)
    Parking.until(lambda: len(stream_calls.noted(tmp_path)) >= 3)
    Parking.until(lambda: len(stream._items) == 3)
    assert pool.request_cancel(stream.future)
    Parking.until(stream.future.done)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(corefutures.CancelledError):
        next(stream)
    assert closed(tmp_path)


# ── workers that are lost ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", [0, 1, 250])
@pytest.mark.parametrize("way", ["dying", "exiting"])
def test_a_lost_worker_delivers_what_was_sent(make_processes: Any, way: str, end: int) -> None:
    pool, taken = make_processes(1, on_worker_loss="replace"), list[int]()
    if way == "dying" and os.name != "posix":
        pytest.skip("needs POSIX signals")
    with pytest.raises(corefutures.WorkerLostError) as caught:
        take(pool.stream(getattr(stream_calls, way), end), taken)
    assert taken == list(range(end))
    assert caught.value.exitcode == (3 if way == "exiting" else -signal.SIGKILL)


def test_a_lost_worker_that_breaks_the_pool(make_processes: Any) -> None:
    stream, taken = make_processes(2).stream(stream_calls.exiting, 250, buffer=5), list[int]()
    with pytest.raises(corefutures.BrokenExecutor) as caught:
        take(stream, taken)
    assert taken == list(range(250))
    assert isinstance(caught.value.__cause__, corefutures.WorkerLostError)


def test_kill(make_processes: Any) -> None:
    pool = make_processes(2, on_worker_loss="replace")
    stream = pool.stream(stream_calls.numbers, 10**9, buffer=3)
    assert next(stream) == 0
    assert pool.kill(stream.future)
    with pytest.raises(corefutures.WorkerLostError, match="killed"):
        take(stream, [])
    assert pool.submit(abs, -1).result(LIMIT) == 1


def test_a_time_limit_counts_the_whole_stream(make_processes: Any) -> None:
    pool = make_processes(1, on_worker_loss="replace")
    assert list(pool.options(timeout=LIMIT).stream(stream_calls.numbers, 300)) == list(range(300))
    stream = pool.options(timeout=0.1).stream(stream_calls.numbers, 10**9, buffer=1)
    with pytest.raises(TimeoutError):
        stream.future.result(LIMIT)
    assert next(stream) == 0
    with pytest.raises(TimeoutError):
        take(stream, [])


# ── the end of the pool ──────────────────────────────────────────────────────────────────────────────────────


def test_shutdown_ends_the_streams_of_the_thread_that_waits(make: Any, tmp_path: Path) -> None:
    pool = make(2)
    stream = pool.stream(stream_calls.numbers, 10**9, str(tmp_path), buffer=3)
    short = pool.stream(stream_calls.numbers, 3, buffer=4)
    pool.shutdown()
    assert closed(tmp_path)
    assert list(short) == [0, 1, 2]
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(corefutures.CancelledError):
        next(stream)
    with pytest.raises(RuntimeError):
        pool.stream(stream_calls.numbers, 1)


def test_shutdown_waits_for_the_streams_of_other_threads(make: Any) -> None:
    pool, taken, begun = make(1), [], threading.Event()

    def take() -> None:
        for item in pool.stream(stream_calls.numbers, 1000, buffer=2):
            taken.append(item)
            begun.set()

    taker = threading.Thread(target=take)
    taker.start()
    assert begun.wait(LIMIT)
    pool.shutdown()
    taker.join(LIMIT)
    assert taken == list(range(1000))


def test_shutdown_without_waiting_lets_a_stream_go_on(make: Any) -> None:
    pool = make(1)
    stream = pool.stream(stream_calls.numbers, 500, buffer=2)
    pool.shutdown(wait=False)
    assert list(stream) == list(range(500))


def test_a_pool_that_is_dropped_serves_its_streams(make: Any) -> None:
    made = make.__closure__  # the fixture keeps the pool
    assert made is not None
    stream = make(1).stream(stream_calls.numbers, 500, buffer=2)
    for cell in made:
        if isinstance(cell.cell_contents, list):
            cell.cell_contents.clear()
    gc.collect()
    assert list(stream) == list(range(500))


@pytest.mark.parametrize("at_exit", ["wait", "cancel", "kill"])
def test_a_program_ends_with_an_open_stream(kind_and_way: tuple[str, str], at_exit: str) -> None:
    kind, portable = kind_and_way
    if at_exit == "kill" and kind != "process":
        pytest.skip("only processes can be killed")
    ended = run_script(
        f"""
        import itertools, os, corefutures
        if __name__ == "__main__":
            os.environ["COREFUTURES_PORTABLE"] = {portable!r}
            pool = corefutures.create_executor({kind!r}, max_workers=1, at_exit={at_exit!r})
            stream = pool.stream(itertools.count, buffer=2)
            print(next(stream), next(stream))
        """
    )
    assert (ended.status, ended.out.split()) == (0, ["0", "1"]), ended
    assert not ended.err


def test_a_program_ends_with_an_open_stream_of_a_pool_that_it_has_dropped(kind_and_way: tuple[str, str]) -> None:
    kind, portable = kind_and_way
    ended = run_script(
        f"""
        import itertools, os, corefutures
        if __name__ == "__main__":
            os.environ["COREFUTURES_PORTABLE"] = {portable!r}
            stream = corefutures.create_executor({kind!r}, max_workers=1).stream(itertools.count, buffer=2)
            print(next(stream), next(stream))
        """
    )
    assert (ended.status, ended.out.split()) == (0, ["0", "1"]), ended
    assert not ended.err


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_an_interrupt_of_the_terminal(kind_and_way: tuple[str, str]) -> None:
    kind, portable = kind_and_way
    ended = run_script(
        f"""
        import itertools, os, signal, corefutures
        if __name__ == "__main__":
            os.setsid()  # a terminal interrupts the workers as well
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ["COREFUTURES_PORTABLE"] = {portable!r}
            with corefutures.create_executor({kind!r}, max_workers=1) as pool:
                with pool.stream(itertools.count, buffer=2) as stream:
                    try:
                        for number in stream:
                            if number == 5:
                                os.killpg(0, signal.SIGINT)
                    except KeyboardInterrupt:
                        print("interrupted")
                print(stream.future.done())
        """
    )
    assert (ended.status, ended.out.split()) == (0, ["interrupted", "True"]), ended


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_an_interrupt_of_the_consumer(make: Any, tmp_path: Path) -> None:
    pool = make(1)
    gate = tmp_path / "gate"
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        Parking.until(lambda: bool(stream._buffer.waiting))
        signal.pthread_kill(main, signal.SIGINT)

    with pool.stream(stream_calls.stuck, str(gate)) as stream:
        next(stream)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            take(stream, [])
        thread.join()
        gate.touch()
    assert "gate-closed" in stream_calls.noted(tmp_path)
    assert pool.submit(abs, -1).result(LIMIT) == 1


# ── calls and callbacks that take streams of their own pool ──────────────────────────────────────────────────


def test_a_call_takes_a_stream_of_its_own_pool() -> None:
    with corefutures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(stream_calls.total, pool, 200).result(LIMIT) == sum(range(200))
        assert pool.submit(lambda: [*zip(pool.stream(range, 5), pool.stream(range, 5), strict=True)]).result(LIMIT)
        assert pool.stats().running == 0

        def leave() -> Any:
            with pool.stream(stream_calls.numbers, 10**9) as stream:
                next(stream)
                assert not corefutures.cancel_requested()
            return stream.future

        assert isinstance(pool.submit(leave).result(LIMIT).exception(LIMIT), corefutures.CancelledError)
    with corefutures.ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(stream_calls.total, pool, 500) for _ in range(20)]
        assert [future.result(LIMIT) for future in futures] == [sum(range(500))] * 20


def test_a_callback_takes_a_stream(make: Any) -> None:
    pool, taken = make(2), []
    pool.submit(abs, -1).add_done_callback(lambda _: taken.extend(pool.stream(stream_calls.numbers, 50, buffer=2)))
    Parking.until(lambda: len(taken) == 50)
    assert taken == list(range(50))


# ── asyncio ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_tasks_take_streams(pool: Any, tmp_path: Path) -> None:
    async def take(folder: str | None) -> list[int]:
        taken = []
        async with pool.stream(stream_calls.numbers, 300, folder, buffer=4) as stream:
            async for item in stream:
                taken.append(item)
                if folder is not None and item == 20:
                    break
        return taken

    async def main() -> None:
        first, second = await asyncio.wait_for(asyncio.gather(take(None), take(str(tmp_path))), LIMIT)
        assert first == list(range(300))
        assert second == list(range(21))
        assert closed(tmp_path)
        with pytest.raises(KeyError):
            async for _ in pool.stream(stream_calls.failing, 2, KeyError()):
                pass

    asyncio.run(main())


def test_a_task_that_is_cancelled_leaves_its_stream(pool: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def main() -> None:
        async with pool.stream(stream_calls.stuck, str(gate)) as stream:
            assert await anext(stream) == 0
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.01)
            gate.touch()

    asyncio.run(main())
    assert "gate-closed" in stream_calls.noted(tmp_path)
