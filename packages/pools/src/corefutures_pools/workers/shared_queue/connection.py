"""`WorkerConnection`: what a pool over a shared queue knows of one worker, and the pool's ends of what leads to it.

Touches the kernel (Linux). Guarantees: what was read from a worker is stored in the same operation of the interpreter,
so that no signal handler, finaliser or other thread finds it in neither place (F8); a descriptor is closed once.
"""

from __future__ import annotations

import sys
from collections import deque
from operator import attrgetter

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import system
from corefutures_pools.workers.supervisor import WorkerRecord

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

    from corefutures_pools.workers.interface import PayloadChannel

#: Bytes: all that a pipe holds, as a rule. More would have each buffer mapped and unmapped by the C library.
READ_SIZE: Final = 1 << 16
#: Once per read.
READ_SIZES: Final = (READ_SIZE,)
_FRAMES: Final = attrgetter("frames")


class WorkerConnection(WorkerRecord):
    """One worker, and the result pipe and payload channel that lead to it.

    States of the worker, each with the field that says so:

    1. *starting*: `launch` has been called. The worker may send frames before `launch` has returned its handle.
    2. *watched* (`watched`): the handle is here, and its sentinels are registered. Only from now on it may be reaped.
    3. *ready* (`ready`): the initializer has run.
    4. *exiting* (`exiting`): it has sent its last frame, by its own decision. Another worker may have its index.
    5. *disconnected* (`frames` is -1, `end_expected`): its result pipe has ended, or can't be trusted any more. It was
       killed, and nothing that it sends counts. It is not dead yet: only its process says so.
    6. *dead* (`dead`): its process, or thread, has ended. What it sent before still counts.

    Args:
        index: Its row in the status table.
        frames: The descriptor of its result pipe.
        channel: Its payload channel.
    """

    def __init__(self, index: int, frames: int, channel: PayloadChannel) -> None:
        super().__init__()
        self.index = index
        self.frames = frames  # -1 once it is closed
        self._frames = deque([frames])  # the thread that takes it out closes it
        self.channel = channel
        self.sentinels: list[Any] = []
        # What was read and not parsed, in order, for the leader. See `FrameReader`.
        self.inbox: deque[bytes] = deque()
        self.in_transit: list[bytes] = []  # what is on its way from there to; written by the leader alone
        self.buffer = b""  # what is being parsed
        self.position = 0  # where in there the next frame begins
        self.watched = False
        self.last_pong = 0  # the last PING that it has answered
        self.delivered_since = False  # a result came after something malformed: the call that wrote it has ended
        self.end_expected = False  # whether it is to be asked, from time to time, if it has ended
        self.killed_for: tuple[int, BaseException] | None = None  # a call, and what that fails with
        self.dead = False

    @property
    def name(self) -> str:
        """How errors call the worker."""
        return "a new worker" if self.worker is None else self.worker.name

    @property
    def has_input(self) -> bool:
        """Whether something was read and not parsed."""
        return bool(self.inbox or self.buffer)

    def receive(self, sizes: Iterable[int] = READ_SIZES) -> None:
        """Read once from the result pipe for each of `sizes`, and store what came: the one way in for frames.

        Raises:
            OSError: There is nothing to be read (BlockingIOError), or the pipe is closed.
        """
        self.inbox.extend(map(system.read, map(_FRAMES, (self,)), sizes))

    def release_frames(self) -> int:
        """Return the descriptor of the result pipe to the one thread that closes it, -1 to all others."""
        self.frames = -1
        try:
            return self._frames.pop()
        except IndexError:
            return -1
