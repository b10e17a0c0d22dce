"""`Arena`: a slab allocator in shared memory, for the serialised calls of one pool.

Touches the kernel (Linux). Guarantees: a slot belongs to one call at a time; a signal handler or finaliser that
interrupts any method, also one that raises, leaves no slot without an owner (F8); nothing is left behind in the file
system.
"""

from __future__ import annotations

import mmap
import os
import sys
from contextlib import ExitStack
from itertools import repeat, starmap

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import system
from corefutures_pools.descriptors import above_standard
from corefutures_pools.workers.serialization import INLINE_LIMIT

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final

#: Bytes of a slot. A serialised call goes into the smallest slot that it fits into; one that fits into none is an
#: out-of-band payload, and travels through the worker's payload channel.
SMALL: Final = 512
LARGE: Final = INLINE_LIMIT


class Arena:
    """Slots of two sizes in a memory file, which each worker maps as well.

        0          reserved                 _large_start                            size
        ┌──────────┬────────────────────────┬────────────────────────────────────────┐
        │ reserved │ small slots, 512 bytes │ large slots, INLINE_LIMIT bytes        │
        └──────────┴────────────────────────┴────────────────────────────────────────┘

    A call with an out-of-band payload has a slot without memory, at offset 0, because their number is limited too.

    Args:
        reserved: Bytes at the beginning that are not for slots.
        small: How many small slots.
        large: How many large slots, and how many slots without memory.

    Thread safety: every method may be called from any thread, signal handler or finaliser that interrupts another of
    them. Taking a slot and entering it in `slots` is one operation of the interpreter, and so is giving it back.
    """

    def __init__(self, reserved: int, small: int, large: int) -> None:
        self.reserved = reserved
        self._large_start = reserved + -(-small * SMALL // LARGE) * LARGE
        self.size = self._large_start + large * LARGE
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
        self._free_large = [self._large_start + i * LARGE for i in reversed(range(large))]
        self._free_without_memory = [0] * large
        self._take_small = starmap(self._free_small.pop, repeat(()))
        self._take_large = starmap(self._free_large.pop, repeat(()))
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
        free = self._free_large if offset >= self._large_start else self._free_small
        try:
            (free if offset else self._free_without_memory).extend(map(slots.pop, (number,)))
        except KeyError:  # another thread has given it back
            return False
        return True

    def beginning(self, number: int) -> bytes | None:
        """Return the beginning of a serialised call, None if it is not here (any more)."""
        offset = self.slots.get(number, 0)
        try:
            body = self.map[offset : offset + (SMALL if offset < self._large_start else LARGE)]
        except ValueError:  # closed
            return None
        return body if offset and self.slots.get(number) == offset else None

    def close(self) -> None:
        """Close the memory; views of `map` must have been released."""
        system.close(self.descriptor)
        self.map.close()
