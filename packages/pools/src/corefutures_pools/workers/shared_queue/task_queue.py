"""`TaskQueue`: the pipe that carries task descriptors to all workers of one pool, and how a task is revoked from it.

Touches `messages`, `Arena` and the kernel (Linux). Guarantees: a task descriptor is read by one worker or revoked here,
never both; descriptors are written in the order of the calls; nothing here waits for a worker; a thread that is
interrupted at any point here, for however long, keeps nothing that the others need (F8).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from collections import deque
from contextlib import ExitStack
from functools import partial
from io import FileIO
from itertools import chain, filterfalse, islice, repeat, starmap, takewhile, tee
from operator import attrgetter, itemgetter
from struct import Struct

from corefutures._blocking import threading

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import system
from corefutures_pools.descriptors import above_standard
from corefutures_pools.workers.messages import PAYLOAD_SIZE, TASK
from corefutures_pools.workers.shared_queue.arena import HUGE, Arena
from corefutures_pools.workers.shared_queue.status_table import StatusTable

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final

    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.payload import Payload

#: Tasks that may be in the pipe besides one for each worker: they keep workers busy while the pool's process has no
#: processor. They cost nothing in fairness: any worker claims the next one, and any of them can be revoked.
_AHEAD: Final = 1024
_LARGE_AHEAD: Final = 128
_HUGE_AHEAD: Final = 2
#: No arena has more huge slots; where that are fewer than two for each worker, other payloads don't wait for one.
_HUGE_AT_MOST: Final = 64
#: Bytes: an atomic write to a pipe is at most so large.
_ATOMIC: Final = 4096
#: Descriptors that are written together at most.
_BATCH: Final = _ATOMIC // TASK.size
#: Bytes: all that a pipe holds, as a rule.
_READ_SIZE: Final = 1 << 16

#: The two ways in which a drained pipe is parsed: the numbers of the tasks, and the descriptors whole.
_NUMBERS: Final = Struct(f"=Q{TASK.size - 8}x")
_WHOLE: Final = Struct(f"={TASK.size}s")

_NO_ARGUMENTS: Final = ((),)
_is_encoded: Final = attrgetter("_cf_dispatched")
_DESCRIPTOR: Final = itemgetter(0)
_NUMBER: Final = itemgetter(1)


class TaskQueue:
    """The pipe of task descriptors of one pool, and the arena in which the serialised calls lie.

        backlog ──encode──▶ encoded ──flush──▶ pipe ──a worker reads──▶ claimed
                               │        ▲       │
                               │        │     drain
                               │        └── read_back
                             revoke             │
                               └──▶ revoked ◀───┘

    States of a task, each a place where its descriptor is. A move from one place to the next is one operation of the
    interpreter, which no signal handler, finaliser or other thread can split. So a thread that is interrupted leaves
    every task in one of these places, and any other thread can go on with it:

    1. *queued*: in the backlog. Its descriptor is in `encoded`, or there was no slot for it, and it is in `_unencoded`.
       While there may be a task without a slot, later tasks take no slot either: the result thread encodes them.
    2. *posted*: in the pipe. `flush` moves descriptors there.
    3. *read back*: the pool has drained the pipe, and `flush` writes the descriptor again, before all others.
    4. *claimed*: a worker has read the descriptor; the arena's `slots` alone know of the task here.
    5. *revoked*, from `encoded` or `read_back`: the call is to be cancelled, its descriptor is never written any more.

    A control descriptor, STOP or PING, belongs to no call: it is in the pipe or in `read_back`, and is never revoked.
    It goes to `read_back` as many times as it was written, however many of them were read.

    The pipe is never full: a descriptor needs a slot, and there are no more slots than descriptors go into the pipe.

    Steps that a signal handler must not split are one call in C: iterators that do the work are made beforehand,
    and then exhausted by `deque`, `islice` or `extend`.

    Args:
        workers: How many workers there may be at a time.
        backlog: The calls that are to be sent, in order; taken out here, added at the right elsewhere.

    Thread safety: every method may be called from any thread, signal handler or finaliser that interrupts another of
    them, if it doesn't say otherwise.
    """

    def __init__(self, workers: int, backlog: deque[CallFuture[Any]]) -> None:
        with ExitStack() as opened:  # closed again unless all of it can be had
            self.reader, inlet = map(above_standard, system.pipe())  # the workers' end; the pool's
            opened.callback(system.close, self.reader)
            self._inlet = opened.enter_context(FileIO(inlet, "wb"))
            system.set_blocking(inlet, False)
            # A file description of our own of the workers' end: O_NONBLOCK belongs to the description.
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            outlet = FileIO(above_standard(system.open(f"/proc/self/fd/{self.reader}", flags)), "rb")
            self._outlet = opened.enter_context(outlet)
            capacity = _pipe_capacity(inlet, _AHEAD + 8 * workers + 2 * _LARGE_AHEAD + _HUGE_AHEAD)
            large = min(_LARGE_AHEAD + 2 * workers, capacity // 8)
            huge = min(_HUGE_AHEAD + 2 * workers, capacity // 8, _HUGE_AT_MOST)
            small = max(1, min(_AHEAD + workers, capacity - 2 * large - huge - workers))
            self.arena = Arena(StatusTable.size_for(workers, mmap.PAGESIZE), small, large, huge)
            self._huge_suffice = huge >= 2 * workers
            opened.pop_all()
        self._open = True
        self._backlog = backlog
        self._unencoded: deque[CallFuture[Any]] = deque()
        self._full = False  # there may be unencoded tasks
        self.encoded: dict[int, bytes] = {}  # number → descriptor, as in the next one
        self.read_back: dict[int, bytes] = {}
        self.revoked: dict[int, int] = {}  # number → the thread that cancels the call
        self._control: dict[int, bytes] = {}  # STOP and PINGs that were written: the descriptors for all workers meant
        self._renew_lock()

    def _renew_lock(self) -> None:
        # Guards the order in the pipe. Acquired and released within one operation, in which all that is written or
        # drained passes the pipe: a thread that waits for it waits for no more than that. Reentrant, because CPython
        # 3.11 may run a finaliser wherever an object is made.
        self._lock = threading.RLock()
        self._acquire = starmap(self._lock.acquire, repeat(()))
        self._release = starmap(self._lock.release, repeat(()))

    # ── posting ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def has_work(self) -> bool:
        """Whether there is anything to be done here."""
        return bool(self._backlog or self.read_back or self.revoked or self._unencoded)

    @property
    def sent(self) -> int:
        """How many tasks are in the pipe, or at workers."""
        return len(self.arena.slots) - len(self.encoded) - len(self.read_back)

    def encode(self, future: CallFuture[Any]) -> None:
        """Make the descriptor of a call that only the submitting thread knows, or leave that to the result thread.

        1. A submitter without a slot enters its call into `_unencoded`, then sets `_full`.
        2. The result thread clears `_full`, then goes through `_unencoded`, and sets it again if that is not empty.

        So there is no unencoded task without `_full`, and the slots of calls that end go to the oldest tasks.
        """
        if self._full or not self._encode(future):
            self.defer_encoding(future)
        else:
            future._cf_dispatched = True

    def defer_encoding(self, future: CallFuture[Any]) -> None:
        """Leave it to the result thread to encode a call; it is no error to do so twice."""
        future._postponed = True
        self._unencoded.append(future)
        self._full = True

    def encode_deferred(self) -> list[CallFuture[Any]]:
        """Encode the tasks that were left to the result thread, as far as there are slots. For the result thread.

        Returns:
            Those of the calls that were cancelled.

        A cancellation comes either before `_cf_try_dispatch`: the call is not sent, so only its state changes, and
        this method finds it cancelled. Or it comes after that, and finds the descriptor in `encoded`.
        """
        cancelled: list[CallFuture[Any]] = []
        self._full = False
        while self._unencoded:
            future = self._unencoded[0]
            number = future._number
            if not (future._cf_dispatched or future.done()):
                if not self._encode(future):
                    self._full = True
                    break
                if not future._cf_try_dispatch():
                    self.encoded.pop(number, None)
                    self.arena.free(number)
            self._unencoded.popleft()
            if not future._cf_dispatched:  # it would be in the way
                cancelled.append(future)
                try:
                    self._backlog.remove(future)
                except ValueError:  # the pool broke
                    pass
        return cancelled

    def _encode(self, future: CallFuture[Any]) -> bool:
        """Make a descriptor; return False if no slot is free, or the queue is closed."""
        number, body = future._number, future._body
        try:
            if isinstance(body, bytes):
                size = len(body)
                offset = self.arena.store(number, body)
            else:
                assert body is not None
                size, offset = self._place(number, body)
        except (IndexError, ValueError):  # no slot is free; or closed
            return False
        if size != PAYLOAD_SIZE:
            future._body = None
        self.encoded[number] = TASK.pack(number, offset, size)
        return True

    def _place(self, number: int, payload: Payload) -> tuple[int, int]:
        """Return size and offset of a payload for its descriptor; its body stays with its call unless it fits a slot.

        Raises:
            IndexError: No slot is free.
            ValueError: The arena is closed.
        """
        size = payload.size_in_memory()
        if 0 < size <= HUGE:
            try:
                return size, self.arena.store_payload(number, payload)
            except IndexError:
                if self._huge_suffice:
                    raise
        self.arena.reserve(number)
        return PAYLOAD_SIZE, 0

    def flush(self) -> None:
        """Write descriptors to the pipe, those that were read back first.

        A thread that adds a call to the backlog flushes afterwards, or knows that the result thread will. So this
        method need not check again at its end. It is re-entrant: a signal handler that flushes finishes what it has
        interrupted.
        """
        while self._open:
            backlog = self._backlog
            try:
                if self.read_back:
                    self._write(self.read_back, sorted(self.read_back)[:_BATCH])
                    continue
                futures = list(takewhile(_is_encoded, islice(backlog, _BATCH)))
            except RuntimeError:  # another thread has added or removed a call meanwhile, without the GIL
                continue
            if not futures:
                return
            if self.encoded:  # or else another thread writes them just now
                self._write(self.encoded, [future._number for future in futures])
            for future in futures:  # hints only: what counts is `encoded`
                try:
                    backlog.remove(future)
                except ValueError:  # another thread has removed it
                    pass
            if len(futures) < _BATCH:
                return

    def _write(self, descriptors: dict[int, bytes], numbers: list[int]) -> None:
        """Move those of the descriptors that are still there into the pipe."""
        taken = map(descriptors.pop, numbers, repeat(b""))
        step = zip(self._acquire, map(self._inlet.write, map(b"".join, (taken,))), self._release, strict=False)
        try:
            ((_, written, _),) = islice(step, 1)
        except BaseException:
            self._release_after_failure()
            if self._open:
                raise
            return  # no worker could read them any more
        if written is None:
            raise BlockingIOError("the pipe of tasks is full")

    def _release_after_failure(self) -> None:
        """Release the lock after an operation that failed."""
        try:
            self._lock.release()
        except RuntimeError:  # it failed before it had the lock
            pass

    def send_control(self, control: int, times: int) -> None:
        """Write STOP, or a PING, for so many workers. For the result thread."""
        self._control[control] = self.read_back[control] = TASK.pack(control, 0, 0) * times
        self._write(self.read_back, [control])

    def ping(self, ping: int, workers: int) -> None:
        """Write a PING for so many workers, unless it is still there to be read. For the result thread."""
        self.drain()
        if ping not in self.read_back:
            self.send_control(ping, workers)
        self.flush()

    # ── revoking ─────────────────────────────────────────────────────────────────────────────────────────

    def revoke(self, number: int, rewrite: int = _BATCH) -> bool:
        """Move a task to `revoked` if no worker has claimed it; return whether it is there.

        Args:
            number: The call's.
            rewrite: How many of the descriptors that have to be read back for that are in the pipe again when it is
                done; the rest is in `read_back`.
        """
        self._atomically((self._revoke_step(self.encoded, (number,)), self._revoke_step(self.read_back, (number,))))
        if number not in self.revoked and number in self.arena.slots:
            revoke = self._revoke_step(self.read_back, (number,))
            self._atomically((self._drain_step(), revoke, self._rewrite_step(rewrite)))
        return number in self.revoked

    def revoke_all(self) -> None:
        """Move all tasks to `revoked` that no worker has claimed."""
        tasks = [
            filterfalse(self._control.__contains__, chain.from_iterable(map(list, (descriptors,))))  # as they are then
            for descriptors in (self.encoded, self.read_back)
        ]
        revoke = self._revoke_step(self.encoded, tasks[0]), self._revoke_step(self.read_back, tasks[1])
        self._atomically((self._drain_step(), *revoke, self._rewrite_step(_BATCH)))

    def claimed(self, calls: Iterable[int]) -> set[int]:
        """Return those of the calls whose descriptors workers have read. For the result thread.

        Other threads post meanwhile, so a call that moves on must not be missed in each place:

        1. `calls` were entered in the pool's table before: their encoding is over.
        2. The calls in `encoded` are noted; from there they move to the pipe.
        3. The pipe is drained and what was read back is noted in one operation: no thread posts in between.

        Args:
            calls: The calls in question.
        """
        known = {*calls}
        waiting = {*self.encoded.copy()}
        self._atomically((self._drain_step(), map(waiting.update, (self.read_back,))))
        return known.intersection(self.arena.slots.copy()).difference(waiting, self.revoked.copy())

    def drain(self) -> None:
        """Move every descriptor that no worker has read to `read_back`."""
        self._atomically((self._drain_step(),))

    def _atomically(self, steps: Iterable[Iterator[Any]]) -> None:
        """Take steps as one operation, under the lock: no thread writes or drains between them."""
        if not self._open:
            return
        acquire, release = starmap(self._lock.acquire, _NO_ARGUMENTS), starmap(self._lock.release, _NO_ARGUMENTS)
        try:
            deque(chain(acquire, chain.from_iterable(steps), release), 0)
        except BaseException:
            self._release_after_failure()
            if self._open:
                raise

    # Steps: each is an iterator, which does its work when it is advanced.

    def _drain_step(self) -> Iterator[Any]:
        """Move every descriptor in the pipe to `read_back`."""
        first, second = tee(iter(partial(self._outlet.read, _READ_SIZE), None))
        numbers, same = tee(chain.from_iterable(chain.from_iterable(map(_NUMBERS.iter_unpack, first))))
        single = chain.from_iterable(chain.from_iterable(map(_WHOLE.iter_unpack, second)))
        descriptors: Iterator[Any] = map(
            self._control.get, same, single
        )  # of a control descriptor, all copies that were written
        return map(self.read_back.update, (zip(numbers, descriptors, strict=False),))

    def _revoke_step(self, descriptors: dict[int, bytes], numbers: Iterable[int]) -> Iterator[Any]:
        """Move those of the tasks to `revoked` whose descriptors are in `descriptors`."""
        numbers, same = tee(numbers)
        taken = filter(_DESCRIPTOR, zip(map(descriptors.pop, numbers, repeat(b"")), same, strict=False))
        return map(self.revoked.update, (zip(map(_NUMBER, taken), repeat(threading.get_ident()), strict=False),))

    def _rewrite_step(self, most: int) -> Iterator[Any]:
        """Move so many descriptors of `read_back` into the pipe, those of the lowest numbers first."""
        numbers = chain.from_iterable(map(sorted, (self.read_back,)))
        descriptors = map(self.read_back.pop, islice(numbers, min(most, _BATCH)), repeat(b""))
        return map(self._inlet.write, map(b"".join, (descriptors,)))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def discard(self, number: int) -> None:
        """Drop a task that will not be sent, and give back its slot."""
        self.encoded.pop(number, None)
        self.arena.free(number)

    def close_pool_end(self) -> None:
        """Close the pool's ends; a worker that was just forked goes on with the others."""
        self._open = False
        with self._lock:
            self._inlet.close()
            self._outlet.close()

    def after_fork_in_child(self) -> None:
        """Close the pool's ends in a forked child, whatever thread was writing in the parent."""
        self._renew_lock()
        self.close_pool_end()

    def close(self) -> None:
        """Close everything."""
        self.close_pool_end()
        system.close(self.reader)
        self.arena.close()


def _pipe_capacity(inlet: int, wanted: int) -> int:
    """Enlarge a pipe for so many descriptors, if that can be done; return how many it holds in any case.

    A pipe is made of pages. A write that doesn't fit into the rest of a page begins another, and a page that was read
    in part is not free yet: so each page but one is good for a little more than half of what goes into it.
    """
    page = mmap.PAGESIZE // TASK.size // 2
    capacity = fcntl.fcntl(inlet, getattr(fcntl, "F_GETPIPE_SZ", 1032))
    pages = -(-wanted // page) + 1
    if capacity < pages * mmap.PAGESIZE:
        try:
            capacity = fcntl.fcntl(inlet, getattr(fcntl, "F_SETPIPE_SZ", 1031), pages * mmap.PAGESIZE)
        except OSError:  # the user has too many pipes, or it would be larger than is allowed
            pass
    return max(3, (capacity // mmap.PAGESIZE - 1) * page)
