"""`TaskQueue`: where tickets for calls are written, and taken back, and where the calls' bodies lie.

Touches `frames` and the kernel (Linux). Guarantees: a ticket is read by one worker or taken back here, never both;
tickets are written in the order of the calls; nothing here waits for a worker; a thread that is interrupted at any
point here, for however long, keeps nothing that the others need (F8).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import threading
from collections import deque
from contextlib import ExitStack
from functools import partial
from io import FileIO
from itertools import chain, filterfalse, islice, repeat, starmap, takewhile, tee
from operator import attrgetter, itemgetter
from struct import Struct

from corefutures._blocking import system
from corefutures_pools.descriptors import lifted
from corefutures_pools.workers.messages import PAYLOAD_SIZE, TASK
from corefutures_pools.workers.serialization import INLINE_LIMIT

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final

    from corefutures_pools.workers.future import CallFuture

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

#: Bytes: bodies that fit into a small cell lie in one, larger ones in a large cell, the largest are payloads.
_SMALL: Final = 512
_LARGE: Final = INLINE_LIMIT
#: Tickets that may be out besides one for each worker: what keeps workers busy while the pool's process has
#: no time for them. They cost nothing in fairness, since any worker takes the next one, and any can be taken back.
_AHEAD: Final = 1024
_LARGE_AHEAD: Final = 16
#: Bytes: an atomic write to a pipe is at most so large.
_ATOMIC: Final = 4096
#: Tickets that are written together at most.
_TOGETHER: Final = _ATOMIC // TASK.size
#: Bytes: all that a pipe holds, as a rule.
_READ_SIZE: Final = 1 << 16

#: The two ways in which a drained pipe is read: the numbers of the tickets, and the tickets whole.
_NUMBERS: Final = Struct(f"=Q{TASK.size - 8}x")
_WHOLE: Final = Struct(f"={TASK.size}s")

_NO_ARGUMENTS: Final = ((),)
_is_prepared: Final = attrgetter("_cf_dispatched")
_TICKET: Final = itemgetter(0)
_NUMBER: Final = itemgetter(1)


class TaskQueue:
    """The arena, the board and the pipe of tickets of one pool.

    Args:
        workers: How many workers there may be at a time.
        backlog: The calls that are to be sent, in order; taken out here, added at the right elsewhere.

    Where a call is, from `prepare` on. A move from one place to the next is one operation of the interpreter, which
    no signal handler, no finaliser and no other thread comes into; so whoever comes meanwhile finds every call in a
    place, and goes on with it himself:

    1. `ready`: its ticket is made, and it is in the backlog, or about to be put there;
    2. in the pipe, moved there by whoever posts (`_write`);
    3. a worker has read the ticket: the call is the worker's, and `out` alone knows of it here. Or
    4. `returned`: somebody has read it back (`_drained`), and whoever posts moves it into the pipe again, first;
    5. `withdrawn`, from 1 or 4: it is to be cancelled, and no ticket of it can be written any more.

    A call for which there is no cell stays in the backlog unprepared, and no call behind it is sent. The collector
    prepares it, alone.

    A word for the workers, STOP or a roll call, belongs to no call: it is in the pipe or in `returned`, and never
    `withdrawn`. It goes to `returned` as many times as it was written, however many of them were read.

    The pipe is never full: a ticket needs a cell, and there are no more cells than go into it.

    Thread safety: every method may be called from any thread, signal handler or finaliser that interrupts another of
    them, if it doesn't say otherwise.
    """

    def __init__(self, workers: int, backlog: deque[CallFuture[Any]]) -> None:
        with ExitStack() as opened:  # closed again unless all of it can be had
            self.tickets, inlet = map(lifted, system.pipe())  # the workers' end; ours
            opened.callback(system.close, self.tickets)
            self._inlet = opened.enter_context(FileIO(inlet, "wb"))
            system.set_blocking(inlet, False)
            # A description of our own of the workers' end: O_NONBLOCK belongs to the description.
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            outlet = FileIO(lifted(system.open(f"/proc/self/fd/{self.tickets}", flags)), "rb")
            self._outlet = opened.enter_context(outlet)
            self._lay_out(workers, _room_in(inlet, _AHEAD + 6 * workers + 2 * _LARGE_AHEAD))
            # Sparse: memory is taken as cells are used. It has no name: nothing can be left behind.
            self.memory = lifted(system.memfd_create("corefutures", os.MFD_CLOEXEC))
            opened.callback(system.close, self.memory)
            system.ftruncate(self.memory, self.size)
            # A mapping has a descriptor of its own, unless it is told to do without.
            untracked: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
            self._map = opened.enter_context(mmap.mmap(self.memory, self.size, **untracked))
            opened.pop_all()
        self._open = True
        # For each worker the number of a call; in the second quarter, when the worker claimed that; in the second half
        # a number again: the worker that runs that call is asked to stop.
        board = memoryview(self._map)[: self.status_size].cast("Q")
        self._since = board[len(board) // 4 :]
        self._status_table, self._asked = board[:workers], board[len(board) // 2 :]
        self._backlog = backlog
        # The calls that found no cell. While there may be any, those that come later don't take one before them.
        self._unprepared: deque[CallFuture[Any]] = deque()
        self._scarce = False
        self.ready: dict[int, bytes] = {}  # number → ticket, as in the next one
        self.returned: dict[int, bytes] = {}
        self.withdrawn: dict[int, int] = {}  # number → the thread that cancels it
        self._words: dict[int, bytes] = {}  # STOP and roll calls that were written: the tickets for all who are meant
        # Taken and given back within one operation, in which all that is written or drained passes the pipe: who waits
        # for it waits for no more than that, and tickets are written in the order in which they were chosen. Reentrant,
        # because CPython 3.11 may run a finaliser wherever an object is made.
        self._renew_lock()

    def _lay_out(self, workers: int, room: int) -> None:
        """Divides the memory, for no more tickets than there is room for."""
        status_size = -(-32 * workers // mmap.PAGESIZE) * mmap.PAGESIZE
        large, small = _LARGE_AHEAD + 2 * workers, _AHEAD + workers
        large = min(large, room // 8)
        small = max(1, min(small, room - 2 * large - workers))
        large_start = status_size + -(-small * _SMALL // _LARGE) * _LARGE
        self.status_size = status_size
        self.size = large_start + large * _LARGE
        self._large_start = large_start
        self._small_cells = [status_size + i * _SMALL for i in reversed(range(small))]
        self._large_cells = [large_start + i * _LARGE for i in reversed(range(large))]
        self._payloads = [0] * large  # as cells of no size: their bodies lie elsewhere
        self._take_small = starmap(self._small_cells.pop, repeat(()))
        self._take_large = starmap(self._large_cells.pop, repeat(()))
        self._take_payload = starmap(self._payloads.pop, repeat(()))
        self.out: dict[int, int] = {}  # the calls that have cells, and the offsets of these (0: a payload)

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()
        self._begin = starmap(self._lock.acquire, repeat(()))
        self._end = starmap(self._lock.release, repeat(()))

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def waiting(self) -> bool:
        """Whether there is anything to be done here."""
        return bool(self._backlog or self.returned or self.withdrawn or self._unprepared)

    @property
    def sent(self) -> int:
        """How many calls have tickets in the pipe, or at workers."""
        return len(self.out) - len(self.ready) - len(self.returned)

    def prepare(self, future: CallFuture[Any]) -> None:
        """Makes the ticket of a call that nobody else knows of yet, or leaves that to the collector.

        1. A submitter without a cell enters its call into `_unprepared`, then sets `_scarce`.
        2. The collector clears `_scarce`, then goes through `_unprepared`, and sets it again if that is not empty then.

        So there is no unprepared call without `_scarce`, and the cells of calls that end go to the oldest ones.
        """
        if self._scarce or not self._make_ticket(future):
            self.postpone(future)
            return
        future._cf_dispatched = True

    def postpone(self, future: CallFuture[Any]) -> None:
        """Leaves it to the collector to make the ticket of a call; it is no error to do so twice."""
        future._postponed = True
        self._unprepared.append(future)
        self._scarce = True

    def prepare_waiting(self) -> list[CallFuture[Any]]:
        """Makes the tickets that were left to the collector, as far as there are cells. For the collector.

        Returns:
            Those of the calls that were cancelled.

        A cancellation comes either before `_cf_try_dispatch`: the call is not sent, so only its state changes, and we
        find out here. Or it comes after that, and finds the ticket in `ready`.
        """
        cancelled: list[CallFuture[Any]] = []
        self._scarce = False
        while self._unprepared:
            future = self._unprepared[0]
            number = future._number
            if not (future._cf_dispatched or future.done()):
                if not self._make_ticket(future):
                    self._scarce = True
                    break
                if not future._cf_try_dispatch():
                    self.ready.pop(number, None)
                    self.free(number)
            self._unprepared.popleft()
            if not future._cf_dispatched:  # it would be in the way
                cancelled.append(future)
                try:
                    self._backlog.remove(future)
                except ValueError:  # the pool broke
                    pass
        return cancelled

    def _make_ticket(self, future: CallFuture[Any]) -> bool:
        """Makes a ticket; returns False if there is no cell, or nothing here any more."""
        number, body, out = future._number, future._body, self.out
        try:
            if type(body) is bytes:
                size = len(body)
                # Nothing is called between taking a cell and entering it, after which a signal handler may raise.
                for out[number] in self._take_small if size <= _SMALL else self._take_large:
                    break
                offset = out[number]
                self._map[offset : offset + size] = body
                future._body = None
            else:
                size = PAYLOAD_SIZE
                for out[number] in self._take_payload:
                    break
                offset = 0
        except (IndexError, ValueError):  # there is none; or closed
            return False
        self.ready[number] = TASK.pack(number, offset, size)
        return True

    def post(self) -> None:
        """Writes tickets, those that were taken back first.

        Whoever adds a call to the backlog posts afterwards, or knows that the collector will. So nobody need look again
        here.
        """
        while self._open:
            backlog = self._backlog
            try:
                if self.returned:
                    self._write(self.returned, sorted(self.returned)[:_TOGETHER])
                    continue
                futures = list(takewhile(_is_prepared, islice(backlog, _TOGETHER)))
            except RuntimeError:  # another thread has added or removed a call meanwhile, without the GIL
                continue
            if not futures:
                return
            if self.ready:  # or else another thread writes them just now
                self._write(self.ready, [future._number for future in futures])
            for future in futures:  # hints only: what counts is `ready`
                try:
                    backlog.remove(future)
                except ValueError:  # somebody else has
                    pass
            if len(futures) < _TOGETHER:
                return

    def _write(self, tickets: dict[int, bytes], numbers: list[int]) -> None:
        """Moves those of the tickets that are still there into the pipe."""
        taken = map(tickets.pop, numbers, repeat(b""))
        step = zip(self._begin, map(self._inlet.write, map(b"".join, (taken,))), self._end, strict=False)
        try:
            ((_, written, _),) = islice(step, 1)
        except BaseException:
            self._give_back_lock()
            if self._open:
                raise
            return  # there is nobody any more who could read them
        if written is None:
            raise BlockingIOError("the pipe of tickets is full")

    def _give_back_lock(self) -> None:
        """Does what was left out of an operation that failed."""
        try:
            self._lock.release()
        except RuntimeError:  # it failed before
            pass

    def free(self, number: int) -> bool:
        """Gives back the cell of a call that has ended, or will not be sent; returns whether it had one."""
        out = self.out
        offset = out.get(number)
        if offset is None:
            return False
        cells = self._large_cells if offset >= self._large_start else self._small_cells if offset else self._payloads
        try:
            cells.extend(map(out.pop, (number,)))
        except KeyError:  # somebody else has
            return False
        return True

    def send_all(self, word: int, times: int) -> None:
        """Writes STOP, or a roll call, for so many workers. For the collector."""
        self._words[word] = self.returned[word] = TASK.pack(word, 0, 0) * times
        self._write(self.returned, [word])

    def call_roll(self, word: int, workers: int) -> None:
        """Writes a roll call for so many workers, unless it is still there to be read. For the collector."""
        self.drain()
        if word not in self.returned:
            self.send_all(word, workers)
        self.post()

    # ── taking back ──────────────────────────────────────────────────────────────────────────────────────

    def withdraw(self, number: int, few: int = _TOGETHER) -> bool:
        """Moves a call to `withdrawn` if no worker has its ticket; returns whether it is there.

        Args:
            number: The call's.
            few: How many of the tickets that have to be read back for that are in the pipe again when it is done; the
                rest is in `returned`.
        """
        self._in_one((self._withdrawn(self.ready, (number,)), self._withdrawn(self.returned, (number,))))
        if number not in self.withdrawn and number in self.out:
            self._in_one((self._drained(), self._withdrawn(self.returned, (number,)), self._rewritten(few)))
        return number in self.withdrawn

    def withdraw_all(self) -> None:
        """Moves all calls to `withdrawn` that no worker has the ticket of."""
        calls = [
            filterfalse(self._words.__contains__, chain.from_iterable(map(list, (tickets,))))  # as they are by then
            for tickets in (self.ready, self.returned)
        ]
        steps = self._withdrawn(self.ready, calls[0]), self._withdrawn(self.returned, calls[1])
        self._in_one((self._drained(), *steps, self._rewritten(_TOGETHER)))

    def claimed(self) -> set[int]:
        """Returns the calls whose tickets workers have read. For the collector."""
        self.drain()
        return {*self.out.copy()}.difference(self.ready.copy(), self.returned.copy(), self.withdrawn.copy())

    def drain(self) -> None:
        """Moves every ticket that nobody has read to `returned`."""
        self._in_one((self._drained(),))

    def _in_one(self, steps: Iterable[Iterator[Any]]) -> None:
        """Takes steps as one operation, which has the pipe to itself: nobody writes or drains between them."""
        if not self._open:
            return
        begin, end = starmap(self._lock.acquire, _NO_ARGUMENTS), starmap(self._lock.release, _NO_ARGUMENTS)
        try:
            deque(chain(begin, chain.from_iterable(steps), end), 0)
        except BaseException:
            self._give_back_lock()
            if self._open:
                raise

    # Steps: each is an iterator, and what it does is done when that is advanced.

    def _drained(self) -> Iterator[Any]:
        """Moves every ticket in the pipe to `returned`."""
        first, second = tee(iter(partial(self._outlet.read, _READ_SIZE), None))
        numbers, same = tee(chain.from_iterable(chain.from_iterable(map(_NUMBERS.iter_unpack, first))))
        single = chain.from_iterable(chain.from_iterable(map(_WHOLE.iter_unpack, second)))
        tickets: Iterator[Any] = map(self._words.get, same, single)  # of a word, all that were written
        return map(self.returned.update, (zip(numbers, tickets, strict=False),))

    def _withdrawn(self, tickets: dict[int, bytes], numbers: Iterable[int]) -> Iterator[Any]:
        """Moves those of the calls to `withdrawn` whose tickets are in `tickets`."""
        numbers, same = tee(numbers)
        taken = filter(_TICKET, zip(map(tickets.pop, numbers, repeat(b"")), same, strict=False))
        return map(self.withdrawn.update, (zip(map(_NUMBER, taken), repeat(threading.get_ident()), strict=False),))

    def _rewritten(self, most: int) -> Iterator[Any]:
        """Moves so many tickets of `returned` into the pipe, the first ones first."""
        numbers = chain.from_iterable(map(sorted, (self.returned,)))
        tickets = map(self.returned.pop, islice(numbers, min(most, _TOGETHER)), repeat(b""))
        return map(self._inlet.write, map(b"".join, (tickets,)))

    # ── the board ────────────────────────────────────────────────────────────────────────────────────────

    def shown(self, worker_index: int) -> int:
        """Returns the number of the call that the worker at `worker_index` has claimed last."""
        return self._status_table[worker_index]

    def shown_since(self, worker_index: int) -> tuple[int, float]:
        """Returns that number and when the call was claimed, by `time.monotonic`; 0 if all is over."""
        try:
            while True:
                number, since = self._status_table[worker_index], self._since[worker_index]
                if self._status_table[worker_index] == number:
                    return number, since / 1e9
        except ValueError:  # closed
            return 0, 0.0

    def body(self, number: int) -> bytes | None:
        """Returns the beginning of the body of a call that was sent; None if it is not here."""
        offset = self.out.get(number, 0)
        try:
            body = self._map[offset : offset + (_SMALL if offset < self._large_start else _LARGE)]
        except ValueError:  # closed
            return None
        return body if offset and self.out.get(number) == offset else None

    def wipe(self, worker_index: int) -> None:
        """Makes the entry ready for another worker."""
        self._status_table[worker_index] = self._asked[worker_index] = 0

    def ask(self, number: int) -> bool:
        """Asks the worker that shows that number to stop its call; returns whether there is one."""
        try:
            self._asked[self._status_table.tolist().index(number)] = number
        except ValueError:  # nobody does, or closed
            return False
        return True

    def on_board(self, number: int) -> bool:
        """Returns whether some worker shows that number."""
        try:
            return number in self._status_table.tolist()
        except ValueError:  # closed
            return False

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def close_ours(self) -> None:
        """Closes the caller's ends; a worker that was just forked goes on with the others."""
        self._open = False
        with self._lock:
            self._inlet.close()
            self._outlet.close()

    def disown(self) -> None:
        """In a forked child: as `close_ours`, whoever was writing in the parent."""
        self._renew_lock()
        self.close_ours()

    def close(self) -> None:
        """Closes everything."""
        self.close_ours()
        system.close(self.tickets)
        system.close(self.memory)
        self._status_table.release()
        self._asked.release()
        self._since.release()
        self._map.close()


def _room_in(inlet: int, wanted: int) -> int:
    """Sees to it that a pipe holds so many tickets, if it can be; returns how many it holds in any case.

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
