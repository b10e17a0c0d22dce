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
from typing import TYPE_CHECKING, Any, Final

from corefutures._future import PENDING
from corefutures._isolated.frames import PARCEL_SIZE, ROLL_CALL, STOP, TICKET
from corefutures._isolated.payload import INLINE_LIMIT

if TYPE_CHECKING:
    from collections import deque

    from corefutures._isolated.future import CallFuture

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

    Thread safety: `post` and `take_back` may be called from any thread, also by a signal handler that interrupts
    one of them.
    """

    def __init__(self, berths: int) -> None:
        board_size = -(-8 * berths // mmap.PAGESIZE) * mmap.PAGESIZE
        small = _AHEAD + berths
        large = _LARGE_AHEAD + 2 * berths
        large_start = board_size + -(-small * _SMALL // _LARGE) * _LARGE
        self.board_size = board_size
        self.size = large_start + large * _LARGE
        self._large_start = large_start
        self._small_cells = [board_size + i * _SMALL for i in reversed(range(small))]
        self._large_cells = [large_start + i * _LARGE for i in reversed(range(large))]
        self.out: dict[int, int] = {}  # the calls that have tickets, and the offsets of their bodies (0: none)
        # Sparse: memory is taken as cells are used. It has no name: nothing can be left behind.
        self.memory = os.memfd_create("corefutures", os.MFD_CLOEXEC)
        os.ftruncate(self.memory, self.size)
        self._map = mmap.mmap(self.memory, self.size)
        self._board = memoryview(self._map)[:board_size].cast("Q")
        self.tickets, self._inlet = os.pipe()  # the workers' end; ours
        os.set_blocking(self._inlet, False)
        # A description of our own of the workers' end: O_NONBLOCK belongs to the description.
        self._outlet = os.open(f"/proc/self/fd/{self.tickets}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        capacity = fcntl.fcntl(self._inlet, getattr(fcntl, "F_GETPIPE_SZ", 1032))
        self._most = min(small, capacity // TICKET.size // 2)
        # Held by whoever writes or takes back tickets, never while anything blocks or foreign code runs: the
        # pipe's ends are non-blocking. Writers who find it taken leave; its holder looks again when done.
        self._seat = threading.Lock()
        self._seated = 0
        self._unwritten = b""  # tickets that the pipe had no room for; guarded by the seat

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────

    def post(self, backlog: deque[CallFuture[Any]]) -> None:
        """Writes tickets for what is in `backlog`, as far as there is room."""
        while backlog and self._seat.acquire(blocking=False):
            self._seated = threading.get_ident()
            try:
                progress = self._post_some(backlog)
            finally:
                self._seated = 0
                self._seat.release()
            if not progress:
                return

    def _post_some(self, backlog: deque[CallFuture[Any]]) -> bool:
        if self._inlet < 0 or (self._unwritten and not self._write(b"")):
            return False
        out, pack = self.out, TICKET.pack
        small_cells, arena = self._small_cells, self._map
        room = min(self._most - len(out), _ATOMIC // TICKET.size)
        tickets = []
        while room > 0:
            try:
                future = backlog.popleft()
            except IndexError:
                break
            body = future._body
            if body is None:  # cancelled, or its pool is broken
                continue
            number = future._number
            if type(body) is not bytes:
                offset, size = 0, PARCEL_SIZE
            else:
                size = len(body)
                cells = small_cells if size <= _SMALL else self._large_cells
                if not cells:
                    backlog.appendleft(future)
                    break
                offset = cells.pop()
                arena[offset : offset + size] = body
            # A cancellation at this point:
            # 1. it finds the call not sent: it cancels it, and we find out here and write no ticket; or
            # 2. it finds it sent: it waits for our seat, and then finds the ticket in the pipe.
            out[number] = offset
            with future._lock:
                if waiting := future._state == PENDING:
                    future._sent = True
            if not waiting:
                self.free(number)
                continue
            if offset:
                future._body = None
            tickets.append(pack(number, offset, size))
            room -= 1
        return bool(tickets) and self._write(b"".join(tickets))

    def _write(self, tickets: bytes) -> bool:
        """Writes tickets after those still unwritten; returns whether all could be written."""
        pending = self._unwritten + tickets
        done = 0
        try:
            while done < len(pending) and self._inlet >= 0:
                done += os.write(self._inlet, pending[done : done + _ATOMIC])
        except BlockingIOError:
            pass
        self._unwritten = pending[done:]
        return not self._unwritten

    def free(self, number: int) -> None:
        """Gives back the cell of a call that has ended."""
        offset = self.out.pop(number, 0)
        if offset:
            (self._small_cells if offset < self._large_start else self._large_cells).append(offset)

    def send_all(self, word: int, times: int) -> None:
        """Writes STOP, or a roll call, for so many workers."""
        with self._seat:
            self._seated = threading.get_ident()
            self._write(TICKET.pack(word, 0, 0) * times)
            self._seated = 0

    def call_roll(self, word: int, workers: int) -> None:
        """Writes a roll call for so many workers, unless it is still there to be read."""
        with self._seat:
            self._seated = threading.get_ident()
            tickets = self._drain()
            missing = 0 if any(t[0] == word for t in tickets) else workers
            self._unwritten = b""
            self._write(b"".join([TICKET.pack(*t) for t in tickets]) + TICKET.pack(word, 0, 0) * missing)
            self._seated = 0

    # ── taking back ──────────────────────────────────────────────────────────────────────────────────────

    def take_back(self, future: CallFuture[Any]) -> bool:
        """Cancels a call if no worker has its ticket, nor will ever have; returns whether it did.

        Whoever else wants the same meanwhile waits for the seat, and finds the call cancelled then.
        """
        if self._seated == threading.get_ident():
            return False  # we are a signal handler that interrupts the holder: nothing can be said for sure
        with self._seat:
            self._seated = threading.get_ident()
            tickets = self._drain()
            kept = [t for t in tickets if t[0] != future._number]
            self._unwritten = b""
            self._write(b"".join([TICKET.pack(*t) for t in kept]))
            found = len(kept) < len(tickets)
            if found:
                self.free(future._number)
                found = future._revoke()
            self._seated = 0
        return found

    def take_back_all(self) -> list[int]:
        """Takes back the tickets of all calls that no worker has; returns their numbers."""
        if self._seated == threading.get_ident():
            return []
        with self._seat:
            self._seated = threading.get_ident()
            tickets = self._drain()
            words = [t for t in tickets if t[0] == STOP or t[0] & ROLL_CALL]
            self._unwritten = b""
            self._write(b"".join([TICKET.pack(*t) for t in words]))
            self._seated = 0
        return [t[0] for t in tickets if t[0] != STOP and not t[0] & ROLL_CALL]

    def claimed(self) -> set[int]:
        """Returns the calls whose tickets workers have read, as of one moment between this call's begin and end."""
        with self._seat:
            self._seated = threading.get_ident()
            tickets = self._drain()
            claimed = set(self.out).difference([t[0] for t in tickets])
            self._unwritten = b""
            self._write(b"".join([TICKET.pack(*t) for t in tickets]))
            self._seated = 0
        return claimed

    def _drain(self) -> list[tuple[int, int, int]]:
        """Takes every ticket that nobody has read, in order."""
        parts = []
        try:
            while self._outlet >= 0 and (part := os.read(self._outlet, 1 << 16)):
                parts.append(part)
        except BlockingIOError:
            pass
        parts.append(self._unwritten)
        return list(TICKET.iter_unpack(b"".join(parts)))

    # ── the board ────────────────────────────────────────────────────────────────────────────────────────

    def shown(self, berth: int) -> int:
        """Returns the number of the call that the worker at `berth` has claimed last."""
        return self._board[berth]

    def wipe(self, berth: int) -> None:
        """Makes the berth ready for another worker."""
        self._board[berth] = 0

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
            os.close(inlet)
            os.close(outlet)

    def disown(self) -> None:
        """In a forked child: as `close_ours`, whoever had the seat in the parent."""
        self._seat = threading.Lock()
        self.close_ours()

    def close(self) -> None:
        """Closes everything."""
        self.close_ours()
        os.close(self.tickets)
        os.close(self.memory)
        self._board.release()
        self._map.close()
