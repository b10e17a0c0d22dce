"""The code of a worker process: opens its ends of the transport and runs the shared worker loop.

Touches the worker's side of the shared machinery and imports little. Guarantees: the process ends when the pool's
process does, also during a call; a process that a call forks holds no end of the transport.
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
from corefutures_pools.workers.worker_loop import interrupts, leave_forked

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from corefutures_pools.workers.shared_queue.ends import SharedQueueEnds

#: The signal that requests a worker's stack: ignored by default, and used by few programs.
STACK_SIGNAL = getattr(signal, "SIGURG", 0)

_F_SETSIG = 10  # of Linux; not in the module `fcntl` of every Python


def serve(
    ends: Any,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    limit: int | None,
    serializer: str,
    probe: Any,
    log: tuple[Any, dict[str, int]] | None,
) -> None:
    """Serve a pool until it ends or `limit` calls were run; the target of the worker's `Process`.

    Args:
        ends: The `SharedQueueEnds`, or the `Connection` to the pool.
        initializer: Called first, with `initargs`, or None.
        initargs: The arguments of the initializer.
        limit: The maximum number of calls to run, or None.
        serializer: The serializer for results: "pickle" or "cloudpickle".
        probe: The worker's end of the stack probe: a descriptor to write stacks to, or a connection that receives
            requests.
        log: The end to send log records to, and the levels of loggers; None leaves records to this process.
    """
    _avoid_standard_descriptors()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # background jobs ignore it
        signal.signal(signal.SIGINT, interrupts.handle)
    if isinstance(probe, int):
        _write_stack_on_signal(probe)
    if log is not None:
        from corefutures_pools.workers.logging.sender import forward_logs  # few workers need it

        forward_logs(*log)
    prepare = None if initializer is None else lambda: initializer(*initargs)
    encode = make_encoder(serializer, memfds=isinstance(ends, tuple))
    if isinstance(ends, tuple):
        _serve_shared_queue(ends, encode, prepare, limit)  # type: ignore[arg-type]
    else:
        _serve_pipe(ends, encode, prepare, limit, probe)


def _avoid_standard_descriptors() -> None:
    """Keep the numbers of standard descriptors that the program has closed from all other files."""
    from multiprocessing import parent_process

    parent: Any = parent_process()
    if isinstance(getattr(parent, "_sentinel", None), int) and sys.platform != "win32":
        parent._sentinel = above_standard(parent._sentinel)
    open_standard()


def receive_descriptor(descriptor: Any) -> int:
    """Return a descriptor that was sent to this process as it was started."""
    own = above_standard(descriptor.detach())
    system.set_inheritable(own, False)
    return own


def _write_stack_on_signal(descriptor: int) -> None:
    """Write the stack of this thread to `descriptor` on STACK_SIGNAL, also while it is stuck in C code."""
    import faulthandler

    if sys.platform == "win32" or signal.getsignal(STACK_SIGNAL) is not signal.SIG_DFL:
        return  # the program uses the signal
    faulthandler.register(STACK_SIGNAL, descriptor, all_threads=False)  # the frames of other threads change meanwhile

    def release_in_child() -> None:
        faulthandler.unregister(STACK_SIGNAL)
        with contextlib.suppress(OSError):
            system.close(descriptor)

    os.register_at_fork(after_in_child=release_in_child)


def receive_ends(*values: Any) -> SharedQueueEnds:
    """Return the ends that were sent to this process as it was started, as `reduction.DupFd`."""
    from corefutures_pools.workers.shared_queue.ends import SharedQueueEnds  # only Linux has shared queues

    ends = SharedQueueEnds(*values)
    return ends._replace(
        tasks=above_standard(ends.tasks.detach()),
        frames=above_standard(ends.frames.detach()),
        memory=above_standard(ends.memory.detach()),
        parent_death_pipe=above_standard(ends.parent_death_pipe.detach()),
        payload_channel=above_standard(ends.payload_channel.detach()),
    )


def make_encoder(serializer: str, *, memfds: bool) -> Encoder:
    """Return the encoder of calls and results, with the reducers that multiprocessing adds for its processes."""
    if serializer == "pickle":
        return Encoder(_reducers, memfds=memfds)
    import cloudpickle  # type: ignore[import-untyped]

    class CloudPickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        dispatch_table = pickle.Pickler.dispatch_table  # for each instance; hidden by cloudpickle's class attribute

    # cloudpickle's own reducers take precedence over the others.
    return Encoder(
        lambda: [*_reducers(), cloudpickle.CloudPickler._dispatch_table], CloudPickler, by_value=True, memfds=memfds
    )


def _reducers() -> list[Mapping[type, Callable[[Any], Any]]]:
    import copyreg
    from multiprocessing.reduction import ForkingPickler

    return [copyreg.dispatch_table, ForkingPickler._extra_reducers]  # type: ignore[attr-defined]


def _serve_shared_queue(
    ends: SharedQueueEnds, encode: Encoder, prepare: Callable[[], object] | None, limit: int | None
) -> None:
    if sys.platform != "linux":
        raise OSError("only Linux has shared queues")
    import mmap

    from corefutures_pools.workers.shared_queue.worker import serve_shared_queue

    try:
        _die_with_parent(ends.parent_death_pipe)
    except OSError:  # no /proc, no permission to open the pipe of another user, or no such signals here
        _watch_parent(ends.parent_death_pipe)
    arena = mmap.mmap(ends.memory, ends.memory_size)
    status_table = memoryview(mmap.mmap(ends.memory, ends.status_size)).cast("Q")
    channel = _make_channel(ends.payload_channel)
    forked: list[bool] = []
    after_calls: list[Callable[[], object]] = []

    def release_in_child() -> None:
        leave_forked(forked, after_calls)
        for descriptor in (ends.tasks, ends.frames, ends.parent_death_pipe, ends.memory, ends.payload_channel):
            try:
                system.close(descriptor)
            except OSError:
                pass

    os.register_at_fork(after_in_child=release_in_child)
    try:
        serve_shared_queue(
            tasks=ends.tasks,
            frames=ends.frames,
            arena=arena,
            slot_starts=ends.slot_starts,
            status_table=status_table,
            worker_index=ends.worker_index,
            channel=channel,
            encode=encode,
            prepare=prepare,
            limit=limit,
            forked=forked,
            after_calls=after_calls,
            is_spare=ends.is_spare,
        )
    finally:
        channel.close()


def _make_channel(payload_channel: int) -> Any:
    if sys.platform == "linux":
        from corefutures_pools.workers.shared_queue.descriptor_channel import WorkerDescriptorChannel

        return WorkerDescriptorChannel(payload_channel)
    raise OSError("only Linux has shared queues")


def _watch_parent(parent_death_pipe: int) -> None:
    """Do as `_die_with_parent`, by a thread, which needs the GIL."""
    if sys.platform != "linux":
        raise OSError("only Linux has shared queues")
    from corefutures_pools.blocking import select, threading

    def watch() -> None:
        poll = select.poll()
        poll.register(parent_death_pipe, 0)
        poll.poll()
        system._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _serve_pipe(
    connection: Any, encode: Encoder, prepare: Callable[[], object] | None, limit: int | None, probe: Any
) -> None:
    from multiprocessing import parent_process

    from corefutures_pools.blocking import threading
    from corefutures_pools.workers.pipes.worker import serve_pipe
    from corefutures_pools.workers.transport import start_native_thread, wait_natively, worker_end

    parent = parent_process()
    assert parent is not None

    def attend(parent_pid: int, worker: int) -> None:
        """End this process with its parent; until then answer requests for the worker's stack, if they are messages.

        The parent's pid is checked, because a forked sibling may hold the parent's sentinel.
        """
        watched = [parent.sentinel] if isinstance(probe, int) else [parent.sentinel, probe]
        while system.getppid() == parent_pid:
            ready = wait_natively(watched, 0.5)
            if parent.sentinel in ready:
                break
            if not isinstance(probe, int) and probe in ready:
                try:
                    probe.recv_bytes()
                    probe.send_bytes(_stack_of(worker))
                except (EOFError, OSError):  # the pool has closed the probe
                    watched = watched[:1]
        system._exit(1)

    parent_pid, worker = system.getppid(), threading.get_ident()
    start_native_thread(lambda: attend(parent_pid, worker), "attendant")
    serve_pipe(connection=worker_end(connection), encode=encode, prepare=prepare, limit=limit)


def _stack_of(thread: int) -> bytes:
    from corefutures_pools.inspection.stacks import own_stacks, write_frames  # few workers need it

    return write_frames(own_stacks().get(thread, [])).encode()


def _die_with_parent(parent_death_pipe: int) -> None:
    """Have the kernel kill this process when the other end of that pipe is closed: no thread, no polling, no GIL."""
    if sys.platform != "linux":
        raise OSError("only Linux sends a signal when a pipe ends")
    import fcntl

    from corefutures_pools.blocking import select

    # A new open file description, because it has the owner and the signal.
    own = system.open(f"/proc/self/fd/{parent_death_pipe}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(own, fcntl.F_SETOWN, system.getpid())
    fcntl.fcntl(own, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    poll = select.poll()
    poll.register(own, 0)
    if poll.poll(0):  # the pipe was closed before
        sys.exit(1)
