"""`SharedMemory`: the pickle and the buffers of a shared object, in memory that each worker of a pool can map.

Touches the kernel: a memory file on Linux, a section on Windows, otherwise a temporary file. Guarantees: the memory is
freed with the last reference to it, here and, once its calls have ended, in the workers; memory files and sections
leave nothing behind if this process is killed.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys

from corefutures._blocking import system
from corefutures_pools.workers.sharing.layout import ALIGNMENT, CLOSED, HEAD, OPEN, PLACE

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    Buffer = bytes | bytearray | memoryview

_WRITE_LIMIT: Final = 1 << 30  # bytes in a single write


class SharedMemory:
    """A shared object in memory; immutable, but for the byte by which workers learn that it is closed.

    Args:
        pieces: The pickle, in pieces.
        buffers: The out-of-band buffers.
        kept: What has to live as long as the memory: the pickle may refer to it.
        memfd: Whether workers can open a memory file of this process.

    Raises:
        OSError: There is not enough memory, or no room in the temporary folder.

    Thread safety: immutable.
    """

    __slots__ = ("_descriptor", "_process", "_section", "kept", "location", "places", "reference", "size", "token")

    def __init__(self, pieces: Sequence[Buffer], buffers: Sequence[memoryview], kept: Any, *, memfd: bool) -> None:
        self._descriptor = -1
        self._section: mmap.mmap | None = None
        self._process, self.token, self.kept = system.getpid(), system.urandom(16), kept
        self.location, self.size = "", 0
        parts = self._arranged(pieces, buffers)
        self._fill(parts, memfd)
        #: The pickle of this object, which a worker unpickles as the shared one.
        self.reference = pickle.dumps(self, 5)
        self.places: dict[int, bytes] = {}  # the beginnings of calls: see `marshalled.shared_place`

    def _fill(self, parts: Sequence[Buffer], memfd: bool) -> None:
        """Get memory, and write all of it."""
        if sys.platform == "win32":
            self.location = f"corefutures-{self.token.hex()}"
            section = self._section = mmap.mmap(-1, self.size, tagname=self.location)
            start = 0
            for part in parts:
                section[start : start + len(part)] = part  # type: ignore[assignment, unused-ignore]
                start += len(part)
            return
        try:
            self._open_file(memfd)
            _write(self._descriptor, parts)
        finally:
            if not self.location.startswith("/proc/") and self._descriptor >= 0:
                descriptor, self._descriptor = self._descriptor, -1
                system.close(descriptor)

    def _arranged(self, pieces: Sequence[Buffer], buffers: Sequence[memoryview]) -> list[Buffer]:
        """Set the size, and return all that is written: head, places of the buffers, pickle, aligned buffers."""
        pickled = sum(map(len, pieces))
        end = HEAD.size + PLACE.size * len(buffers) + pickled
        places: list[bytes] = []
        aligned: list[Buffer] = []
        for buffer in buffers:
            gap = -end % ALIGNMENT
            places.append(PLACE.pack(end + gap, len(buffer)))
            aligned += (bytes(gap), buffer)
            end += gap + len(buffer)
        self.size = end
        return [HEAD.pack(OPEN, self.token, pickled, len(buffers)), *places, *pieces, *aligned]

    def _open_file(self, memfd: bool) -> None:
        if memfd and sys.platform == "linux" and _lets_others_open():
            from corefutures_pools.workers.shared_queue.memfds import new_memfd  # only Linux has memory files

            try:
                self._descriptor = new_memfd(sparing=True)
            except OSError:  # no descriptor is left: a temporary file needs none
                pass
            else:
                self.location = f"/proc/{self._process}/fd/{self._descriptor}"
                return
        import tempfile  # hardly any pool on Linux needs it

        self._descriptor, self.location = tempfile.mkstemp(prefix=f"corefutures-shared-{self._process}-")

    def __reduce__(self) -> Any:
        from corefutures_pools.workers.sharing.received import shared  # here for start-up time only

        return shared, (self.token, self.location, self.size)

    def __del__(self) -> None:
        """Free the memory: also in the workers, which see the byte. A forked child frees its own descriptor alone."""
        descriptor, self._descriptor = self._descriptor, -1
        own = self._process == system.getpid()
        try:
            if self._section is not None:
                self._section[0] = CLOSED
                self._section.close()
            elif sys.platform == "win32":
                pass
            elif descriptor >= 0:
                if own:
                    system.pwrite(descriptor, bytes((CLOSED,)), 0)
                system.close(descriptor)
            elif own and self.location:
                descriptor = system.open(self.location, os.O_WRONLY)
                system.pwrite(descriptor, bytes((CLOSED,)), 0)
                system.close(descriptor)
                system.unlink(self.location)
        except OSError:  # the temporary folder was emptied
            pass


def _lets_others_open() -> bool:
    """Return whether processes of this user may open what this one has open: not if it has changed its user."""
    try:
        return sys.platform != "win32" and system.stat("/proc/self/fd").st_uid == system.geteuid()
    except OSError:
        return False


def _write(descriptor: int, parts: Sequence[Buffer]) -> None:
    if sys.platform == "win32":
        raise OSError("Windows has sections")
    done = 0
    for part in parts:
        view = memoryview(part).cast("B")
        while view:
            written = system.pwrite(descriptor, view[:_WRITE_LIMIT], done)
            view = view[written:]
            done += written
