"""`TicketDesk`: where tickets for calls are written, and taken back, and where the calls' bodies lie.

Touches `frames` and the kernel (Linux). Guarantees: a ticket is read by one worker or taken back here, never both;
tickets are in the pipe in the order of their numbers; nothing here waits for a worker.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import threading
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, TypeVar

from corefutures._isolated.frames import PARCEL_SIZE, ROLL_CALL, STOP, TICKET
from corefutures._isolated.payload import INLINE_LIMIT
from corefutures._originals import system

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures._isolated.future import CallFuture

_T = TypeVar("_T")

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

#: Bytes: bodies that fit into a small cell lie in one, larger ones in a large cell, the largest are parcels.
_SMALL: Final = 512
_LARGE: Final = INLINE_LIMIT
#: Tickets that may be out besides one for each worker: what keeps workers busy while the pool's process has
#: no time for them. They cost nothing in fairness, since any worker takes the next one, and any can be taken back.
_AHEAD: Final = 1024
_LARGE_AHEAD: Final = 16
#: An atomic write to a pipe is at most so large.
_ATOMIC: Final = 4096


class TicketDesk:
    """The arena, the board and the pipe of tickets of one pool.

    Args:
        berths: How many workers there may be at a time.
        backlog: The calls that are to be sent, in order; taken out at the left here, added at the right elsewhere.

    Thread safety: `post` and `take_back` may be called from any thread, also by a signal handler that interrupts
    one of them.
    """

    def __init__(self, berths: int, backlog: deque[CallFuture[Any]]) -> None:
        board_size = -(-32 * berths // mmap.PAGESIZE) * mmap.PAGESIZE
        small = _AHEAD + berths
        large = _LARGE_AHEAD + 2 * berths
        large_start = board_size + -(-small * _SMALL // _LARGE) * _LARGE
        self.board_size = board_size
        self.size = large_start + large * _LARGE
        self._large_start = large_start
        self._small_cells = [board_size + i * _SMALL for i in reversed(range(small))]
        self._large_cells = [large_start + i * _LARGE for i in reversed(range(large))]
        self.taken_back: dict[int, bool] = {}  # the calls whose tickets were taken back for good, for who cancels them
        self.out: dict[int, int] = {}  # the calls that have tickets, and the offsets of their bodies (0: none)
        # Sparse: memory is taken as cells are used. It has no name: nothing can be left behind.
        with ExitStack() as opened:  # closed again unless all of it can be had
            self.memory = system.memfd_create("corefutures", os.MFD_CLOEXEC)
            opened.callback(system.close, self.memory)
            system.ftruncate(self.memory, self.size)
            self._map = opened.enter_context(mmap.mmap(self.memory, self.size))
            self.tickets, self._inlet = system.pipe()  # the workers' end; ours
            opened.callback(system.close, self.tickets)
            opened.callback(system.close, self._inlet)
            system.set_blocking(self._inlet, False)
            # A description of our own of the workers' end: O_NONBLOCK belongs to the description.
            self._outlet = system.open(f"/proc/self/fd/{self.tickets}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            opened.pop_all()
        # For each berth the number of a call; in the second quarter, when its worker claimed that; in the second half
        # a number again: the worker that runs that call is asked to stop.
        board = memoryview(self._map)[:board_size].cast("Q")
        self._since = board[len(board) // 4 :]
        self._board, self._asked = board[:berths], board[len(board) // 2 :]
        capacity = fcntl.fcntl(self._inlet, getattr(fcntl, "F_GETPIPE_SZ", 1032))
        self._most = min(small, capacity // TICKET.size // 2)
        # Held by whoever writes or takes back tickets, never while anything blocks or foreign code runs: the
        # pipe's ends are non-blocking. Who finds it taken leaves; its holder looks again when done. Reentrant
        # for one reason: it can be asked whether this very thread holds it, which then is a signal handler.
        self._seat = threading.RLock()
        # Where a ticket is that workers can't read. A signal handler may raise at any point, in the middle of
        # any step: so each ticket is in exactly one place at all times, which whoever sits next finds. What must
        # not come apart is done in C (`extend(map(…))`), or by one assignment to several names.
        self._backlog = backlog  # no ticket was made yet
        self._batch: dict[int, bytes] = {}  # made, of calls that are on their way out of the backlog
        self._unwritten = b""  # to be written next
        self._written: deque[int] = deque()  # bytes of that which were written since
        self._drained: deque[bytes] = deque()  # read back, to be written before that

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def waiting(self) -> bool:
        """Whether there is anything to be written."""
        return bool(self._backlog or self._unwritten or self._batch or self._drained)

    def post(self) -> None:
        """Writes tickets for what is in the backlog, as far as there is room."""
        while self.waiting and not self._is_interrupted():
            progress = False
            try:
                if self._seat.acquire(blocking=False):
                    progress = self._post_some()
            finally:  # by one call in C: a handler that raises can only come before or after it
                try:
                    self._seat.release()
                except RuntimeError:  # it was taken, or we were interrupted before we had it
                    pass
            if not progress:
                return

    def _post_some(self) -> bool:
        """Returns whether there may be more to be written.

        There may also if no ticket was made, because all that was found is cancelled by now: what was not looked at,
        and what came meanwhile from those who found the seat taken, is ours to send.
        """
        if self._inlet < 0 or not self._flush():
            return False
        has_room = self._fill_batch()
        made = b"".join(self._batch.values())
        self._unwritten, self._batch = self._unwritten + made, {}
        return bool(made or has_room) and self._flush()

    def _fill_batch(self) -> bool:
        """Makes tickets; an interrupted one is gone on with where it was.

        Returns:
            Whether there is room for more: either the backlog was found empty, or one batch is not enough for it.
        """
        batch, backlog, out, pack = self._batch, self._backlog, self.out, TICKET.pack
        small_cells, arena = self._small_cells, self._map
        room = min(self._most - len(out), _ATOMIC // TICKET.size)
        while room > 0:
            try:
                future = backlog[0]
            except IndexError:
                return True
            number, body = future._number, future._body
            if number not in batch and body is not None:  # or else it is cancelled, or its pool is broken
                if type(body) is not bytes:
                    offset, size = 0, PARCEL_SIZE
                else:
                    size = len(body)
                    cells = small_cells if size <= _SMALL else self._large_cells
                    if not cells:
                        return False
                    offset = cells.pop()
                    arena[offset : offset + size] = body
                out[number] = offset
                batch[number] = pack(number, offset, size)
            # A cancellation at this point:
            # 1. it finds the call not sent: it cancels it, and we find out here and write no ticket; or
            # 2. it finds it sent: it waits for our seat, and then finds the ticket.
            waiting = future._mark_sent()
            if not waiting:
                batch.pop(number, None)
                self.free(number)
            elif type(body) is bytes:
                future._body = None
            try:
                if backlog[0] is future:
                    backlog.popleft()
            except IndexError:  # the pool broke
                return True
            room -= 1
        return len(out) < self._most

    def _flush(self) -> bool:
        """Writes what is to be written next; returns whether all of it could be."""
        while True:
            self._tidy_up()
            if not self._unwritten or self._inlet < 0:
                return True
            try:
                self._written.extend(map(system.write, (self._inlet,), (self._unwritten[:_ATOMIC],)))
            except BlockingIOError:
                return False

    def _tidy_up(self) -> None:
        rest = b"".join(self._drained) + self._unwritten[sum(self._written) :]
        self._unwritten, self._drained, self._written = rest, deque(), deque()

    def free(self, number: int) -> bool:
        """Gives back the cell of a call that has ended; returns whether it had a ticket."""
        offset = self.out.pop(number, None)
        if offset:
            (self._small_cells if offset < self._large_start else self._large_cells).append(offset)
        return offset is not None

    def send_all(self, word: int, times: int) -> None:
        """Writes STOP, or a roll call, for so many workers."""
        self._sit(lambda: self._add_words(word, times))

    def call_roll(self, word: int, workers: int) -> None:
        """Writes a roll call for so many workers, unless it is still there to be read."""

        def work() -> None:
            if not any(ticket[0] == word for ticket in self._take_all()):
                self._add_words(word, workers)

        self._sit(work)

    def _add_words(self, word: int, times: int) -> None:
        self._unwritten += TICKET.pack(word, 0, 0) * times

    # ── taking back ──────────────────────────────────────────────────────────────────────────────────────

    def take_back(self, future: CallFuture[Any]) -> bool:
        """Cancels a call if no worker has its ticket, nor will ever have; returns whether it did.

        Whoever else wants the same meanwhile waits for the seat, and finds the call cancelled then. A signal handler
        that interrupts the holder of the seat is told that it can't be done: nothing can be said for sure.
        """

        def work() -> bool:
            if self._batch:
                self._post_some()
            tickets = self._take_all()
            kept = b"".join([TICKET.pack(*ticket) for ticket in tickets if ticket[0] != future._number])
            if len(kept) == len(self._unwritten) or not future._cf_revoke():
                return False
            self._unwritten = kept
            self.free(future._number)
            return True

        return self._sit(work) or False

    def take_back_all(self) -> None:
        """Takes back the tickets of all calls that no worker has; their numbers are in `taken_back` then."""

        def work() -> None:
            numbers = []
            words = []
            for ticket in self._take_all():
                if ticket[0] == STOP or ticket[0] & ROLL_CALL:
                    words.append(TICKET.pack(*ticket))
                else:
                    numbers.append(ticket[0])
            self._unwritten, self.taken_back = b"".join(words), {**self.taken_back, **dict.fromkeys(numbers, True)}

        self._sit(work)

    def claimed(self) -> set[int]:
        """Returns the calls whose tickets workers have read, as of one moment between this call's begin and end."""

        def work() -> set[int]:
            unread = [ticket[0] for ticket in self._take_all()]
            return set(self.out).difference(unread, self._batch)

        return self._sit(work) or set()

    def _take_all(self) -> list[tuple[int, int, int]]:
        """Takes every ticket that nobody has read; they are what is to be written next then. Returns them in order."""
        self._tidy_up()
        try:
            while self._outlet >= 0:
                self._drained.extend(map(system.read, (self._outlet,), (1 << 16,)))
        except BlockingIOError:
            pass
        self._tidy_up()
        return list(TICKET.iter_unpack(self._unwritten))

    # ── the seat ─────────────────────────────────────────────────────────────────────────────────────────

    def _sit(self, work: Callable[[], _T]) -> _T | None:
        """Does something in the seat, after waiting for it; nothing if this thread has it, and is interrupted."""
        if self._is_interrupted():
            return None
        try:
            self._seat.acquire()
            result = work()
        finally:  # as in `post`
            try:
                self._seat.release()
            except RuntimeError:
                pass
            self.post()
        return result

    def _is_interrupted(self) -> bool:
        """Returns whether this thread has the seat: then it is a signal handler or finaliser that asks."""
        return self._seat._is_owned()  # type: ignore[attr-defined, no-any-return]

    # ── the board ────────────────────────────────────────────────────────────────────────────────────────

    def shown(self, berth: int) -> int:
        """Returns the number of the call that the worker at `berth` has claimed last."""
        return self._board[berth]

    def shown_since(self, berth: int) -> tuple[int, float]:
        """Returns that number and when the call was claimed, by `time.monotonic`; 0 if all is over."""
        try:
            while True:
                number, since = self._board[berth], self._since[berth]
                if self._board[berth] == number:
                    return number, since / 1e9
        except ValueError:  # closed
            return 0, 0.0

    def body(self, number: int) -> bytes | None:
        """Returns the beginning of the body of a call that was sent; None if it is not here."""
        offset = self.out.get(number, 0)
        body = self._map[offset : offset + (_SMALL if offset < self._large_start else _LARGE)]
        return body if offset and self.out.get(number) == offset else None

    def wipe(self, berth: int) -> None:
        """Makes the berth ready for another worker."""
        self._board[berth] = self._asked[berth] = 0

    def ask(self, number: int) -> bool:
        """Asks the worker that shows that number to stop its call; returns whether there is one."""
        try:
            self._asked[self._board.tolist().index(number)] = number
        except ValueError:  # nobody does, or closed
            return False
        return True

    def on_board(self, number: int) -> bool:
        """Returns whether some worker shows that number."""
        try:
            return number in self._board.tolist()
        except ValueError:  # closed
            return False

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def close_ours(self) -> None:
        """Closes the caller's ends; a worker that was just forked goes on with the others."""
        with self._seat:
            inlet, outlet, self._inlet, self._outlet = self._inlet, self._outlet, -1, -1
        if inlet >= 0:
            system.close(inlet)
            system.close(outlet)

    def disown(self) -> None:
        """In a forked child: as `close_ours`, whoever had the seat in the parent."""
        self._seat = threading.RLock()
        self.close_ours()

    def close(self) -> None:
        """Closes everything."""
        self.close_ours()
        system.close(self.tickets)
        system.close(self.memory)
        self._board.release()
        self._asked.release()
        self._since.release()
        self._map.close()
