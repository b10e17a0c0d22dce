"""Options, pending limits, statistics, cancellation requests, limited shutdowns."""

from __future__ import annotations

import contextvars
import itertools
import logging
import subprocess
import sys
import threading
from typing import Any

import pytest
from races import LIMIT, Parking, frequent_switches, together

import corefutures
from corefutures import PoolFullError, ThreadPoolExecutor, UnsupportedError, cancel_requested
from corefutures_thread import _inspection

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


class Busy:
    """Keeps the only worker of a pool busy until the end of the block."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._started, self._done = threading.Event(), threading.Event()

    def __enter__(self) -> corefutures.Future[Any]:
        future = self._pool.submit(self._work)
        self._started.wait(LIMIT)
        return future

    def _work(self) -> None:
        self._started.set()
        self._done.wait(LIMIT)

    def __exit__(self, *_: object) -> None:
        self._done.set()


def test_a_view_names_its_calls() -> None:
    with ThreadPoolExecutor(1) as pool:
        view = pool.options(name="resize")
        future = view.submit(int, "7")
        assert future.result(LIMIT) == 7
        assert "name='resize'" in repr(future)
        assert list(view.map(abs, [-1, 2])) == [1, 2]
        with view:
            pass
        assert pool.submit(int).result(LIMIT) == 0  # the view's shutdown is not the pool's


def test_threads_refuse_to_stop_calls() -> None:
    with ThreadPoolExecutor(1) as pool:
        for refused in (lambda: pool.options(timeout=1), lambda: pool.kill(pool.submit(int))):
            with pytest.raises(UnsupportedError, match="process"):
                refused()
    with pytest.raises(UnsupportedError, match="process"):
        ThreadPoolExecutor(at_exit="kill")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": "1"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"name": 7}, TypeError),
    ],
)
def test_bad_options_are_refused_at_the_call(options: dict[str, Any], error: type[Exception]) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(error):
        pool.options(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"context": "share"}, ValueError),
        ({"max_pending": 0}, ValueError),
        ({"max_pending": 1.5}, TypeError),
        ({"max_pending": 1, "when_full": "drop"}, ValueError),
        ({"at_exit": "never"}, ValueError),
    ],
)
def test_bad_pool_options_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ThreadPoolExecutor(1, **options)


def test_a_copied_context_is_the_submitters() -> None:
    with ThreadPoolExecutor(1, context="copy") as pool:
        token = VARIABLE.set("submitter's")
        try:
            assert pool.submit(VARIABLE.get).result(LIMIT) == "submitter's"
            assert list(pool.map(lambda _: VARIABLE.get(), range(2))) == ["submitter's"] * 2
            pool.submit(VARIABLE.set, "changed").result(LIMIT)
            assert VARIABLE.get() == "submitter's"
        finally:
            VARIABLE.reset(token)


def test_when_full_raise() -> None:
    with ThreadPoolExecutor(1, max_pending=2, when_full="raise") as pool, Busy(pool):
        waiting = [pool.submit(int), pool.submit(int)]
        with pytest.raises(PoolFullError):
            pool.submit(int)
        assert waiting[0].cancel()  # releases its permit at once
        waiting.append(pool.submit(int))
        with pytest.raises(PoolFullError):
            pool.submit(int)


def test_when_full_caller_runs() -> None:
    with ThreadPoolExecutor(1, max_pending=1, when_full="caller_runs") as pool, Busy(pool):
        pool.submit(int)
        here = pool.submit(threading.get_ident)
        assert here.done()
        assert here.result() == threading.get_ident()
        assert isinstance(pool.submit(int, "x").exception(0), ValueError)
        with pytest.raises(SystemExit):
            pool.submit(sys.exit, 3)


def test_when_full_block_waits_for_a_permit() -> None:
    with frequent_switches():
        for workers in (1, 3):
            with ThreadPoolExecutor(workers, max_pending=2) as pool:
                assert list(pool.map(abs, range(500))) == list(range(500))

                def submit_some(pool: ThreadPoolExecutor = pool) -> int:
                    return sum(future.result(LIMIT) for future in [pool.submit(abs, -1) for _ in range(100)])

                assert together(*[submit_some] * 4) == [100] * 4


def test_shutdown_wakes_blocked_submitters() -> None:
    for _ in range(100):
        pool = ThreadPoolExecutor(1, max_pending=1)
        with Busy(pool):
            pool.submit(int)

            def blocked(pool: ThreadPoolExecutor = pool) -> str:
                try:
                    pool.submit(int)
                except RuntimeError as exc:
                    return str(exc)
                return "submitted"

            outcomes = together(blocked, blocked, lambda pool=pool: pool.shutdown(wait=False))
        assert outcomes[:2] == ["cannot schedule new futures after shutdown"] * 2
        pool.shutdown()


def test_a_call_of_a_full_pool_may_submit() -> None:
    with ThreadPoolExecutor(1, max_pending=1) as pool:

        def submits() -> list[int]:
            return [future.result() for future in [pool.submit(abs, -number) for number in range(5)]]

        assert pool.submit(submits).result(LIMIT) == [0, 1, 2, 3, 4]


def test_stats_add_up() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.stats()[:8] == (0,) * 8
        for text in ("1", "x", "2"):
            pool.submit(int, text).exception(LIMIT)
        with Busy(pool):
            waiting = [pool.submit(int) for _ in range(3)]
            waiting[1].cancel()
            stats = pool.stats()
            assert stats._asdict() | {"uptime": 0, "cpu_time": 0} == {
                "submitted": 7, "waiting": 2, "running": 1, "finished": 2, "failed": 1, "cancelled": 1,
                "workers": 1, "lost_workers": 0, "uptime": 0, "cpu_time": 0, "spares": 0, "refused": 0,
            }  # fmt: skip
    assert pool.stats().finished == 5
    assert pool.stats().submitted == 7


def test_stats_count_every_call_once() -> None:
    with frequent_switches():
        pool = ThreadPoolExecutor(4)

        def submit_some() -> list[corefutures.Future[int]]:
            futures = [pool.submit(int, text) for text in ["1", "x"] * 100]
            for future in futures[::7]:
                future.cancel()
            return futures

        futures = [future for some in together(*[submit_some] * 4) for future in some]
        pool.shutdown(cancel_futures=True)
    stats = pool.stats()
    cancelled = sum(future.cancelled() for future in futures)
    failed = sum(not future.cancelled() and future.exception() is not None for future in futures)
    assert (stats.submitted, stats.cancelled, stats.failed) == (800, cancelled, failed)
    assert stats.finished == 800 - cancelled - failed


def test_a_call_reads_its_cancellation_request() -> None:
    assert not cancel_requested()
    started = threading.Event()

    def until_asked() -> str:
        started.set()
        Parking.until(cancel_requested)
        return "stopped"

    with ThreadPoolExecutor(1) as pool:
        running, waiting = pool.submit(until_asked), pool.submit(int)
        started.wait(LIMIT)
        assert pool.request_cancel(waiting)
        assert waiting.cancelled()
        assert pool.request_cancel(running)
        assert running.result(LIMIT) == "stopped"
        assert not pool.request_cancel(running)
        assert pool.submit(cancel_requested).result(LIMIT) is False
        with pytest.raises(TypeError):
            pool.request_cancel(7)  # type: ignore[arg-type]


def test_a_limited_shutdown_names_the_calls_that_run() -> None:
    pool = ThreadPoolExecutor(1)
    with Busy(pool):
        with pytest.raises(TimeoutError, match=r"_work"):
            pool.shutdown(timeout=0.01)
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(int)
    pool.shutdown(timeout=LIMIT)
    with pytest.raises((TypeError, ValueError)):
        pool.shutdown(timeout="soon")  # type: ignore[arg-type]


AT_EXIT = """
import logging
import sys
import threading
from corefutures import ThreadPoolExecutor, cancel_requested
pool = ThreadPoolExecutor(1, at_exit="cancel")
started = threading.Event()

def until_asked():
    started.set()
    pause = threading.Event()
    while not cancel_requested():
        pause.wait(0.001)
    sys.stdout.write("asked\\n")  # two threads write

pool.submit(until_asked)
started.wait()
waiting = pool.submit(print, "started")
waiting.add_done_callback(lambda future: sys.stdout.write(f"cancelled {future.cancelled()}\\n"))
"""


def test_at_exit_waiting_calls_are_cancelled_and_running_ones_are_asked() -> None:
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (sorted(done.stdout.splitlines()), done.stderr, done.returncode) == (["asked", "cancelled True"], "", 0)


def test_logs_of_threads_are_handled_here_in_any_case(caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(1, forward_logs=True) as pool:
        pool.submit(logging.getLogger("of.a.thread").warning, "seen once").result(LIMIT)
    assert caplog.messages == ["seen once"]


def test_threads_that_add_up_past_calls_at_once() -> None:
    with frequent_switches(), ThreadPoolExecutor(1) as pool:
        ended = pool._cf_pool.ended

        def record() -> None:
            for _ in range(2000):
                ended.add(cancelled=1)

        together(record, record, record, record)
        assert pool.stats().cancelled == 8000
        assert len(ended._records) <= 68


def test_counting_ends_while_calls_keep_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two counts need not agree: free-threaded builds run calls while they are counted."""
    count, numbers = _inspection._count, itertools.count()
    monkeypatch.setattr(_inspection, "_count", lambda pool: {**count(pool), "finished": next(numbers)})
    with ThreadPoolExecutor(1) as pool:
        assert pool.stats().finished > 1
