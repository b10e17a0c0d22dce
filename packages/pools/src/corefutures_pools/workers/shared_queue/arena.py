"""`Arena`: a slab allocator in shared memory, for the serialised calls of one pool.

Touches the kernel (Linux). Guarantees: a slot belongs to one call at a time; a signal handler or finaliser that
interrupts any method, also one that raises, leaves no slot without an owner (F8); nothing is left behind in the file
system.
"""

from __future__ import annotations

import mmap
import os
import sys
from contextlib import ExitStack, suppress
from itertools import repeat, starmap

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import system
from corefutures_pools.descriptors import above_standard
from corefutures_pools.workers.messages import INLINE_LIMIT, SLOT_LIMIT
from corefutures_pools.workers.shared_queue.worker import slot_capacity

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final

    from corefutures_pools.workers.payload import Payload

#: Bytes of a slot. A serialised call goes into the smallest slot that it fits into; one that fits into none is an
#: out-of-band payload, and travels through the worker's payload channel.
SMALL: Final = 512
LARGE: Final = INLINE_LIMIT
HUGE: Final = SLOT_LIMIT


class Arena:
    """Slots of three sizes in a memory file, which each worker maps as well.

        0          reserved                 starts[0]                        starts[1]                      size
        ┌──────────┬────────────────────────┬────────────────────────────────┬──────────────────────────────┐
        │ reserved │ small slots, 512 bytes │ large slots, INLINE_LIMIT bytes │ huge slots, SLOT_LIMIT bytes │
        └──────────┴────────────────────────┴────────────────────────────────┴──────────────────────────────┘

    A call with an out-of-band payload has a slot without memory, at offset 0, because their number is limited too.

    The pool writes the serialised call into its slot. From the moment in which a worker claims the call until it has
    sent the outcome, the worker alone writes there: it may leave the result in the slot (RESULT_SLOT). The pool gives
    the slot back when it has taken the outcome, or when the worker is known to be dead. So nobody writes into a slot
    that has another owner by then.

    Args:
        reserved: Bytes at the beginning that are not for slots.
        small: How many small slots.
        large: How many large slots, and how many slots without memory.
        huge: How many huge slots.

    Thread safety: every method may be called from any thread, signal handler or finaliser that interrupts another of
    them. Taking a slot and entering it in `slots` is one operation of the interpreter, and so is giving it back.
    """

    def __init__(self, reserved: int, small: int, large: int, huge: int) -> None:
        self.reserved = reserved
        large_start = reserved + -(-small * SMALL // LARGE) * LARGE
        huge_start = large_start + large * LARGE
        #: Where the large and the huge slots begin.
        self.starts = large_start, huge_start
        self.size = huge_start + huge * HUGE
        with ExitStack() as opened:  # closed again unless all of it can be had
            # Sparse: memory is taken as slots are used. It has no name: nothing can be left behind.
            self.descriptor = above_standard(system.memfd_create("corefutures", os.MFD_CLOEXEC))
            opened.callback(system.close, self.descriptor)
            system.ftruncate(self.descriptor, self.size)
            # A mapping duplicates the descriptor, unless `trackfd` is False.
            untracked: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
            self.map = mmap.mmap(self.descriptor, self.size, **untracked)
            opened.pop_all()
        #: The calls that have slots: number → offset of the slot (0: a slot without memory).
        self.slots: dict[int, int] = {}
        self._free_small = [reserved + i * SMALL for i in reversed(range(small))]
        self._free_large = [large_start + i * LARGE for i in reversed(range(large))]
        self._free_huge = [huge_start + i * HUGE for i in reversed(range(huge))]
        self._free_without_memory = [0] * large
        self._take_small = starmap(self._free_small.pop, repeat(()))
        self._take_large = starmap(self._free_large.pop, repeat(()))
        self._take_huge = starmap(self._free_huge.pop, repeat(()))
        self._take_without_memory = starmap(self._free_without_memory.pop, repeat(()))

    def store(self, number: int, body: bytes) -> int:
        """Write a serialised call into a slot, and return the offset.

        Raises:
            IndexError: No slot is free.
            ValueError: The arena is closed.
        """
        slots, size = self.slots, len(body)
        # No call between taking a slot and entering it: a signal handler could raise after that.
        for slots[number] in self._take_small if size <= SMALL else self._take_large:
            break
        offset = slots[number]
        self.map[offset : offset + size] = body
        return offset

    def store_payload(self, number: int, payload: Payload) -> int:
        """Write a payload of at most `HUGE` bytes in plain memory into a slot, and return the offset.

        Raises:
            IndexError: No slot is free.
            ValueError: The arena is closed.
        """
        slots = self.slots
        for slots[number] in self._take_huge:
            break
        offset = slots[number]
        payload.write_to(self.map, offset)
        return offset

    def view(self, number: int, size: int) -> memoryview | None:
        """Return so many bytes in the slot of a call; None if the call has no slot of that size.

        The caller releases the view before the slot is given back.
        """
        offset = self.slots.get(number, 0)
        if not 0 < size <= slot_capacity(offset, self.starts):
            return None
        return memoryview(self.map)[offset : offset + size]

    def copy(self, number: int, size: int) -> bytes | None:
        """Return a copy of so many bytes in the slot of a call; None if the slot was given back meanwhile."""
        offset = self.slots.get(number, 0)
        try:
            body = self.map[offset : offset + size]
        except ValueError:  # closed
            return None
        return body if 0 < size <= slot_capacity(offset, self.starts) and self.slots.get(number) == offset else None

    def reserve(self, number: int) -> None:
        """Take a slot without memory.

        Raises:
            IndexError: No slot is free.
        """
        slots = self.slots
        for slots[number] in self._take_without_memory:
            break

    def free(self, number: int) -> bool:
        """Give back the slot of a call that has ended, or will not be sent; return whether it had one."""
        slots = self.slots
        offset = slots.get(number)
        if offset is None:
            return False
        if offset < self.starts[0]:
            free = self._free_small if offset else self._free_without_memory
        else:
            free = self._free_large if offset < self.starts[1] else self._free_huge
        try:
            free.extend(map(slots.pop, (number,)))
        except KeyError:  # another thread has given it back
            return False
        return True

    def beginning(self, number: int) -> bytes | None:
        """Return the beginning of a serialised call, None if it is not here (any more)."""
        offset = self.slots.get(number, 0)
        try:
            body = self.map[offset : offset + (SMALL if offset < self.starts[0] else LARGE)]
        except ValueError:  # closed
            return None
        return body if offset and self.slots.get(number) == offset else None

    def close(self) -> None:
        """Close the memory; views of `map` must have been released, except in a child that decoding a result forks."""
        system.close(self.descriptor)
        with suppress(BufferError):
            self.map.close()
