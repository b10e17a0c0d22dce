"""What runs in a worker process: takes its ends, sees to its own end, and serves.

Runs in the worker: touches the worker's side of the shared machinery and as little else as can be. Guarantees:
the process ends when the pool's process does, also in mid-call; what a call forks off holds none of our ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys

from corefutures_pools.blocking import system
from corefutures_pools.descriptors import above_standard, open_standard
from corefutures_pools.workers.serialization import Encoder
from corefutures_pools.workers.worker_loop import SharedQueueEnds, interrupts, serve_shared_queue

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

#: What asks a worker for its stack. Who does not expect it ignores it, and hardly any program uses it.
STACK_SIGNAL = getattr(signal, "SIGURG", 0)

_F_SETSIG = 10  # Linux's number; the module `fcntl` has no name for it on every Python


def serve(
    ends: Any,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    limit: int | None,
    serializer: str,
    line: Any,
    log: tuple[Any, dict[str, int]] | None,
) -> None:
    """Serves a pool until it ends or `limit` calls were run; the target of the worker's `Process`.

    Args:
        ends: The pool's `SharedQueueEnds`, or the `Connection` of a pair.
        initializer: Called first, with `initargs`.
        initargs: Its arguments.
        limit: How many calls to run at most, or None.
        serializer: "pickle" or "cloudpickle"; results are serialised with it.
        line: Where this process's stack is to be written when the pool's process asks for it: a descriptor, or a
            connection that it asks through.
        log: Where records are to be sent, and the levels of loggers; None leaves them to this process.
    """
    _keep_off_standard()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in a job in the background
        signal.signal(signal.SIGINT, interrupts.handle)
    if isinstance(line, int):
        _write_stack_on_signal(line)
    if log is not None:
        from corefutures_pools.workers.logging.sender import forward_logs  # few workers need it

        forward_logs(*log)
    prepare = None if initializer is None else lambda: initializer(*initargs)
    encode = make_encoder(serializer, memfds=isinstance(ends, tuple))
    if isinstance(ends, tuple):
        _serve_tickets(ends, encode, prepare, limit)  # type: ignore[arg-type]
    else:
        _serve_pair(ends, encode, prepare, limit, line)


def _keep_off_standard() -> None:
    """Sees to it that nothing is, or will be, a standard descriptor here that the program has closed."""
    from multiprocessing import parent_process

    parent: Any = parent_process()
    if isinstance(getattr(parent, "_sentinel", None), int) and sys.platform != "win32":
        parent._sentinel = above_standard(parent._sentinel)
    open_standard()


def take_line(descriptor: Any) -> int:
    """Returns the line's descriptor that came along with this process."""
    own = above_standard(descriptor.detach())
    system.set_inheritable(own, False)
    return own


def _write_stack_on_signal(line: int) -> None:
    """Has the stack of this thread written to `line` when STACK_SIGNAL comes, whatever it is stuck in."""
    import faulthandler

    if sys.platform == "win32" or signal.getsignal(STACK_SIGNAL) is not signal.SIG_DFL:
        return  # it is the program's own
    faulthandler.register(STACK_SIGNAL, line, all_threads=False)  # others run, and their frames change meanwhile

    def let_go() -> None:
        faulthandler.unregister(STACK_SIGNAL)
        with contextlib.suppress(OSError):
            system.close(line)

    os.register_at_fork(after_in_child=let_go)


def take_ends(*values: Any) -> SharedQueueEnds:
    """Returns the ends that came along with this process; they arrive as `reduction.DupFd`."""
    ends = SharedQueueEnds(*values)
    return ends._replace(
        tasks=above_standard(ends.tasks.detach()),
        frames=above_standard(ends.frames.detach()),
        memory=above_standard(ends.memory.detach()),
        parent_death_pipe=above_standard(ends.parent_death_pipe.detach()),
        payload_channel=above_standard(ends.payload_channel.detach()),
    )


def make_encoder(serializer: str, *, memfds: bool) -> Encoder:
    """Returns what encodes calls and results: with the reducers that multiprocessing adds, as between its processes."""
    if serializer == "pickle":
        return Encoder(_reducers, memfds=memfds)
    import cloudpickle  # type: ignore[import-untyped]

    class CloudPickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        dispatch_table = pickle.Pickler.dispatch_table  # each one's own, which the class of cloudpickle hides

    # What cloudpickle itself knows how to reduce, it reduces better.
    return Encoder(
        lambda: [*_reducers(), cloudpickle.CloudPickler._dispatch_table], CloudPickler, by_value=True, memfds=memfds
    )


def _reducers() -> list[Mapping[type, Callable[[Any], Any]]]:
    import copyreg
    from multiprocessing.reduction import ForkingPickler

    return [copyreg.dispatch_table, ForkingPickler._extra_reducers]  # type: ignore[attr-defined]


def _serve_tickets(
    ends: SharedQueueEnds, encode: Encoder, prepare: Callable[[], object] | None, limit: int | None
) -> None:
    if sys.platform != "linux":
        raise OSError("only Linux has tickets")
    import mmap

    try:
        _end_with(ends.parent_death_pipe)
    except OSError:  # no /proc, not allowed to open what somebody else has made, or no such signals here
        _watch(ends.parent_death_pipe)
    arena = mmap.mmap(ends.memory, ends.memory_size, access=mmap.ACCESS_READ)
    status_table = memoryview(mmap.mmap(ends.memory, ends.status_size)).cast("Q")
    from corefutures_pools.workers.shared_queue.descriptor_channel import (
        WorkerDescriptorChannel,  # here for start-up time only
    )

    channel = WorkerDescriptorChannel(ends.payload_channel)
    forked: list[bool] = []

    def let_go() -> None:
        forked.append(True)
        for descriptor in (ends.tasks, ends.frames, ends.parent_death_pipe, ends.memory, ends.payload_channel):
            try:
                system.close(descriptor)
            except OSError:
                pass

    os.register_at_fork(after_in_child=let_go)
    try:
        serve_shared_queue(
            tasks=ends.tasks,
            frames=ends.frames,
            arena=arena,
            status_table=status_table,
            worker_index=ends.worker_index,
            channel=channel,
            encode=encode,
            prepare=prepare,
            limit=limit,
            forked=forked,
        )
    finally:
        channel.close()


def _watch(parent_death_pipe: int) -> None:
    """As `_end_with`, by a thread, which needs the GIL for it."""
    if sys.platform != "linux":
        raise OSError("only Linux has lifelines")
    import select
    import threading

    def watch() -> None:
        poll = select.poll()
        poll.register(parent_death_pipe, 0)
        poll.poll()
        system._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _serve_pair(
    connection: Any, encode: Encoder, prepare: Callable[[], object] | None, limit: int | None, line: Any
) -> None:
    import threading
    from multiprocessing import parent_process

    from corefutures_pools.workers.pipes.worker import serve_pipe
    from corefutures_pools.workers.transport import start_native_thread, wait_natively, worker_end

    parent = parent_process()
    assert parent is not None

    def attend(number: int, worker: int) -> None:
        """Ends this process when its parent has gone, whose sentinel may be held by a sibling that was forked.

        Until then it tells the parent the worker's stack when it asks for it, if it does so through a connection.
        """
        watched = [parent.sentinel] if isinstance(line, int) else [parent.sentinel, line]
        while system.getppid() == number:
            ready = wait_natively(watched, 0.5)
            if parent.sentinel in ready:
                break
            if not isinstance(line, int) and line in ready:
                try:
                    line.recv_bytes()
                    line.send_bytes(_stack_of(worker))
                except (EOFError, OSError):  # it does not ask any more
                    watched = watched[:1]
        system._exit(1)

    number, worker = system.getppid(), threading.get_ident()
    start_native_thread(lambda: attend(number, worker), "attendant")
    serve_pipe(connection=worker_end(connection), encode=encode, prepare=prepare, limit=limit)


def _stack_of(thread: int) -> bytes:
    from corefutures_pools.inspection.stacks import own_stacks, write_frames  # hardly any worker needs it

    return write_frames(own_stacks().get(thread, [])).encode()


def _end_with(parent_death_pipe: int) -> None:
    """Has the kernel kill this process when the other end of that pipe goes: no thread, no polling, no GIL."""
    assert sys.platform == "linux"  # as all of the fast path
    if sys.platform != "linux":
        raise OSError("only Linux sends a signal when a pipe ends")
    import fcntl
    import select

    # A description of our own: the owner and the signal belong to the description.
    own = system.open(f"/proc/self/fd/{parent_death_pipe}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(own, fcntl.F_SETOWN, system.getpid())
    fcntl.fcntl(own, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    poll = select.poll()
    poll.register(own, 0)
    if poll.poll(0):  # it went before we had asked
        sys.exit(1)
