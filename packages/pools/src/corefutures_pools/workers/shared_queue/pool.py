"""`SharedQueuePool`: the fast way to reach workers: tickets through one pipe, frames back through one pipe each.

Touches `desk`, `pool` and epoll (Linux). Guarantees: calls start in the order submitted, by whichever worker is free
first (E2); a lost worker is noticed at once, and what it was running is known for certain (E5); an error in the
collecting thread breaks the pool, with that error as cause (E8).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from marshal import loads
from operator import attrgetter

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import clock, nested_loops, start_thread, system
from corefutures._exceptions import WorkerLostError
from corefutures._foreign_code import copied, for_each, log_failure
from corefutures._future import LOGGER
from corefutures._instrumentation import instrumentation
from corefutures_pools.descriptors import Descriptor, lifted
from corefutures_pools.workers.future import CallFuture
from corefutures_pools.workers.messages import (
    CALL_FINISHED,
    CALL_STARTED,
    ERROR,
    EXITING,
    FAILED,
    FETCH_PAYLOAD,
    FRAME,
    INIT_FAILED,
    PING,
    PONG,
    READY,
    RESULT_MARSHAL,
    RESULT_PAYLOAD,
    RESULT_PICKLE,
    STOP,
    MalformedFrame,
    check_head,
)
from corefutures_pools.workers.shared_queue.inline_wait import _LATE, InlineWaitPool
from corefutures_pools.workers.shared_queue.leader import Leadership, LeaderTerm, new_poll
from corefutures_pools.workers.shared_queue.task_queue import TaskQueue
from corefutures_pools.workers.worker_loop import SharedQueueEnds

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from corefutures_pools.workers.interface import PayloadChannel, WorkerHandle, WorkerLauncher
    from corefutures_pools.workers.snapshot import Occupation

#: Calls that wait here are sent on by `submit` itself while workers may be idle, or once there are so many.
_BURST: Final = 32
#: So many calls may be sent before more are left to the collector.
_MANY: Final = 512
#: Bytes: all that a pipe holds, as a rule. More would have each buffer mapped and unmapped by the C library.
_READ_SIZE: Final = 1 << 16
_SIZES: Final = (_READ_SIZE,)
_FRAMES: Final = attrgetter("frames")
#: Seconds between asking the workers of a broken pool to end, and making them.
_GRACE: Final = 1.0
#: Seconds between looks whether a worker has ended that is about to, where nothing tells.
_PERIOD: Final = 0.01


class _Station:
    """One worker, and the caller's ends of what leads to it."""

    def __init__(self, worker_index: int, frames: int, channel: PayloadChannel) -> None:
        self.worker_index = worker_index
        self.frames = frames
        self._frames = deque([frames])  # who takes it out closes it
        self.channel = channel
        self.worker: WorkerHandle | None = None  # it may speak before whoever starts it has told us which it is
        self.sentinels: list[Any] = []
        self.heard: deque[bytes] = deque()  # what was read, and not taken in; for whoever has the chair
        self.received: list[bytes] = []  # of that, on its way to
        self.rest = b""  # what is being taken in, or the beginning of a frame
        self.next = 0  # where in there the next frame begins
        self.hired = False  # its worker has started, and is watched
        self.ready = False
        self.present = 0  # the last roll call answered
        self.leaving = False  # said so itself
        self.init_error: BaseException | None = None  # the initializer's error
        self.failure: BaseException | None = None  # why it could not start, or go on
        self.nonsense = ""  # what it said that was no frame, if it did
        self.cleared = False  # since then, a call of it has ended: that one wrote it
        self.ending = False  # it was killed, or is about to end: to be asked whether it has, until it has
        self.condemned: tuple[int, BaseException] | None = None  # a call, and what it fails with: killed for it
        self.dead = False

    @property
    def name(self) -> str:
        return "a new worker" if self.worker is None else self.worker.name

    def take_frames(self) -> int:
        """Returns the descriptor of the frames to the one who closes it, -1 to all others."""
        self.frames = -1
        try:
            return self._frames.pop()
        except IndexError:
            return -1


class _Bell(Descriptor):
    """Wakes the collector: an eventfd. Whoever rings refers to it."""

    __slots__ = ()

    def ring(self) -> None:
        try:
            system.eventfd_write(self.number, 1)
        except BlockingIOError:  # so often that it is full
            pass

    def hush(self) -> None:
        try:
            system.eventfd_read(self.number)
        except BlockingIOError:
            pass


class _Doubt:
    """Calls that a lost worker may have claimed, but had not put on the board: the roll is called.

    A worker is excused once it is known to hold none of them. When none is left, what remains is lost.
    """

    def __init__(self, number: int, calls: set[int], suspects: set[_Station], loss: WorkerLostError) -> None:
        self.number = number
        self.calls = calls
        self.suspects = suspects
        self.losses = [loss]


class SharedQueuePool(InlineWaitPool):
    """A pool over tickets; see `WorkerPool` for the arguments.

    Args:
        make_channel: Makes what carries payloads to one worker and back.
    """

    def __init__(self, *, make_channel: Callable[[], PayloadChannel], **options: Any) -> None:
        super().__init__(**options)
        self._make_channel = make_channel
        self._free_indexes = list(range(self.size))
        self._sitter = LeaderTerm()  # the collector's turns
        self._waits = 0  # of foreign code in the collector, each within the last
        self._rolls = 0
        self._doubts: list[_Doubt] = []
        self._withdrawn_since: dict[int, float] = {}  # when the collector first saw them
        self._stopping = False
        self._kill_at: float | None = None
        # Held by whoever stops a worker to kill it. Reentrant, because a signal handler may do so as well.
        self._condemning = threading.RLock()
        self._troubled: set[_Station] = set()  # those that are ending, or talk nonsense: looked at from time to time
        # Whether a worker, which is stopped, is in a call: for whoever has the chair, and so knows all that it said.
        self._questions: deque[tuple[_Station, int, list[bool]]] = deque()

    # ── the caller's side of sending ─────────────────────────────────────────────────────────────────────

    def dispatch(self, future: CallFuture[Any]) -> None:
        desk = self._desk
        if desk is None:  # whoever makes it finds the call
            return
        if desk.withdrawn or self._chair.listeners:  # type: ignore[union-attr]
            self.step_down()
        if not future._cf_dispatched:
            if not future._postponed:  # there was no desk when it came
                desk.postpone(future)
            if desk.sent < 2 * len(self._workers):  # or else a result will wake our thread
                self.wake()
            return
        sent = len(desk.out) - len(desk.ready) - len(desk.returned)
        if sent < 2 * len(self._workers) or (len(self._backlog) >= _BURST and sent < _MANY):
            desk.post()

    def _send_on(self, desk: TaskQueue) -> None:
        """Goes on with what others left, or were interrupted in; for the collector."""
        if desk.withdrawn or self._withdrawn_since:
            self._look_after_cancellations(desk)
        for future in desk.prepare_waiting():
            self.discard(future)
        if desk.sent < max(_MANY, 2 * len(self._workers)):  # after a cancellation there may be fewer than the workers
            desk.post()

    def revoke(self, future: CallFuture[Any]) -> None:
        desk = self._desk
        if desk is None:
            return
        number = future._number
        try:
            # Only what the workers need goes back to the pipe: the next call to be cancelled may be the one behind it.
            if desk.withdraw(number, 2 * len(self._workers)):
                if future._cf_try_cancel(notified=True, recalled=True):
                    future._tell_cancelled(self)
                desk.withdrawn.pop(number, None)
        except BaseException:  # of a signal handler, or of a callback
            self._finish_own_cancellations(desk)
            self.wake()
            raise

    def _cancel_withdrawn(self, desk: TaskQueue, numbers: Iterable[int]) -> None:
        """Cancels calls that were withdrawn, in their order.

        A call is marked as cancelled by one, who tells everybody. If that one was interrupted just then, at least the
        pool need not wait for the call.
        """
        for_each(partial(self._cancel_one, desk), sorted(numbers))

    def _cancel_one(self, desk: TaskQueue, number: int) -> None:
        future = self.calls.get(number)
        desk.free(number)
        try:
            if future is not None:
                if future._cf_try_cancel(notified=True, recalled=True):
                    future._tell_cancelled(self)
                else:
                    self.discard(future)
        except BaseException:  # of a signal handler, or of a callback
            if future is not None and future.cancelled():
                future._tell_cancelled(self)
            raise
        finally:
            desk.withdrawn.pop(number, None)

    def _finish_own_cancellations(self, desk: TaskQueue) -> None:
        """Finishes what this very thread was interrupted in."""
        own = threading.get_ident()
        self._cancel_withdrawn(desk, [number for number, thread in desk.withdrawn.copy().items() if thread == own])

    def _look_after_cancellations(self, desk: TaskQueue) -> None:
        """Finishes what another thread is late with, because it was interrupted; for the collector."""
        now = clock.monotonic()
        self._withdrawn_since = {n: self._withdrawn_since.get(n, now) for n in desk.withdrawn.copy()}
        self._cancel_withdrawn(desk, [n for n, since in self._withdrawn_since.items() if now - since >= _LATE])
        self._uneasy = self._uneasy or bool(desk.withdrawn)

    def discard(self, future: CallFuture[Any]) -> None:
        if self._desk is not None:
            self._desk.ready.pop(future._number, None)
            self._desk.free(future._number)
        super().discard(future)

    def is_running(self, future: CallFuture[Any]) -> bool:
        desk = self._desk
        return desk is not None and desk.on_board(future._number)

    def request_stop(self, future: CallFuture[Any]) -> bool:
        desk = self._desk
        return desk is not None and desk.ask(future._number)

    def occupations(self) -> Iterable[Occupation]:
        from corefutures_pools.workers.snapshot import Occupation  # here for start-up time only

        desk = self._desk
        if desk is None:
            return []
        occupations = []
        for station in sorted(self._connections, key=lambda station: station.worker_index, reverse=True):
            worker = station.worker
            if worker is not None:
                number, since = desk.shown_since(station.worker_index) if station in self._workers else (0, 0.0)
                occupations.append(Occupation(worker, station.ready, self.calls.get(number), since))
        return occupations

    def body_of(self, future: CallFuture[Any]) -> Any:
        desk = self._desk
        return super().body_of(future) or (None if desk is None else desk.body(future._number))

    def cancel_waiting(self) -> None:
        desk = self._desk
        try:
            if desk is not None and not self._ended:
                try:
                    desk.withdraw_all()
                finally:
                    self._finish_own_cancellations(desk)
        finally:
            for_each(CallFuture._cancel_waiting, copied(self._backlog))  # those without tickets

    # ── hiring ───────────────────────────────────────────────────────────────────────────────────────────

    def open_transport(self) -> None:
        with ExitStack() as opened:  # closed again unless all of it can be had
            desk = TaskQueue(self.size, self._backlog)
            opened.callback(desk.close)
            # Nothing is written to it, ever: it ends when we do, and with it our workers.
            self._parent_death_pipe, self._parent_death_pipe_end = map(lifted, system.pipe())
            opened.callback(system.close, self._parent_death_pipe)
            opened.callback(system.close, self._parent_death_pipe_end)
            self._poll = opened.enter_context(new_poll())
            bell = _Bell(lifted(system.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)))
            opened.callback(bell.close)
            self._poll.register(bell.number, select.EPOLLIN)
            self._chair = Leadership(self._poll)
            opened.pop_all()
        self._bell = bell
        # 1. A submitter enters its call, then looks whether there is a desk.
        # 2. We set the desk, then look for calls. One finds the other.
        self._desk = desk
        for future in copied(self._backlog):
            desk.postpone(future)
        self._prepare = desk.prepare

    def start_threads(self) -> None:
        thread = threading.Thread(target=self._collect, name=f"{self.name} collector", daemon=False)
        start_thread(thread)
        self.thread = thread
        if self.closing:  # and perhaps the last call was cancelled before there was anything to wake
            self.wake()

    def start_worker(self, launcher: WorkerLauncher) -> None:
        desk = self._desk
        assert desk is not None
        channel = self._make_channel()
        try:
            frames, far_frames = map(lifted, system.pipe())
        except BaseException:
            channel.close_child_end()
            channel.close()
            raise
        system.set_blocking(frames, False)
        station = _Station(self._free_indexes.pop(), frames, channel)
        desk.wipe(station.worker_index)
        self._workers.add(station)
        self._connections.add(station)
        self._watched[frames] = station
        ends = SharedQueueEnds(
            desk.tickets,
            far_frames,
            desk.memory,
            desk.size,
            desk.status_size,
            station.worker_index,
            self._parent_death_pipe,
            channel.child_end,
        )
        try:
            worker = launcher.launch(ends)
        except BaseException:
            system.close(far_frames)
            channel.close_child_end()
            self._remove_worker(station)
            raise
        # Watched from here on, and it may have ended already. It may also have claimed calls already: had it
        # ended, its pipe of frames would say so as soon as we close our copy of its end.
        station.worker = worker
        system.close(far_frames)
        channel.close_child_end()
        try:
            self._chair.register(frames)  # type: ignore[union-attr]
            for sentinel in worker.sentinels():
                descriptor = sentinel if isinstance(sentinel, int) else sentinel.fileno()
                station.sentinels.append(descriptor)
                self._watched[descriptor] = station
                self._poll.register(descriptor, select.EPOLLIN)
        except BaseException:  # the pool has been closed by an error of ours
            worker.kill()
            worker.reap()
            self._remove_worker(station)
            raise
        self._stop_late_worker(worker)
        if station.frames < 0:  # nobody could do so before
            worker.kill()
        station.hired = True  # only from now on it may be buried, which closes the sentinels
        if station.frames < 0:
            station.ending = True
            self._troubled.add(station)
            self.wake()

    def _remove_worker(self, station: _Station) -> None:
        """Forgets a station, and closes what leads to it."""
        self._give_up_berth(station)
        self._connections.discard(station)
        self._troubled.discard(station)
        self._unwatch_sentinels(station)
        self._close_frames(station)
        station.channel.close()

    def _give_up_berth(self, station: _Station) -> None:
        """Has another worker take the place of one; does nothing the second time."""
        try:
            self._workers.remove(station)
        except KeyError:
            return
        self._free_indexes.append(station.worker_index)

    def _unwatch_sentinels(self, station: _Station) -> None:
        while station.sentinels:
            self._unwatch(station.sentinels.pop(), self._poll)

    def _close_frames(self, station: _Station) -> None:
        frames = station.take_frames()
        if frames >= 0:
            self._unwatch(frames, self._chair)
            system.close(frames)

    def _unwatch(self, descriptor: int, where: Any) -> None:
        if self._watched.pop(descriptor, None) is not None:
            try:
                where.unregister(descriptor)
            except (FileNotFoundError, OSError, ValueError):  # it was not registered yet
                pass

    # ── collecting ───────────────────────────────────────────────────────────────────────────────────────

    def _collect(self) -> None:
        """The thread that reads what the workers say, and keeps them busy."""
        nested_loops[threading.get_ident()] = self._serve_in_collector
        try:
            while not (self._stopping and not self._connections):
                self._turn()
        except BaseException as exc:
            self.mark_broken(f"the thread that serves the {self.name} failed", exc)
            self._ended = True
            self._await_starting()  # whoever starts a worker now, it is the last; and what it gets is not closed before
            self.end_workers("kill")
            for station in list(self._connections):
                if station.worker is not None:
                    try:
                        station.worker.reap()
                    except Exception:
                        log_failure(LOGGER, "a worker of the %s could not be reaped", self.name)
        finally:
            self._ended = True
            nested_loops.pop(threading.get_ident(), None)
            try:
                self.release_resources()
            finally:
                self._run_deferred_callbacks()

    def _serve_in_collector(self, enough: Callable[[], bool], deadline: float | None) -> None:
        """Go on collecting while a callback or finaliser that runs in this thread waits: see `nested_loops`."""
        self._waits += 1
        try:
            self._serve_nested(self._waits, enough, deadline, self._turn)
        finally:
            self._waits -= 1

    def _turn(self, limit: float | None = None) -> None:
        """Takes in and sends what there is, after waiting for it, for no longer than `limit` seconds.

        Wherever anything is called here, foreign code may run, and wait: then there is another turn within this one. So
        what is under way stands in the pool and the station, not in a frame of ours.
        """
        chair, desk = self._chair, self._desk
        assert chair is not None
        assert desk is not None
        timeout = None if self._kill_at is None else max(0.0, self._kill_at - clock.monotonic())
        if self._troubled:
            timeout = min(_PERIOD, timeout or _PERIOD)
        if limit is not None:
            timeout = min(limit, limit if timeout is None else timeout)
        spoken = False
        for descriptor, _ in self._poll.poll(self._until_next_look(timeout)):
            if descriptor == chair.number:
                spoken = True
            elif descriptor == self._bell.number:  # not kept here: an error's traceback would keep it open
                self._bell.hush()
            else:
                station = self._watched.get(descriptor)
                if station is not None and station.hired:
                    self._look_whether_ended(station)
        for station in list(self._troubled):
            if station.ending:
                self._look_whether_ended(station)
        self._look_now_and_then(chair)
        sitter = self._sitter
        came = chair.wants(sitter)  # in the turn that this one is within
        try:
            if (
                came
                or self._doubts
                or self._questions
                or self._troubled
                or any(station.dead for station in list(self._connections))
            ):
                self._claim(chair, sitter)
            elif not chair.take(sitter):  # somebody reads, and leaves the rest to us
                self._uneasy = self._uneasy or spoken
                spoken = False
            if chair.has(sitter):
                self._take_in(chair, sitter, spoken)
        finally:
            if not came:
                chair.leave(sitter)
        if desk.waiting:
            self._send_on(desk)
        self._run_deferred_callbacks()
        if self.broken_reason is not None or self.closing:
            self._close_down()

    def _take_in(self, chair: Leadership, sitter: LeaderTerm, spoken: bool) -> None:
        """Takes in what was read by others, what workers have said (if they have `spoken`), and who has ended."""
        for station in list(self._connections):
            if station.heard or station.rest:
                self._digest_heard(station)
        if spoken:
            for descriptor in chair.listen(sitter, 0):
                station_ = self._watched.get(descriptor)
                if station_ is not None:
                    self._read(station_)
        desk = self._desk
        assert desk is not None
        if desk.waiting:  # before what may take longer
            self._send_on(desk)
        while self._questions:
            station, number, answers = self._questions.popleft()
            self._read(station)
            answers.append(
                number in self.calls and desk.shown(station.worker_index) == number and station in self._workers
            )
        for station in list(self._troubled):
            if not station.ending:
                self._try_to_kill(station)
        for station in [s for s in list(self._connections) if s.dead]:
            self._reap(station)
        if self._doubts:
            self._weigh()

    def _digest_heard(self, station: _Station) -> None:
        """Takes in the frames that were read; for whoever has the chair."""
        while True:
            if station.heard:
                try:  # from taking it out to entering it, nothing is called after which foreign code could run
                    station.received += islice(iter(station.heard.popleft, None), 1)
                    station.rest = station.rest[station.next :] + station.received[0]
                    station.next = 0
                    del station.received[0]
                except IndexError:  # the thread that had read it has taken it in, and dropped it
                    pass
            if station.rest:
                (self._skim if station.nonsense else self._digest)(station)
            if not station.heard:
                return

    def _silence(self, station: _Station) -> None:
        """A worker has lost its voice: no call of it can end. It is killed, and nothing it says counts any more."""
        self._close_frames(station)
        if station.worker is not None and station.hired:
            if not station.leaving:
                station.worker.kill()
            station.ending = True
            self._troubled.add(station)

    def _look_whether_ended(self, station: _Station) -> None:
        """Believes the worker, not a channel, that it has ended; one of which a channel ended is asked until it has."""
        assert station.worker is not None
        station.dead = station.worker.ended()
        station.ending = not station.dead
        if station.ending:
            self._troubled.add(station)
            self._unwatch_sentinels(station)  # they would have us look without a pause

    def _read(self, station: _Station) -> None:
        """Reads what has accumulated from a worker."""
        if station.heard or station.rest:
            self._digest_heard(station)
        while station.frames >= 0:
            try:  # reading and entering it is one operation
                station.heard.extend(map(system.read, map(_FRAMES, (station,)), _SIZES))
                data = station.heard[-1]
            except IndexError:  # it has been taken in already
                continue
            except OSError:  # there is nothing more, or it was closed
                return
            self._digest_heard(station)
            if not data:
                self._silence(station)
                return
            if len(data) < _READ_SIZE:
                return

    def _digest(self, station: _Station) -> None:
        """Takes in the whole frames in `station.rest`.

        Foreign code that waits in here has us come here again, for what is left:

        1. whoever takes a frame moves `next` behind it first;
        2. whoever has taken any leaves another object in `rest`;
        3. who finds that, looks no more at what there was.
        """
        data, position = station.rest, station.next
        end = len(data)
        header, header_size = FRAME.unpack_from, FRAME.size
        calls, free, finished = self.calls, self._desk.free, 0  # type: ignore[union-attr]
        try:
            while end - position >= header_size:
                size, kind, number = header(data, position)
                start = position + header_size
                stop = start + size
                if stop > end:
                    self._check(station, size, kind, number)
                    break
                if station.rest is not data:
                    return
                station.next = stop
                if kind == RESULT_MARSHAL:
                    if not free(number):
                        self._check(station, size, kind, number)
                    finished += 1
                    value = error = None
                    try:
                        value = loads(data[start:stop])
                    except BaseException as exc:
                        error = exc
                    self.ending = calls.get(number)
                    future = calls.pop(number, None)  # from here on nothing can fail that would leave it without an end
                    if future is not None:  # or else the pool broke
                        future._cf_settle(value, error)
                    value = error = future = None
                else:
                    self._take(station, kind, number, data[start:stop])
                position = stop
        except MalformedFrame as exc:
            if station.rest is data:
                station.next = position
            self._hear_nonsense(station, exc)
            return
        finally:
            self.ending = None
            self.finished += finished
        if station.rest is data:
            station.rest = data[position:]
            station.next = 0

    def _hear_nonsense(self, station: _Station, nonsense: MalformedFrame) -> None:
        """A call of that worker, or what it uses, wrote to its descriptors."""
        station.nonsense = f"a call of it wrote what no worker writes to the pipe that leads to the pool: {nonsense}"
        station.cleared = False
        worker = station.worker
        if worker is None or worker.pid is not None:
            self._troubled.add(station)
        else:  # it can't be killed: we do with what can be understood
            self._doubt(WorkerLostError(worker=worker.name, message=station.nonsense))
        self._skim(station)

    def _skim(self, station: _Station) -> None:
        """As `_digest`, of a worker that talks nonsense: takes in what is about calls that are under way."""
        data, position = station.rest, station.next
        end = len(data)
        while end - position >= FRAME.size:
            if station.rest is not data:
                return
            station.next = position
            size, kind, number = FRAME.unpack_from(data, position)
            start = position + FRAME.size
            stop = start + size
            try:
                self._check(station, size, kind, number)
                if number and kind != PONG and number not in self.calls:
                    raise MalformedFrame
                if stop > end:
                    break
                if kind == RESULT_MARSHAL:
                    value = loads(data[start:stop])
                    if station.rest is not data:
                        return
                    station.next = stop
                    self._desk.free(number)  # type: ignore[union-attr]
                    self.finished += 1
                    self.finish_call(number, value, None)
                else:
                    if station.rest is not data:
                        return
                    station.next = stop
                    self._take(station, kind, number, data[start:stop])
            except (MalformedFrame, EOFError, ValueError, TypeError):
                station.cleared = False
                position += 1
            else:
                station.cleared = station.cleared or kind in (RESULT_MARSHAL, RESULT_PICKLE, RESULT_PAYLOAD, ERROR)
                position = stop
        if station.rest is data:
            station.rest = data[position:]
            station.next = 0

    def _try_to_kill(self, station: _Station) -> None:
        """Kills a worker that talks nonsense, if no call but the one that wrote it suffers; else it is tried again.

        1. It is stopped, and all that it has said is taken in: as in `kill_running`.
        2. If no call of it has ended since, it is in the call that wrote the nonsense.
        3. If one has, another may be its own now: it shows that, or holds a ticket that nobody shows.
        """
        desk, worker = self._desk, station.worker
        assert desk is not None
        if worker is None or worker.pid is None or not station.hired or station.condemned is not None:
            return
        if not self._condemning.acquire(blocking=False):  # by somebody who waits for us
            return
        try:
            if _stop(worker.pid):
                self._read(station)
                others = {desk.shown(other.worker_index) for other in list(self._connections) if other is not station}
                if not station.cleared or not desk.claimed().intersection(self.calls).difference(others):
                    self._silence(station)
        finally:
            with suppress(OSError):  # it has ended
                system.kill(worker.pid, signal.SIGCONT)
            self._condemning.release()

    def _take(self, station: _Station, kind: int, number: int, body: bytes) -> None:
        """Takes in any frame but a plain result."""
        plain = kind in (FETCH_PAYLOAD, RESULT_PAYLOAD) and station.ready and not body and number in self.calls
        if not plain and kind not in (RESULT_PICKLE, ERROR):
            self._check(station, len(body), kind, number)
        if kind in (RESULT_PICKLE, ERROR, RESULT_PAYLOAD):
            if kind == RESULT_PAYLOAD:
                value, error = self._decoded(station.channel.receive, number)
            else:
                value, error = self._outcome(kind, body)
            if not self._desk.free(number):  # type: ignore[union-attr]
                self._check(station, len(body), kind, number)
            self.finished += 1
            self.finish_call(number, value, error)
        elif kind == FETCH_PAYLOAD:
            self._send_payload(station, number)
        elif kind == PONG:
            station.present = max(station.present, number)
        elif kind in (CALL_STARTED, CALL_FINISHED):
            self._record_timing(kind, number, body, station.name)
        elif kind == READY:
            station.ready = True
            if instrumentation.enabled and station.worker is not None:
                instrumentation.worker_started(self.owner(), station.worker.name)
        elif kind == EXITING:
            self._on_worker_exiting(station)
        elif kind == INIT_FAILED:
            station.init_error = self._error_in(body)
            self._on_init_failed(station.init_error, station.worker)
        elif kind == FAILED:
            station.failure = self._error_in(body)

    def _check(self, station: _Station, size: int, kind: int, number: int) -> None:
        """Raises MalformedFrame unless that worker may send a frame with this head now."""
        check_head(size, kind, number, ready=station.ready, calls=self.highest_number(number))
        if kind == PONG and not 0 < number - PING <= self._rolls:
            raise MalformedFrame(f"an answer to a roll call that there was not, {number}")
        if kind == EXITING and self._held(station):
            raise MalformedFrame("the word of a worker that leaves, in the middle of a call")

    def _send_payload(self, station: _Station, number: int) -> None:
        future = self.calls.get(number)
        payload = None if future is None else future._body
        try:
            if payload is None:  # the pool is broken
                station.channel.refuse(number)
            else:
                station.channel.send(number, payload)
        except ConnectionError:  # the worker is dead, or can't be reached any more: so are its calls
            self._silence(station)
            return
        except OSError as exc:
            if future is not None:
                self._desk.free(number)  # type: ignore[union-attr]
                self.finish_call(number, None, exc)
            try:
                station.channel.refuse(number)
            except OSError:
                pass  # it is dead, or will be: it can't go on without an answer
            return
        if future is not None:
            future._body = None

    def _on_worker_exiting(self, station: _Station) -> None:
        """A worker leaves: another may take its place before it has ended."""
        station.leaving = True
        self._give_up_berth(station)
        if station.worker is not None:
            station.worker.mark_exiting()
        self._replace_worker()

    # ── losses ───────────────────────────────────────────────────────────────────────────────────────────

    def _reap(self, station: _Station) -> None:
        """Takes in the end of a worker, whatever the reason, and sees to every call that it may have held."""
        worker = station.worker
        assert worker is not None
        self._read(station)
        if station not in self._connections:  # a turn within this one has done so
            return
        held = self._held(station)
        self._remove_worker(station)
        code = worker.reap()
        if (station.leaving and not held) or self._stopping:
            self._replace_worker()
            return
        if station.init_error is not None:
            return  # the pool is broken, and says so
        if station.failure is not None and not station.ready:
            self._do_without(station.failure)
            return
        loss = WorkerLostError(pid=worker.pid, exitcode=code, worker=worker.name)
        loss.__cause__ = station.failure
        if station.nonsense:
            loss.add_note(station.nonsense)
        if station.condemned is not None and not self.forced:
            number, verdict = station.condemned
            if number in self.calls:  # `kill_running`: it was in that, and so held no other
                self._lose(number, verdict)
                self._replace_worker()
                return
        else:
            if instrumentation.enabled:
                instrumentation.worker_lost(self.owner(), worker.name, loss)
            if not station.ready:
                loss.add_note(self.not_ready_hint)
            if not self._on_worker_lost(loss, ready=station.ready):
                return
        # Also if it was running one, by step 2 of `serve_shared_queue`: what it showed may have been overwritten.
        self._doubt(loss)
        if held:
            self._lose(held, loss)
        self._replace_worker()

    def _held(self, station: _Station) -> int:
        """Returns the call that a worker shows, if that is under way; 0 if there is none, or that can't be.

        The board may have been overwritten: of a call that another worker shows as well, neither is believed.
        """
        desk = self._desk
        assert desk is not None
        shown = desk.shown(station.worker_index) if station in self._workers else 0
        if shown not in self.calls or shown not in desk.claimed():
            return 0
        others = (other for other in list(self._connections) if other is not station and other in self._workers)
        return 0 if any(desk.shown(other.worker_index) == shown for other in others) else shown

    def _lose(self, number: int, loss: BaseException) -> None:
        self._desk.free(number)  # type: ignore[union-attr]
        self.finish_call(number, None, loss)

    def kill_running(self, future: CallFuture[Any], verdict: BaseException) -> bool:
        desk, number = self._desk, future._number
        if desk is None:
            return False
        self.step_down()
        for station in list(self._connections):
            worker = station.worker
            if worker is None or worker.pid is None or desk.shown(station.worker_index) != number:
                continue
            # A worker that shows the call may have written its result, and claimed another one since:
            #
            # 1. it is stopped: from here on it neither writes nor claims;
            # 2. the collector takes in what it had written; if the call has no result then, the worker is in it;
            # 3. it is killed; or it goes on, also if a signal handler interrupts us by an exception.
            with self._condemning:
                go_on = partial(system.kill, worker.pid, signal.SIGCONT)
                try:
                    if station.condemned is None and _stop(worker.pid) and self._is_in(station, number):
                        station.condemned = number, verdict
                    if station.condemned is not None and station.condemned[0] == number:
                        worker.kill()  # if it was interrupted before that, it is done now
                        return True
                finally:  # by one call in C: a handler that raises can only come before or after it
                    try:
                        go_on()
                    except OSError:  # it has ended
                        pass
        return False

    def _is_in(self, station: _Station, number: int) -> bool:
        """Returns whether a stopped worker is in that call; False if nobody has the time to find out."""
        answers: list[bool] = []
        self._questions.append((station, number, answers))
        deadline = clock.monotonic() + _GRACE
        while not answers and clock.monotonic() < deadline:
            if station.dead:
                return False
            self.wake()
            time.sleep(0.0005)
        return answers == [True]

    def _doubt(self, loss: WorkerLostError) -> None:
        """A worker was lost between steps 3 and 2: it may have claimed a call that nobody knows of."""
        self._rolls += 1
        suspects = {s for s in list(self._connections) if not s.leaving}
        doubt = _Doubt(self._rolls | PING, self._desk.claimed(), suspects, loss)  # type: ignore[union-attr]
        for other in self._doubts:  # the lost worker can't answer any more: it is in doubt together with the other
            other.losses.append(loss)
        self._doubts.append(doubt)

    def _weigh(self) -> None:
        """Narrows the doubts down.

        What a worker shows is read before its frames: if it shows a call that has no result afterwards, then it
        runs that one, and the results of all that it claimed before were in its pipe.
        """
        desk = self._desk
        assert desk is not None
        suspects = set[_Station]().union(*(doubt.suspects for doubt in self._doubts))
        shown = {station: desk.shown(station.worker_index) for station in suspects if station in self._workers}
        for station in suspects:
            self._read(station)
        for doubt in list(self._doubts):
            if doubt not in self._doubts:  # callbacks of those that were lost have had us come here
                continue
            doubt.calls.intersection_update(self.calls)
            doubt.calls.difference_update(shown.values())
            for station in list(doubt.suspects):
                excused = station not in self._workers or shown.get(station) in self.calls
                if excused or station.present >= doubt.number:
                    doubt.suspects.discard(station)
            if not doubt.calls:
                self._doubts.remove(doubt)
            elif not doubt.suspects:
                self._doubts.remove(doubt)
                for index, number in enumerate(sorted(doubt.calls)):
                    self._lose(number, doubt.losses[min(index, len(doubt.losses) - 1)])
            else:
                desk.call_roll(doubt.number, len(doubt.suspects))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def _close_down(self) -> None:
        """Brings the workers to their end once the calls have ended or failed."""
        desk = self._desk
        assert desk is not None
        if self.broken_reason is not None:
            if not self._stopping:
                if not self._stop_starting():
                    return
                self._stopping = True
                desk.withdraw_all()
                self.end_workers("terminate")
                self._kill_at = clock.monotonic() + _GRACE
            elif self._kill_at is not None and clock.monotonic() >= self._kill_at:
                self.end_workers("kill")
                self._kill_at = None
            return
        if not self.calls and not self._stopping and self._stop_starting():
            self._stopping = True
            desk.send_all(STOP, len(self._connections))

    def wake(self) -> None:
        bell = self._bell
        if bell is not None:
            bell.ring()

    def end_workers(self, how: str) -> None:
        for station in list(self._connections):
            if station.worker is not None:
                getattr(station.worker, how)()

    def release_resources(self, *, in_child: bool = False) -> None:
        bell, self._bell = self._bell, None
        if bell is None:
            return
        chair = self._chair
        assert chair is not None
        sitter = LeaderTerm()
        if not in_child:
            self._claim(chair, sitter)  # nobody listens any more
            for listener in chair.sitters():
                self._defer_callbacks(listener)
        chair.close(in_child=in_child)
        system.close(self._parent_death_pipe_end)
        self._poll.close()  # before what it watches: in a child, nothing may be unregistered in the parent's name
        for station in list(self._connections):
            if (frames := station.take_frames()) >= 0:
                system.close(frames)
            station.channel.close()
        self._connections.clear()
        self._workers.clear()
        desk = self._desk
        assert desk is not None
        desk.disown() if in_child else desk.close_ours()
        if not (in_child and self.thread is None):  # a worker that was just forked needs the rest
            system.close(self._parent_death_pipe)
            desk.close()


def _stop(pid: int) -> bool:
    """Stops a process, and returns whether it has stopped; False if it has ended, or that can't be known."""
    try:
        system.kill(pid, signal.SIGSTOP)
        deadline = clock.monotonic() + _GRACE
        while clock.monotonic() < deadline:
            stat = system.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
            try:
                state = system.read(stat, 1024).rpartition(b")")[2].split()[0]
            finally:
                system.close(stat)
            if state in b"Tt":
                return True
            if state in b"ZX":
                return False
            time.sleep(0.0002)
    except OSError:
        pass
    return False
