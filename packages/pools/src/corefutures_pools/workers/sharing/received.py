"""The shared objects that a worker has: each is mapped and unpickled at its first use, and kept until it is closed.

Runs in the worker; touches `mmap` and the worker loop. Guarantees: a worker loads an object at most once; it drops a
closed one once its call has ended; an object that can't be loaded fails its call alone.
"""

from __future__ import annotations

import errno
import mmap
import os
import pickle
import sys

from corefutures._blocking import _thread, system
from corefutures_pools.workers.marshalled import shared_objects
from corefutures_pools.workers.sharing.layout import HEAD, OPEN, PLACE
from corefutures_pools.workers.worker_loop import serving

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from typing import Any


def shared(token: bytes, location: str, size: int) -> Any:
    """Return a shared object; load it if this is its first use here.

    Raises:
        OSError: The memory of the object can't be opened here.
        BaseException: Whatever unpickling raises.
    """
    try:
        return shared_objects[token][1]
    except KeyError:
        pass
    memory = _opened(token, location, size)
    _, _, pickled, count = HEAD.unpack_from(memory)
    start = HEAD.size + PLACE.size * count
    # No view is writable, for the memory is mapped read-only.
    view = memoryview(memory)
    places = PLACE.iter_unpack(view[HEAD.size : start])
    loaded = pickle.loads(view[start : start + pickled], buffers=[view[begin : begin + n] for begin, n in places])
    shared_objects[token] = memory, loaded
    after_calls = serving[_thread.get_ident()][0].after_calls
    if _drop_closed not in after_calls:
        after_calls.append(_drop_closed)
    return loaded


def _opened(token: bytes, location: str, size: int) -> mmap.mmap:
    try:
        memory = _mapped(location, size)
    except (OSError, ValueError) as exc:
        raise OSError(
            getattr(exc, "errno", None) or errno.ENOENT, f"a shared object can't be opened in this worker ({exc})"
        ) from exc
    if HEAD.unpack_from(memory)[:2] != (OPEN, token):  # the number or the name is another file's now
        raise OSError(errno.ENOENT, "a shared object can't be opened in this worker: its pool has ended")
    return memory


def _mapped(location: str, size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size, tagname=location, access=mmap.ACCESS_READ)
    descriptor = system.open(location, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if sys.version_info >= (3, 13):  # without a copy of the descriptor
            return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, trackfd=False)
        return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    finally:
        system.close(descriptor)


def _drop_closed() -> None:
    """Drop the objects that were closed: called after each call."""
    for token, (memory, _) in list(shared_objects.items()):
        if memory[0] != OPEN:
            del shared_objects[token]
