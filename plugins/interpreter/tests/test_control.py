"""Statistics, room for waiting calls, limited shutdowns; what interpreters can't do."""

from __future__ import annotations

import time

import pytest

from corefutures import InterpreterPoolExecutor, PoolFullError, UnsupportedError


def until_running(future):
    while not future.running():
        time.sleep(0.001)
    return future


def test_stats_add_up():
    with InterpreterPoolExecutor(1) as pool:
        for text in ("1", "x"):
            pool.submit(int, text).exception(30)
        busy = until_running(pool.submit(time.sleep, 0.2))
        waiting = pool.submit(int)
        assert pool.stats()[:6] == (4, 1, 1, 1, 1, 0)
        assert waiting.cancel()
        assert busy.result(30) is None
    assert pool.stats()[:6] == (4, 0, 0, 2, 1, 1)


def test_room_for_waiting_calls():
    with InterpreterPoolExecutor(1, max_pending=1, when_full="raise") as pool:
        until_running(pool.submit(time.sleep, 0.2))
        waiting = pool.submit(abs, -1)
        with pytest.raises(PoolFullError):
            pool.submit(abs, -2)
        assert waiting.result(30) == 1


def test_a_limited_shutdown_says_what_runs():
    pool = InterpreterPoolExecutor(1)
    until_running(pool.options(name="nap").submit(time.sleep, 0.5))
    with pytest.raises(TimeoutError, match=r"still running: sleep \(named 'nap'\); waiting: 0 calls"):
        pool.shutdown(timeout=0.01)
    pool.shutdown(timeout=30)


def test_interpreters_refuse_to_stop_calls():
    with InterpreterPoolExecutor(1) as pool:
        for refused in (lambda: pool.options(timeout=1), lambda: pool.kill(pool.submit(int))):
            with pytest.raises(UnsupportedError, match="process"):
                refused()
    with pytest.raises(UnsupportedError, match="process"):
        InterpreterPoolExecutor(at_exit="kill")
