"""`InlineWaitPool`: has a thread that waits for the only call there is read what the workers say, in place of sleeping.

Touches `chair` and `pool`, and what `tickets` keeps of each worker. Guarantees: a thread that a signal handler or
finaliser interrupts at any point here holds nobody up, neither the handler nor other threads (F8).
"""

from __future__ import annotations

import sys
import threading
import time
from abc import abstractmethod
from collections import deque
from itertools import repeat
from marshal import loads

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import clock, nested_loops, system
from corefutures._future import FINISHED, PENDING
from corefutures_pools.workers.messages import ERROR, FRAME, RESULT_MARSHAL, RESULT_PICKLE
from corefutures_pools.workers.pool import WorkerPool
from corefutures_pools.workers.shared_queue.leader import Leadership, LeaderTerm

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final, Protocol

    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.shared_queue.task_queue import TaskQueue

    class Station(Protocol):
        """What this needs to know of a worker."""

        frames: int  # the descriptor that it speaks through
        heard: deque[bytes]  # what was read from there, and not taken in; for whoever has the chair
        rest: bytes  # of that, what was not taken in


#: Bytes that a waiting thread reads: there is room for the one result that it takes in.
_SHORT_READ: Final = 1 << 16
#: Seconds that a thread waits awake for a worker's answer.
_BRIEF: Final = 0.00005
#: Seconds that the kernel can be asked to wait.
_LONG: Final = 1e6
#: Seconds between two looks of the collector at a chair that it needs; whoever has it was told to leave.
_PATIENCE: Final = 0.0001
#: Seconds that a thread may have the chair and not do what is to be done there, before others mind.
_LATE: Final = 0.05


class InlineWaitPool(WorkerPool):
    """A pool whose workers may be heard by a thread that waits, in place of the collecting thread.

    Args:
        options: See `WorkerPool`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._chair: Leadership | None = None
        self._desk: TaskQueue | None = None
        self._bell: Any = None  # wakes the collector
        self._connections: set[Any] = set()  # all workers that have not ended; changed under `lock`
        self._watched: dict[int, Any] = {}  # stations by descriptor: of frames, or a sentinel
        self.ending: CallFuture[Any] | None = None  # the collector has taken it off `calls`, and ends it
        self._brief = True  # the last answer that a thread waited for came soon
        # A thread that has the chair may be interrupted by a signal handler, and that may wait for another thread.
        # So whoever comes to the pool meanwhile has the collector look after those who sit, from time to time.
        self._uneasy = False  # somebody came
        self._next_look = 0.0  # when the collector looks again; 0 if it has to be woken for that
        self._looked_after: dict[LeaderTerm, float] = {}  # → since when; the collector's

    # ── a thread that waits ──────────────────────────────────────────────────────────────────────────────

    def wait_inline(self, future: CallFuture[Any], timeout: float | None) -> tuple[float | None, bool]:
        """Reads, in a thread that waits for the only call there is, until that has ended or others have a say.

        Foreign code is left to the collector, but for what decoding this call's result runs: callbacks of others
        must not run in a thread that may hold any lock.
        """
        chair = self._chair
        if chair is None:
            return timeout, False
        self.step_down()
        if (
            len(self.calls) != 1
            or not future._cf_dispatched
            or self.thread is None
            or threading.get_ident() in nested_loops
        ):
            return timeout, False
        deadline = None if timeout is None else clock.monotonic() + timeout
        sitter = LeaderTerm(_SHORT_READ, future)
        seated = False
        try:
            if chair.take(sitter):
                seated = True
                chair.mute(on=True)
                future._cf_add_parked(chair.release)
                if future._cf_parked and len(future._cf_parked) > 1:
                    self._have_looked_after()
                while chair.has(sitter, alone=True) and future._state == PENDING:
                    left = None if deadline is None else deadline - clock.monotonic()
                    if future._cf_callbacks or future._cf_listeners or (left is not None and left <= 0):
                        break
                    if any(station.heard for station in list(self._connections)):  # by a thread that was interrupted
                        break
                    if not self._overhear(chair, sitter, future, left):
                        break
                self._stand_up(chair, sitter)
            else:
                chair.leave(sitter)
                chair.go(sitter)
        except BaseException as exc:  # of a signal handler; also while standing up, of which each step may be repeated
            if future._state == FINISHED:
                sitter.ended.append(future)
            self._stand_up(chair, sitter)
            self.wake()
            if not isinstance(exc, (ValueError, OSError)) or self._bell is not None:
                raise  # or else all was closed: the call has failed, or is about to
        return None if deadline is None else deadline - clock.monotonic(), seated

    def _stand_up(self, chair: Leadership, sitter: LeaderTerm) -> None:
        future = sitter.future
        if future is not None:
            future._cf_remove_parked(chair.release)
            if future._ended_for is sitter:
                future._ended_for = None
        self._defer_callbacks(sitter)
        chair.leave(sitter)  # first: the collector may be there at once, and would find the chair taken
        # Also if we were interrupted and relieved: that may have been just before the collector was muted.
        # If somebody else sits by now, the collector looks in vain until they stand up.
        chair.mute(on=False)
        if self.closing or self._backlog or self.deferred or any(station.heard for station in list(self._connections)):
            self.wake()
        chair.go(sitter)

    def _defer_callbacks(self, sitter: LeaderTerm) -> None:
        """Has the collector tell everybody of a call that was ended in the chair, unless there is nobody."""
        future = sitter.future
        if future is None:
            return
        if sitter.ended and future._has_to_tell():
            self.deferred.append(future)
        sitter.ended.clear()

    def _overhear(self, chair: Leadership, sitter: LeaderTerm, future: CallFuture[Any], timeout: float | None) -> bool:
        """Waits for a worker to speak; returns whether all it said was the end of that call, or nothing.

        Others may have us step down at any point, and then the collector reads. So each of these steps either is one
        operation or works on what is ours alone:

        1. reading and storing, if nobody has seen to it that we don't;
        2. looking at what is there, and taking it if it is nothing but the end of our call;
        3. ending that call; only then is what was heard dropped: whoever relieves us has the collector do it again,
           and of what two do here, only the first counts.
        """
        for descriptor in self._hear(chair, sitter, future, timeout):
            station: Station | None = self._watched.get(descriptor)
            if station is None or station.rest or station.heard:
                return False
            sitter.source = station.heard
            try:
                station.heard.extend(map(system.read, repeat(station.frames), sitter.reads))
                sitter.has_read = True
                data = station.heard[0]
            except (BlockingIOError, IndexError):  # somebody else has read it, or will
                sitter.has_read = True
                return False
            if len(data) < FRAME.size:
                return False
            size, kind, number = FRAME.unpack_from(data)
            if (
                number != future._number
                or kind not in (RESULT_MARSHAL, RESULT_PICKLE, ERROR)
                or len(data) != FRAME.size + size
            ):
                return False
            value, error = self._outcome(kind, data[FRAME.size :])
            if error is not None and (kind != ERROR or not issubclass(type(error), Exception)):
                # Of a signal handler, or of what is unpickled: then one comes again, perhaps another one, as of an
                # import that is tried twice. If none does, or this is an interrupt, it is raised here, and the
                # collector decodes it.
                _, again = self._outcome(kind, data[FRAME.size :])
                if type(again) is not type(error) and not (issubclass(type(error), Exception) and again is not None):
                    raise error
            future._cf_remove_parked(chair.release)  # nobody need ring for us
            future._ended_for = sitter
            future._cf_settle(value, error)
            self._desk.free(number)  # type: ignore[union-attr]
            if self.calls.pop(number, None) is not None:
                self.finished += 1
            try:
                station.heard.remove(data)
            except ValueError:
                return False
        return True

    def _hear(
        self, chair: Leadership, sitter: LeaderTerm, future: CallFuture[Any], timeout: float | None
    ) -> Iterable[int]:
        """Listens as `Leadership.listen` does, but awake at first if workers were quick to answer the last time.

        To be put to sleep and woken takes longer than a tiny call.
        """
        began = clock.perf_counter()
        heard: Iterable[int] = ()
        if self._brief:
            until = began + _BRIEF if timeout is None else began + min(_BRIEF, timeout)
            while not heard and clock.perf_counter() < until:
                system.sched_yield()
                heard = chair.listen(sitter, 0)  # which may have heard the bell
                if future._state != PENDING or not chair.has(sitter, alone=True):
                    return heard
        heard = heard or chair.listen(sitter, timeout if timeout is None else min(timeout, _LONG))
        self._brief = clock.perf_counter() - began < 2 * _BRIEF
        return heard

    def _outcome(self, kind: int, body: bytes) -> tuple[Any, BaseException | None]:
        """Returns the result or the exception that a frame tells; never raises."""
        if kind == ERROR:
            return None, self._error_in(body)
        return self._decoded(loads if kind == RESULT_MARSHAL else self._decode, body)

    @abstractmethod
    def _finish_own_cancellations(self, desk: TaskQueue) -> None:
        """Finishes what this very thread was interrupted in."""

    # ── others ───────────────────────────────────────────────────────────────────────────────────────────

    def step_down(self) -> None:
        desk = self._desk
        if desk is not None and desk.withdrawn:
            self._finish_own_cancellations(desk)
            self._have_looked_after()
        chair = self._chair
        if chair is None or not chair.listeners:
            return
        relieved = chair.step_down_current_thread()
        for sitter in relieved:
            self._defer_callbacks(sitter)
        if relieved:
            self.wake()  # for what was read, and not taken in
        self._have_looked_after()

    def _unfinished(self) -> list[CallFuture[Any]]:
        ending = [] if self.ending is None else [self.ending]
        return [*super()._unfinished(), *ending]

    def _have_looked_after(self) -> None:
        self._uneasy = True
        if not self._next_look:
            self.wake()

    def _look_now_and_then(self, chair: Leadership) -> None:
        """Looks after whoever sits, if it is time; for the collector, in every turn of its own."""
        if (self._uneasy or self._next_look) and clock.monotonic() >= self._next_look:
            if self._uneasy or self._looked_after:
                self._look_after(chair)
                self._next_look = clock.monotonic() + _LATE
            else:
                self._next_look = 0.0
                if self._uneasy:  # somebody came just now, and did not wake us
                    self._next_look = clock.monotonic()

    def _until_next_look(self, timeout: float | None) -> float | None:
        """Returns how long the collector may sleep, if it would for `timeout`."""
        if not self._uneasy and not self._next_look:
            return timeout
        left = max(0.0, self._next_look - clock.monotonic())
        return left if timeout is None else min(timeout, left)

    def _look_after(self, chair: Leadership, *, wanted: bool = False) -> None:
        """Ends turns in which a thread does not do what it should, because it was interrupted; for the collector.

        Args:
            chair: Ours.
            wanted: Whether it has to leave the chair in any case.
        """
        sitters = chair.sitters()
        now = clock.monotonic()
        if self._uneasy or wanted:
            self._uneasy = False
            for sitter in sitters:
                self._looked_after.setdefault(sitter, now)
        for sitter, since in list(self._looked_after.items()):
            if sitter not in sitters:
                del self._looked_after[sitter]
            elif now - since >= _LATE:
                self._defer_callbacks(sitter)
                late = wanted or chair.has_news() or any(station.heard for station in list(self._connections))
                if late and sitter.stop_reading():
                    chair.unseat(sitter)
                elif not chair.has(sitter):
                    chair.mute(on=False)

    def _claim(self, chair: Leadership, sitter: LeaderTerm) -> None:
        """Takes the chair, from whoever has it; for the collector, which may have to."""
        if not chair.wants(sitter):
            chair.take(sitter)
        while not chair.has(sitter):
            chair.ring()
            time.sleep(_PATIENCE)
            self._look_after(chair, wanted=True)
