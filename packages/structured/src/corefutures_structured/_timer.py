"""One thread that calls functions at given times: for deadlines of scopes and pauses between attempts.

Touches nothing else. Guarantees: no thread before the first use; a thread that died or was lost in a fork is replaced
at the next use; a function that raises is logged and stops nothing.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from corefutures.backend import clock, log_failure

if TYPE_CHECKING:
    from collections.abc import Callable

_LOGGER = logging.getLogger("concurrent.futures")


class Alarm:
    """A function that is to be called at a time; `cancel` drops it."""

    __slots__ = ("_wake", "call", "due")

    def __init__(self, due: float, call: Callable[[], object] | None, wake: Callable[[], object] | None) -> None:
        self.due = due
        self.call = call
        self._wake = wake

    def cancel(self) -> None:
        """Drop the function: it is not called unless it is being called now."""
        self.call = None
        if self._wake is not None:
            self._wake()


class Timer:
    """The thread and the alarms that it has been given.

    Thread safety: `call_at` may be called from any thread, also by a signal handler that interrupts it: new alarms go
    through a `SimpleQueue`, whose methods are reentrant. Only the thread itself touches the heap.
    """

    def __init__(self) -> None:
        self._new: SimpleQueue[Alarm] = SimpleQueue()
        # Guards the start of the thread. Reentrant, because a signal handler may interrupt its holder.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._ends_idle = False  # in an isolated interpreter
        self._heap: list[tuple[float, int, Alarm]] = []
        self._kept = 64  # alarms that were left when the heap was last rid of cancelled ones
        self._numbers = itertools.count()

    def call_at(self, due: float, call: Callable[[], object]) -> Alarm:
        """Have a function called.

        Args:
            due: The time, by `time.monotonic`.
            call: Called in the timer's thread; it must not block.

        Returns:
            The alarm, which can be cancelled.

        Raises:
            RuntimeError: The thread can't be started; nothing was promised then.
        """
        alarm = Alarm(due, call, self._wake if self._ends_idle else None)
        self._new.put(alarm)
        # The alarm is in the queue before the look at the thread. A thread that ends takes its place under the lock,
        # and looks into the queue once more there. So either that thread finds the alarm, or this one starts another.
        if (thread := self._thread) is None or not thread.is_alive():
            try:
                self._start()
            except BaseException:
                alarm.cancel()  # or else the thread of a later alarm would call the function after all
                raise
        return alarm

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            try:
                # A daemon: it holds nothing, and the program must not wait for pauses that nobody awaits.
                thread = threading.Thread(target=self._run, name="corefutures timer", daemon=True)
                thread.start()
            except RuntimeError:  # an isolated interpreter has no daemon threads: this one ends with the last alarm
                self._ends_idle = True
                thread = threading.Thread(target=self._run, name="corefutures timer", daemon=False)
                thread.start()
            self._thread = thread

    def _wake(self) -> None:
        self._new.put(Alarm(0.0, None, None))

    def _is_over(self) -> bool:
        """Return whether the thread ends now, because nothing is left and it must not outlive its interpreter."""
        if not self._ends_idle or self._heap:
            return False
        with self._lock:
            if self._new.empty():
                self._thread = None
                return True
        return False

    def _run(self) -> None:
        heap = self._heap
        while not self._is_over():
            wait = min(max(0.0, heap[0][0] - clock.monotonic()), threading.TIMEOUT_MAX) if heap else None
            try:
                alarm = self._new.get(timeout=wait)
            except Empty:
                pass
            else:
                heapq.heappush(heap, (alarm.due, next(self._numbers), alarm))
                del alarm
                if len(heap) > 2 * self._kept:  # drop the cancelled ones, now and then
                    heap[:] = [entry for entry in heap if entry[2].call is not None]
                    heapq.heapify(heap)
                    self._kept = max(64, len(heap))
            while heap and (heap[0][2].call is None or heap[0][0] <= clock.monotonic()):
                alarm = heapq.heappop(heap)[2]
                call, alarm.call = alarm.call, None  # whoever keeps the alarm does not keep what it has called
                if call is not None:
                    try:
                        call()
                    except BaseException:
                        log_failure(_LOGGER, "a deadline or pause could not be acted upon")
                del call, alarm


timer = Timer()


def _after_fork_in_child() -> None:
    global timer
    timer = Timer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
