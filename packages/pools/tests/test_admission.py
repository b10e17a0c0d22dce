"""Places in `max_pending`, interrupted starts and counts (C4, C6, E2): no thread of ours waits for itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from signals import Interruption, everywhere
from subprocesses import run_script

from corefutures import BrokenExecutor, create_executor, wait

LIMIT = 30
KINDS = ["thread", "process", *(["interpreter"] if sys.version_info >= (3, 14) else [])]


class Out(BaseException):
    """What a handler raises, as Ctrl-C does."""


@pytest.fixture(params=["fast", "portable"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    if request.param == "portable":
        monkeypatch.setenv("COREFUTURES_PORTABLE", "1")
    made: list[Any] = []

    def make(kind: str, **options: Any) -> Any:
        made.append(create_executor(kind, **options))
        return made[-1]

    yield make
    for pool in made:
        pool.shutdown(wait=True, cancel_futures=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_submits_to_a_full_pool(kind: str, make: Callable[..., Any]) -> None:
    pool = make(kind, max_workers=1, max_pending=1)
    late: list[Any] = []
    all_in = threading.Event()

    def submit_more(_: Any) -> None:
        late.extend(pool.submit(abs, -number) for number in range(4))
        all_in.set()

    first = pool.submit(time.sleep, 0.2)
    first.add_done_callback(submit_more)
    second = pool.submit(time.sleep, 0.05)
    assert not wait([first, second], LIMIT).not_done
    assert all_in.wait(LIMIT)
    assert [future.result(LIMIT) for future in late] == [0, 1, 2, 3]
    assert pool.submit(abs, -5).result(LIMIT) == 5


class Interrupting:
    """Is interrupted while it is pickled: once, or else it would be an object that can't be pickled."""

    interrupted = False

    def __reduce__(self) -> Any:
        if self.interrupted:
            return int, ()
        self.interrupted = True
        raise Out


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "thread"])
def test_an_interrupt_while_arguments_are_pickled_loses_no_place(kind: str, make: Callable[..., Any]) -> None:
    pool = make(kind, max_workers=1, max_pending=2, when_full="raise")
    for _ in range(10):
        with pytest.raises(Out):
            pool.submit(print, Interrupting())
    assert [pool.submit(abs, -number).result(LIMIT) for number in range(5)] == list(range(5))


@pytest.mark.thread_unsafe(reason="signals are for the main thread")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer, which Windows has not")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the handler may raise in a finaliser
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_submit_leaves_places_and_futures(kind: str, make: Callable[..., Any]) -> None:
    pool = make(kind, max_workers=1, max_pending=3, when_full="block")
    futures = [pool.submit(abs, 1)]
    futures[0].result(LIMIT)

    came: list[bool] = []  # also if it raised where nobody gets it: in a finaliser

    def interrupt(*_: Any) -> None:
        came.append(True)
        raise Out

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(60):
            came.clear()
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003 + 0.00002 * (number % 25))
                while not came:
                    futures.append(pool.submit(abs, 1))
            except Out:
                continue
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not wait(futures, LIMIT).not_done
    outcomes: list[Any] = []

    def fill() -> None:  # would wait for ever for places that were lost
        outcomes.extend([pool.submit(abs, -number) for number in range(10)])

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    filling.join(LIMIT)
    assert [future.result(LIMIT) for future in outcomes] == list(range(10))


@pytest.mark.thread_unsafe(reason="signals are for the main thread")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer, which Windows has not")
def test_an_interrupt_while_another_worker_starts_is_the_submitter_s_alone(make: Callable[..., Any]) -> None:
    def interrupt(*_: Any) -> None:
        raise Out

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(4):
            pool = make("process", max_workers=2, mp_context="spawn", on_worker_loss="replace")
            running = pool.submit(time.sleep, 0.2)
            while not running.running():
                time.sleep(0.005)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.001 * number)
                pool.submit(time.sleep, 0.01)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Out:
                pass
            assert not isinstance(running.exception(LIMIT), BrokenExecutor)
            assert pool.submit(abs, -1).result(LIMIT) == 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_is_cancelled_while_the_pool_breaks_is_counted_as_cancelled(make: Callable[..., Any]) -> None:
    pool = make("process", max_workers=1)
    running = pool.submit(time.sleep, 60)
    others = [pool.submit(abs, -1) for _ in range(9)]
    running.add_done_callback(lambda _: [other.cancel() for other in others])
    while not running.running():
        time.sleep(0.01)
    os.kill(next(iter(pool._processes)), signal.SIGKILL)
    assert not wait([running, *others], LIMIT).not_done
    pool.shutdown()
    counts = pool.stats()
    assert counts.cancelled == sum(other.cancelled() for other in others)
    assert counts.finished == 0


def test_cancelling_in_any_order_writes_few_tasks(make: Callable[..., Any]) -> None:
    pool = make("process", max_workers=1)
    busy = pool.submit(time.sleep, 1.0)
    while not busy.running():
        time.sleep(0.005)
    futures = [pool.submit(abs, 1) for _ in range(2000)]
    queue = getattr(pool._cf_pool, "queue", None)
    written: list[int] = []
    if queue is not None:
        write = queue._write
        queue._write = lambda descriptors, numbers: (written.append(len(numbers)), write(descriptors, numbers))[1]
    assert all(future.cancel() for future in futures)
    assert sum(written) < 10 * len(futures)
    assert busy.result(LIMIT) is None


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_handler_that_interrupts_a_submitter_is_admitted(kind: str, make: Callable[..., Any]) -> None:
    """The submitter may have the last place, for a call that it has not queued: the handler would wait for ever."""
    pool = make(kind, max_workers=1, max_pending=1)
    pool.submit(abs, 1).result(LIMIT)
    pool.submit(abs, 1).result(LIMIT)  # whatever is imported late
    extra: list[Any] = []

    def scenario(interrupt: Callable[[Callable[[], object]], Interruption]) -> None:
        extra.clear()
        with interrupt(lambda: extra.append(pool.submit(abs, -2))):
            future = pool.submit(abs, -1)
        assert future.result(LIMIT) == 1
        assert [future.result(LIMIT) for future in extra] == [2] * len(extra)

    names = ("corefutures_pools.", "corefutures_thread.", "corefutures_process.", "corefutures._future")
    modules = [module for name, module in sys.modules.items() if name.startswith(names) and hasattr(module, "__file__")]
    assert everywhere(scenario, *modules) > 10


def test_a_handler_may_interrupt_the_very_first_submit() -> None:
    """It can't import what its thread is importing: what a limited submit needs is there once the pool is made."""
    ended = run_script(
        """
        import sys
        from corefutures import ProcessPoolExecutor

        pool = ProcessPoolExecutor(1, max_pending=1)

        class Interruption:
            def find_spec(self, name, path=None, target=None):
                if name.endswith(".submission"):
                    pool.submit(abs, -2)

        if __name__ == "__main__":
            sys.meta_path.insert(0, Interruption())
            print(pool.submit(abs, -1).result())
            pool.shutdown()
        """
    )
    assert ended == (0, "1\n", "")
