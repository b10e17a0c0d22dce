"""The memfds of large content: written here, sent to other processes, and written again once nobody has them.

Touches the kernel (Linux); used on both sides, imported with the first large content. Guarantees: a memfd is written to
only while no other process, and no mapping, has it; what is kept is released about a second after its last use.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import clock, system
from corefutures_pools.descriptors import Descriptor, above_standard, kept_memfds, memfd_releasers

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    Buffer = bytes | bytearray | memoryview

_WRITE_LIMIT: Final = 1 << 30  # bytes in a single write
#: How many memfds this process has at a time; other content stays in plain memory until it is sent.
_MEMFDS_AT_MOST: Final = 32
_open: Final[set[int]] = set()
#: How many memfds one segment has: no message takes more than 253 descriptors.
_SEGMENT_MEMFDS_AT_MOST: Final = 200
#: How many descriptors are left to the rest of the program.
_DESCRIPTORS_TO_SPARE: Final = 64

#: Fresh memory costs more than twice as much as the copy into it. So the memory of the last few is used again.
_KEPT_AT_MOST: Final = 2
#: Bytes of all that is kept.
_KEPT_SIZE: Final = 1 << 27
#: Seconds without use after which a kept memfd is closed.
_KEPT_SECONDS: Final = 1.0


class Memfds(list["tuple[int, int]"]):
    """Memfds and the number of bytes in each; closed or kept with the last reference to this list.

    A memfd is used again when every receiver has closed it and unmapped it, in whatever process. The kernel knows:

    1. The *description* of a new memfd, which receivers and their mappings share, has a shared lock (`flock`).
    2. A memfd that is kept is opened anew, and this description is closed here. Receivers may have it still.
    3. The new description gets an exclusive lock if the first one has gone everywhere, and only then.

    Args:
        files: The memfds.
        capacity: The bytes of memory that the only memfd has; 0 if it can't be used again.
    """

    __slots__ = ("capacity", "was_sent")

    def __init__(self, files: Sequence[tuple[int, int]], capacity: int) -> None:
        super().__init__(files)
        self.capacity = capacity
        self.was_sent = False
        _open.update([descriptor for descriptor, _ in files])

    def __del__(self) -> None:
        if self.was_sent and self.capacity and len(self) == 1:
            try:
                _keep(KeptMemfd(self[0][0], self.capacity))
            except OSError:  # it can't be opened anew
                pass
        for descriptor, _ in self:
            _open.discard(descriptor)
            system.close(descriptor)


class KeptMemfd(Descriptor):
    """A memfd that was sent, opened anew.

    Args:
        sent: The descriptor that was sent.
        capacity: The bytes of memory that the file has.

    Raises:
        OSError: It can't be opened.
    """

    __slots__ = ("capacity", "process", "since")

    def __init__(self, sent: int, capacity: int) -> None:
        self.number = -1
        self.number = above_standard(system.open(f"/proc/self/fd/{sent}", os.O_RDWR | os.O_CLOEXEC))
        self.capacity = capacity
        self.process = system.getpid()  # a forked child shares the description, and its lock
        self.since = clock.monotonic()

    def is_unused(self) -> bool:
        """Return whether nobody has what was sent."""
        try:
            fcntl.flock(self.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def _keep(memfd: KeptMemfd) -> None:
    if memfd.capacity > _KEPT_SIZE:
        return
    kept_memfds.append(memfd)
    while len(kept_memfds) > _KEPT_AT_MOST or sum([each.capacity for each in kept_memfds.copy()]) > _KEPT_SIZE:
        try:
            kept_memfds.popleft()
        except IndexError:  # another thread has taken the last one
            break
    if not memfd_releasers:  # looked at after that: the end of a pool removes its loop first, and clears then
        kept_memfds.clear()


def release_idle() -> float | None:
    """Close the kept memfds that were not used for long; return the seconds until the next one is due, or None."""
    due = clock.monotonic() - _KEPT_SECONDS
    for memfd in kept_memfds.copy():
        if memfd.since <= due:
            try:
                kept_memfds.remove(memfd)
            except ValueError:  # another thread has taken it
                pass
    return min([max(0.0, memfd.since - due) for memfd in kept_memfds.copy()], default=None)


def _take(size: int) -> KeptMemfd | None:
    """Return a kept memfd for so many bytes that nobody else has, if there is one."""
    for _ in range(len(kept_memfds)):
        try:
            memfd: KeptMemfd = kept_memfds.popleft()
        except IndexError:  # another thread has taken the last one
            return None
        if memfd.process != system.getpid():
            continue
        if size <= 4 * memfd.capacity and memfd.capacity <= 4 * size and memfd.is_unused():
            return memfd
        kept_memfds.append(memfd)
    return None


def write_memfds(pieces: Sequence[Buffer], *, sparing: bool) -> Memfds:
    """Write `pieces` into memfds: one, unless the limit for the size of files needs more.

    Args:
        pieces: The content.
        sparing: Whether to leave most descriptors to the rest of the program.

    Raises:
        OSError: The process has no descriptor or no memory left.
    """
    if sparing and len(_open) >= _MEMFDS_AT_MOST:
        raise OSError(errno.EMFILE, "enough content waits in memory files")
    files: list[tuple[int, int]] = []
    total, capacity = sum(map(len, pieces)), 0
    try:
        reused = _take(total) if kept_memfds else None
        if reused is None:
            descriptor, done = new_memfd(sparing=sparing), 0
        else:
            descriptor, done, capacity = reused.number, 0, reused.capacity
            reused.number = -1
        files.append((descriptor, 0))
        for piece in pieces:
            view = memoryview(piece)
            while view:
                try:
                    written = system.pwrite(descriptor, view[:_WRITE_LIMIT], done)
                except OSError as exc:
                    if exc.errno != errno.EFBIG:
                        raise
                    if not done or len(files) == _SEGMENT_MEMFDS_AT_MOST:
                        raise OSError(
                            errno.EFBIG,
                            f"{total:,} bytes can't be sent under this limit of the size of files"
                            " (RLIMIT_FSIZE, ulimit -f), which counts for memory files as well",
                        ) from None
                    descriptor, done = new_memfd(sparing=sparing), 0
                    files.append((descriptor, 0))
                    continue
                view = view[written:]
                done += written
                files[-1] = descriptor, done
        try:
            fcntl.flock(files[0][0], fcntl.LOCK_SH | fcntl.LOCK_NB)
            capacity = max(capacity, total)
        except OSError:  # files of this kind have no locks here
            capacity = 0
    except BaseException:
        for descriptor, _ in files:
            system.close(descriptor)
        raise
    return Memfds(files, capacity)


def new_memfd(*, sparing: bool) -> int:
    """Return the descriptor of a new memfd.

    Raises:
        OSError: The process has no descriptor left.
    """
    descriptor = above_standard(system.memfd_create("corefutures", os.MFD_CLOEXEC))
    if sparing:
        limit = system.sysconf("SC_OPEN_MAX")  # the limit of this moment; -1: there is none
        if limit >= 0 and descriptor >= limit - _DESCRIPTORS_TO_SPARE:
            system.close(descriptor)
            raise OSError(errno.EMFILE, system.strerror(errno.EMFILE))
    return descriptor


def _release_after_fork() -> None:
    """Close what is the parent's: a forked child may never write to it."""
    memfd_releasers.clear()
    kept_memfds.clear()


system.register_at_fork(after_in_child=_release_after_fork)
