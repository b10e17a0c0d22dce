"""F8: every method may be called by a signal handler or finaliser that interrupts another, anywhere."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable

import pytest
from races import LIMIT, elsewhere
from signals import Interruption, everywhere

from corefutures import CancelledError, Future, InvalidStateError, _future, _wait as _waiting, as_completed, wait
from corefutures_pools.future import PoolFuture

KINDS = {"bare": Future, "pool": lambda: PoolFuture(print, (), None)}


@pytest.fixture(autouse=True)
def _unlogged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(100, "concurrent.futures")  # what is refused is logged as critical


class Subject:
    """A future, everything that can be done with it, and an account of the callbacks."""

    def __init__(self, kind: Callable[[], Future[int]]) -> None:
        self.future = kind()
        self.added = 0
        self.called: list[int] = []
        self.ended_by: list[str] = []

    def add_callback(self) -> None:
        number = self.added
        self.added += 1
        self.future.add_done_callback(lambda _: self.called.append(number))

    def cancel(self) -> None:
        done_before = self.future.done()
        if self.future.cancel() and not done_before:
            self.ended_by.append("cancel")

    def set_result(self) -> None:
        try:
            self.future.set_result(1)
        except InvalidStateError:
            return
        self.ended_by.append("result")

    def set_exception(self) -> None:
        try:
            self.future.set_exception(OSError())
        except InvalidStateError:
            return
        self.ended_by.append("exception")

    def start(self) -> None:
        try:
            self.future.set_running_or_notify_cancel()
        except RuntimeError:
            assert self.future._state != "PENDING"

    def read(self) -> None:
        for read in (self.future.result, self.future.exception):
            try:
                read(0)
            except (TimeoutError, OSError, CancelledError):
                pass
        self.future.cancelled(), self.future.running(), self.future.done()
        repr(self.future)
        self.future._get_snapshot()

    def wait(self) -> None:
        wait([self.future], timeout=0)

    def wait_a_moment(self) -> None:
        wait([self.future], timeout=1e-4)

    def iterate(self) -> None:
        try:
            list(as_completed([self.future], timeout=1e-4))
        except TimeoutError:
            pass

    def use_private_parts(self) -> None:
        with self.future._condition:
            assert self.future._waiters is self.future._waiters
        assert self.future._condition is self.future._condition

    def settle(self) -> None:
        """Ends the future, and looks whether everything is as it must be."""
        self.set_result()
        self.start()
        future = self.future
        assert future.done()
        assert sorted(self.called) == list(range(self.added)), "a callback was lost, or ran twice"
        assert not future._cf_listeners, "a waiter was left behind"
        assert not future._cf_parked, "a thread was left behind"
        assert not future._cf_lock._is_owned(), "the lock was not given back"
        ways = {
            "cancel": future.cancelled(),
            "result": future._result == 1,
            "exception": bool(future._exception),
        }
        assert sum(ways.values()) == 1
        assert ways[self.ended_by[0]], self.ended_by


ACTIONS = [
    "add_callback",
    "cancel",
    "set_result",
    "set_exception",
    "start",
    "read",
    "wait",
    "wait_a_moment",
    "iterate",
]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("interrupted", ACTIONS)
@pytest.mark.parametrize("before", ["nothing", "add_callback", "cancel"])
def test_each_method_interrupts_each(kind: Callable[[], Future[int]], interrupted: str, before: str) -> None:
    points = 0
    for handler in ACTIONS:

        def scenario(interrupt: Callable[..., Interruption], handler: str = handler) -> None:
            subject = Subject(kind)
            if before != "nothing":
                getattr(subject, before)()
            with interrupt(getattr(subject, handler)):
                getattr(subject, interrupted)()
            subject.settle()

        points += everywhere(scenario, _future, _waiting)
    assert points >= len(ACTIONS), "nothing was interrupted: the tracing does not work"


def read_result(future: Future[int]) -> int:
    return future.result()


def read_error(future: Future[int]) -> int:
    assert future.exception() is None
    return 1


def wait_all(future: Future[int]) -> int:
    assert wait([future]).done == {future}
    return 1


def iterate(future: Future[int]) -> int:
    assert list(as_completed([future])) == [future]
    return 1


#: The standard library's `wait` is not among them: it looks at the state and subscribes in two steps under
#: the futures' reentrant locks, so a handler between the two escapes it, with any futures.
BLOCKING = [read_result, read_error, wait_all, iterate]


@pytest.mark.parametrize("block", BLOCKING)
def test_an_end_that_interrupts_a_waiter_is_not_missed(block: Callable[[Future[int]], int]) -> None:
    """F5, F8: the handler ends the future at any point before the thread blocks; a lost wake-up would hang."""
    unguarded = 0

    def scenario(interrupt: Callable[..., Interruption]) -> None:
        nonlocal unguarded
        future: Future[int] = Future()
        # The points after the thread has blocked are reached because another thread ends the future.
        other = threading.Timer(0.02, lambda: future.done() or set_if_pending(future))
        other.daemon = True
        other.start()
        with interrupt(lambda: set_if_pending(future)):
            assert block(future) == 1
        other.cancel()
        other.join(LIMIT)

    assert everywhere(scenario, _future, _waiting) > 3


def set_if_pending(future: Future[int]) -> None:
    try:
        future.set_result(1)
    except InvalidStateError:
        pass


class Finalised:
    """Runs `action` when the garbage collector finds it: at whatever point that happens to be."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.itself = self
        weakref.finalize(self, action).atexit = False


@pytest.mark.parametrize("action", ACTIONS)
def test_finalisers_interrupt_every_allocation(action: str) -> None:
    """F8, gh-121649: garbage is collected in the midst of our methods, sooner or later in each."""
    threshold = gc.get_threshold()
    for kind in KINDS.values():
        for interrupted in ACTIONS:
            for first in range(1, 12):
                subject = Subject(kind)
                Finalised(getattr(subject, action))
                gc.set_threshold(first)
                try:
                    getattr(subject, interrupted)()
                finally:
                    gc.set_threshold(*threshold)
                subject.settle()
    gc.collect()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer, which Windows has not")
def test_real_signals_interrupt_real_calls() -> None:
    """F8: a timer's signals hit all methods at random, a few thousand times."""
    stormy: list[Subject] = []
    hits = 0

    def handler(signum: int, frame: object) -> None:
        nonlocal hits
        hits += 1
        subject = stormy[-1]
        getattr(subject, ACTIONS[hits % len(ACTIONS)])()

    stormy.append(Subject(Future))
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        end = time.monotonic() + 1
        number = 0
        while time.monotonic() < end or hits < 200:
            for action in ACTIONS:
                getattr(stormy[-1], action)()
            number += 1
            stormy.append(Subject(list(KINDS.values())[number % 2]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for subject in stormy:
        subject.settle()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer, which Windows has not")
@pytest.mark.parametrize("block", BLOCKING)
def test_a_signal_handler_ends_the_future_that_its_thread_waits_for(block: Callable[[Future[int]], int]) -> None:
    """F8: the thread blocks in the kernel; the handler that ends the future runs in the same thread."""
    for _ in range(50):
        future: Future[int] = Future()
        before = signal.signal(signal.SIGALRM, lambda *_, future=future: set_if_pending(future))
        try:
            # Again and again: one that comes just before the system call would go unnoticed until the next.
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.005)
            assert block(future) == 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(sys.platform == "win32", reason="an interrupt does not wake a sleeping lock on Windows")
@pytest.mark.parametrize("block", BLOCKING)
def test_an_interrupt_leaves_nothing_behind(block: Callable[[Future[int]], int]) -> None:
    """F6: who is interrupted while waiting is forgotten by the future."""
    future: Future[int] = Future()
    hits: list[int] = []

    def interrupt(signum: int, frame: object) -> None:
        hits.append(signum)
        if len(hits) == 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        with pytest.raises(KeyboardInterrupt):
            block(future)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not future._cf_parked
    assert not future._cf_listeners
    set_if_pending(future)
    assert future.result() == 1


@pytest.mark.parametrize("method", ["cancelled", "exception", "done", "running", "result", "cancel"])
def test_a_finished_future_is_read_without_its_lock(method: str) -> None:
    """F8: the standard `wait` reads futures while it holds their conditions; so may any other thread."""
    for kind in KINDS.values():
        future: Future[int] = kind()
        future.set_result(1)
        with future._condition:
            getattr(future, method)()
            elsewhere(getattr(future, method))
            elsewhere(lambda future=future: wait([future]))
            elsewhere(lambda future=future: list(as_completed([future])))
            elsewhere(lambda future=future: future.add_done_callback(lambda _: None))
