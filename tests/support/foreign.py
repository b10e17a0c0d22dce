"""Executors of other people's making, for `adapt`: the less they can do the better."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent import futures as standard
from typing import Any

from corefutures import Executor, adapt


class MuteFuture:
    """Can be waited for, and nothing else."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._outcome: tuple[Any, BaseException | None] = None, None

    def result(self) -> Any:
        self._ended.wait()
        result, error = self._outcome
        try:
            if error is not None:
                raise error
            return result
        finally:
            del error, self  # no cycle from the traceback

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        self._outcome = result, error
        self._ended.set()


class BareExecutor:
    """Threads, `submit` without keywords, `shutdown` without arguments, futures that are mute; none of the manners."""

    def __init__(self, max_workers: int = 1) -> None:
        self._calls: deque[tuple[MuteFuture, Callable[..., Any], tuple[Any, ...]] | None] = deque()
        self._ready = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._work) for _ in range(max_workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], *args: Any) -> MuteFuture:
        future = MuteFuture()
        self._calls.append((future, fn, args))
        self._ready.release()
        return future

    def shutdown(self) -> None:
        for _ in self._threads:
            self._calls.append(None)
            self._ready.release()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            self._ready.acquire()
            taken = self._calls.popleft()
            if taken is None:
                return
            future, fn, args = taken
            try:
                future.end(fn(*args))
            except BaseException as error:
                future.end(error=error)
            del taken, future, fn, args


class ManualExecutor:
    """Runs nothing by itself: the test does, call by call."""

    def __init__(self, future_type: Callable[[], Any] = standard.Future) -> None:
        self._future_type = future_type
        self.futures: list[Any] = []
        self.calls: list[Callable[[], Any]] = []
        self.shutdowns: list[bool] = []

    def submit(self, call: Callable[[], Any]) -> Any:
        self.futures.append(self._future_type())
        self.calls.append(call)
        return self.futures[-1]

    def shutdown(self, wait: bool = True) -> None:
        self.shutdowns.append(wait)

    def run(self, index: int = 0) -> None:
        """Runs a call and ends its future as the standard library's workers do."""
        future = self.futures[index]
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self.calls[index]())
        except BaseException as error:
            future.set_exception(error)


def bare(max_workers: int) -> BareExecutor:
    return BareExecutor(max_workers)


def adapted(max_workers: int) -> Executor:
    """What the kit certifies."""
    return adapt(BareExecutor(max_workers))
