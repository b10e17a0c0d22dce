"""Where fork is the default: what can't be had with it has its workers from elsewhere, or is refused with advice."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import sys
import threading
import time

import pytest
from races import together

from corefutures import ProcessPoolExecutor, UnsupportedError, WorkerLostError

LIMIT = 30.0

pytestmark = [
    pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def fork_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Linux before Python 3.14."""
    original = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: original(method or "fork"))


def method_of(pool: ProcessPoolExecutor) -> str:
    return pool._mp_context.get_start_method()


def test_nothing_changes_unless_it_is_asked_for() -> None:
    with ProcessPoolExecutor(1) as pool:
        assert method_of(pool) == "fork"
        assert pool.submit(abs, -1).result(LIMIT) == 1
        assert pool.options(name="named").submit(abs, -2).result(LIMIT) == 2


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"on_worker_loss": "replace"}, "forkserver"),
        ({"kill_on_cancel": True}, "forkserver"),
        ({"max_tasks_per_child": 1}, "spawn"),
    ],
)
def test_an_option_that_replaces_workers_has_them_from_elsewhere(options, method) -> None:
    with ProcessPoolExecutor(1, **options) as pool:
        assert method_of(pool) == method
        assert [pool.submit(abs, -number).result(LIMIT) for number in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"incompatible with the 'fork'.*supply a different mp_context"):
        ProcessPoolExecutor(1, "fork", **options)


def test_a_time_limit_asked_for_before_the_first_call_has_them_from_elsewhere() -> None:
    with ProcessPoolExecutor(1) as pool:
        limited = pool.options(timeout=0.2)
        assert method_of(pool) == "forkserver"
        with pytest.raises(TimeoutError, match=r"ran longer than 0\.2 s"):
            limited.submit(time.sleep, 100).result(LIMIT)
        busy = pool.submit(time.sleep, 100)
        while not busy.running():
            time.sleep(0.001)
        assert pool.kill(busy)
        with pytest.raises(WorkerLostError):
            busy.result(LIMIT)


@pytest.mark.parametrize("context", [None, "fork"])
def test_where_calls_have_been_forked_the_refusal_says_what_helps(context) -> None:
    with ProcessPoolExecutor(1, context) as pool:
        future = pool.submit(time.sleep, 0.05)
        for refused in (lambda: pool.options(timeout=1), lambda: pool.kill(future)):
            with pytest.raises(UnsupportedError) as caught:
                refused()
            assert "mp_context='forkserver' or 'spawn'" in str(caught.value)
            assert "create_executor('process')" not in str(caught.value)


def test_the_choice_is_logged_and_told_with_what_it_may_have_caused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "concurrent.futures")
    told = "by 'forkserver' and not by 'fork', the default here, with which {} can't be had"
    with ProcessPoolExecutor(1), ProcessPoolExecutor(1, "forkserver", on_worker_loss="replace"):
        assert not caplog.records
    with ProcessPoolExecutor(1, kill_on_cancel=True):
        assert [record.levelname for record in caplog.records] == ["INFO"]
        assert told.format("kill_on_cancel=True") in caplog.text
    with ProcessPoolExecutor(1) as pool:
        pool.options(timeout=1)
        assert told.format("a time limit") in caplog.text
    with ProcessPoolExecutor(1, on_worker_loss="replace", initializer=print, initargs=(threading.Lock(),)) as pool:
        with pytest.raises(TypeError) as caught:  # with fork it would not have been pickled
            pool.submit(abs, -1)
        assert told.format("on_worker_loss='replace'") in caught.value.__notes__[-1]
        assert "which has to be sent the initializer and its arguments" in caught.value.__notes__[-1]
    with ProcessPoolExecutor(1, on_worker_loss="replace", initializer=os._exit, initargs=(3,)) as pool:
        error = pool.submit(abs, -1).exception(LIMIT)
        assert told.format("on_worker_loss='replace'") in str(error)


@pytest.mark.parametrize("portable", ["", "1"], ids=["fast", "portable"])
def test_a_function_that_only_a_forked_worker_would_have_is_told_so(monkeypatch, portable: str) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "made_later", made_later, raising=False)
    with ProcessPoolExecutor(1, on_worker_loss="replace") as pool:
        error = pool.submit(main.made_later).exception(LIMIT)
    assert "made_later was defined where workers can't import it" in str(error)
    assert "on_worker_loss='replace' can't be had" in str(error)


def made_later() -> None:
    """Is moved into the main module."""


made_later.__module__ = "__main__"


def test_a_time_limit_that_makes_no_sense_changes_nothing() -> None:
    with ProcessPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="greater than 0"):
            pool.options(timeout=0)
        assert method_of(pool) == "fork"


def test_of_threads_that_fork_workers_at_once_each_flushes_the_standard_streams_alone(monkeypatch) -> None:
    """Without the GIL, a worker that is forked while another thread flushes a stream could not flush it at its end."""
    flush = multiprocessing.util._flush_std_streams  # type: ignore[attr-defined]
    flushing: list[int] = []
    together_with: list[int] = []

    def slow_flush() -> None:
        flushing.append(1)
        time.sleep(0.02)
        together_with.append(len(flushing))
        flushing.pop()
        flush()

    monkeypatch.setattr(multiprocessing.util, "_flush_std_streams", slow_flush)

    def run() -> int:
        with ProcessPoolExecutor(1) as pool:
            return pool.submit(abs, -1).result(LIMIT)

    assert together(run, run, run) == [1, 1, 1]
    assert together_with == [1, 1, 1]
