"""`ProcessLauncher`: starts worker processes by any start method of multiprocessing.

Touches `multiprocessing`. Guarantees: a worker inherits its own ends of the transport and no other worker's; a failed
start leaves no descriptor behind, and its error names the cause and the remedy.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from functools import partial
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen

from corefutures import UnsupportedError
from corefutures_pools.blocking import Lock, system, threading
from corefutures_pools.foreign_code import add_note
from corefutures_pools.lifecycle import renew_in_child
from corefutures_pools.workers.fork_check import check_fork
from corefutures_pools.workers.logging.receiver import current_levels
from corefutures_pools.workers.main_file import restore_main_file
from corefutures_pools.workers.shared_queue.ends import SharedQueueEnds
from corefutures_pools.workers.transport import threads_are_replaced
from corefutures_process import _fork_server, _worker_process
from corefutures_process._inherited_state import StatefulName, inherited_state
from corefutures_process._inner_threads import LimitedInitializer
from corefutures_process._stack_probes import as_argument, make_probe
from corefutures_process._worker_handle import ProcessWorker

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess
    from typing import Any, Final

    from corefutures_pools.workers.logging.receiver import LogReceiver

#: The number of descriptors that starting a process takes at most.
_DESCRIPTORS_NEEDED: Final = 10
#: The note on an error that may be due to an initializer that can't be pickled.
_INITIALIZER_NOTE: Final = (
    "raised as a worker process was started by {!r}, which has to be sent the initializer and its arguments: {}have it"
    " make what can't be pickled itself."
)
_INITIALIZER_REMEDY: Final = (
    "define it at the top level of a module, or make the pool with serializer='cloudpickle'; and "
)
#: Said of a worker that was lost before it was ready.
NOT_READY_HINT: Final = (
    "It had not finished starting. Does it import a main module that makes the pool at import time? Then put that"
    " under `if __name__ == '__main__':`."
)


class ProcessLauncher:
    """Starts the workers of one executor, which has the only reference to it.

    Args:
        context: The multiprocessing context that makes the processes.
        processes: The executor's table of processes by pid, which is kept up to date here.
        initializer: Called first in each worker, or None.
        initargs: The arguments of the initializer.
        limit: The maximum number of calls that each worker runs, or None.
        serializer: The executor's option.
        inner_threads: The number of threads that BLAS and OpenMP may start in each worker, or None.
        logs: The receiver of the workers' log records, or None.
        kill_tree: Whether the programs that a worker has started are stopped with it.
        warm: The modules that the template has imported from which workers are forked; None: they have no template.
        hint: A sentence on the start method, for errors of failed starts.
    """

    def __init__(
        self,
        context: BaseContext,
        processes: dict[int, BaseProcess],
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        limit: int | None,
        *,
        serializer: str,
        inner_threads: int | None = None,
        logs: LogReceiver | None = None,
        kill_tree: bool = False,
        warm: tuple[str, ...] | None = None,
        hint: str = "",
    ) -> None:
        self._context = context
        self._hint = hint
        self._warm = warm
        self._kill_tree = kill_tree
        self._processes = processes
        self._inner_threads = inner_threads
        self._logs = logs
        self._starter = 0  # the ident of the thread that is starting a worker
        if inner_threads is not None:
            initializer = LimitedInitializer(inner_threads, initializer)
        if initializer is not None and serializer != "pickle":
            initializer, initargs = _SerializedInitializer(partial(initializer, *initargs), serializer), ()
        self._initializer = initializer
        self._arguments = (initializer, initargs, limit, serializer)

    @property
    def _method(self) -> str:
        return self._context.get_start_method(allow_none=False)

    def launch(self, ends: Any) -> ProcessWorker:
        """Start a worker with its ends of the transport.

        Raises:
            RuntimeError: The process, or the fork server, ended before it had become a worker.
            UnsupportedError: The process can't be forked or reached in this program.
            BaseException: Whatever starting a process raises.
        """
        if self._method == "fork":
            check_fork("a process pool with the start method 'fork'")
        if isinstance(ends, SharedQueueEnds):
            ends = _SendableEnds(*ends)
        logs, on_end, log = self._logs, None, None
        with contextlib.ExitStack() as always, contextlib.ExitStack() as on_failure:
            probe = make_probe()
            always.callback(probe.close_child_end)
            on_failure.callback(probe.close)
            if logs is not None:
                pipe = logs.open_pipe()
                on_end = partial(logs.worker_ended, pipe)
                always.callback(pipe.close_child_end)
                on_failure.callback(on_end)
                log = as_argument(pipe.child_end), current_levels()
            process = self._start((ends, *self._arguments, probe.child_end, log))
            self._processes[process.pid] = process  # type: ignore[index]
            if logs is not None:
                on_failure.callback(self._undo_start, process)
                logs.worker_started()  # on failure no thread reads the worker's pipe, and its writes would block
            on_failure.pop_all()
        return ProcessWorker(process, self._processes, probe, self._method, on_end, kill_tree=self._kill_tree)

    def _undo_start(self, process: BaseProcess) -> None:
        process.kill()
        process.join()
        self._processes.pop(process.pid, None)  # type: ignore[arg-type]

    def starts_in_this_thread(self) -> bool:
        """Return whether this thread is starting a worker: in a forked child, whether the child is that worker."""
        return self._starter == threading.get_ident()

    def _start(self, arguments: tuple[Any, ...]) -> BaseProcess:
        """Start a process that serves the pool, with another fork server if the old one has ended."""
        self._starter = threading.get_ident()
        try:
            if sys.platform != "win32":
                _check_descriptors()
            if self._warm is not None:
                return self._start_from_template(arguments)
            try:
                return self._start_once(arguments)
            except (ConnectionError, EOFError):
                if self._method != "forkserver" or not _fork_server.has_ended():
                    raise
                return self._start_once(arguments)
        except BaseException as exc:
            self._explain_failure(exc)
            raise
        finally:
            self._starter = 0

    def _start_from_template(self, arguments: tuple[Any, ...]) -> BaseProcess:
        """Start a process by the pool's template, or by another one if that has ended."""
        if sys.platform == "win32":
            raise OSError("Windows has no fork")
        from corefutures_process import _template  # few pools need it

        assert self._warm is not None
        template = _template.template_for(self._warm, self._inner_threads)
        try:
            return self._start_once(arguments, template)
        except (ConnectionError, EOFError):
            _template.discard(template)
            return self._start_once(arguments, _template.template_for(self._warm, self._inner_threads))

    def _start_once(self, arguments: tuple[Any, ...], template: Any = None) -> BaseProcess:
        process: BaseProcess
        if template is None:
            process = self._context.Process(target=_worker_process.serve, args=arguments)  # type: ignore[attr-defined]
        else:
            process = template.new_process(_worker_process.serve, arguments)
        name, method = process.name, self._method
        if method == "forkserver" or (self._inner_threads is not None and method != "fork"):
            process.name = StatefulName(name, inherited_state(self._inner_threads))
        with _UnnamedMainFile(), _turn_to_fork() if method == "fork" else contextlib.nullcontext():
            restore_main_file()
            process.start()
        process.name = name
        return process

    def _explain_failure(self, exc: BaseException) -> None:
        """Raise another error if it names the cause of a failed start; otherwise add a note to this one."""
        method = self._method
        if isinstance(exc, BlockingIOError) and threads_are_replaced():
            raise UnsupportedError(
                f"a worker process can't be started with {method!r} here: the socket of its server does not"
                " wait, because a library such as gevent has replaced sockets; pass"
                " mp_context=multiprocessing.get_context('spawn'), or 'fork'"
            ) from exc
        if isinstance(exc, (ConnectionError, EOFError)):
            preloads = method == "forkserver" and self._warm is None
            why = (_fork_server.describe_preload() if preloads else "") or NOT_READY_HINT
            raise RuntimeError(
                f"a worker process could not be started with {method!r}: what was to become one ended before that."
                f" {why} {self._hint}".rstrip()
            ) from exc
        if self._initializer is not None and isinstance(exc, (pickle.PicklingError, AttributeError, TypeError)):
            remedy = "" if isinstance(self._initializer, _SerializedInitializer) else _INITIALIZER_REMEDY
            add_note(exc, f"{_INITIALIZER_NOTE.format(method, remedy)} {self._hint}".rstrip())


class _UnnamedMainFile:
    """Hides `__main__.__file__` while processes are being started if it is no name of a file.

    multiprocessing would have each worker run a file called "<stdin>". Without the name, a worker does not run the main
    module, as for `python -c`. Of the threads that start processes at once, the last one restores the name.
    """

    # Guards `_starting` and, once `_known` is set, the attribute `__file__` of the main module. Nothing is called under
    # it, see `Lock`.
    _lock = Lock()
    _starting = 0  # how many threads have the name hidden
    _known: tuple[Any, str] | None = None  # the main module, and the name

    def __enter__(self) -> None:
        shared, main = _UnnamedMainFile, sys.modules.get("__main__")
        path = getattr(main, "__file__", None)
        if isinstance(path, str) and path.startswith("<"):
            shared._known = main, path
        # Read after the name: a thread that finds it hidden finds this set.
        self._hidden = known = shared._known
        if known is not None and shared._lock.taken:
            shared._starting += 1
            known[0].__file__ = None
            shared._lock.release()

    def __exit__(self, *_: object) -> None:
        shared, known = _UnnamedMainFile, self._hidden
        if known is not None and shared._lock.taken:
            shared._starting -= 1
            if shared._starting == 0:
                known[0].__file__ = known[1]
            shared._lock.release()


#: Seconds after which a thread forks although another one does: a signal handler that has interrupted that one may wait
#: for this one's worker.
_FORK_TURN: Final = 5.0

# Held while a worker is forked. multiprocessing flushes the standard streams before it forks, and a worker flushes them
# when it ends. Without the GIL, a stream is locked while a thread flushes it: a worker that another thread forks at
# that moment would never end. Reentrant, because a signal handler may start a worker; renewed in a child, whose parent
# holds it.
_fork_lock = Lock()


@contextlib.contextmanager
def _turn_to_fork() -> Iterator[None]:
    lock = _fork_lock
    taken = lock.acquire(timeout=_FORK_TURN)
    try:
        yield
    finally:
        if taken:
            lock.release()


def _after_fork_in_child() -> None:
    global _fork_lock
    _fork_lock = Lock()


renew_in_child(_after_fork_in_child)


def _check_descriptors() -> None:
    """Raise OSError unless enough descriptors are left to start a process.

    multiprocessing leaks descriptors if it runs out of them halfway, and the new process lacks one that it needs.
    """
    taken: list[int] = []
    try:
        while len(taken) < _DESCRIPTORS_NEEDED:
            taken += system.pipe()
    finally:
        while taken:
            system.close(taken.pop())


class _SerializedInitializer:
    """An initializer that is sent by the pool's serializer, as calls are."""

    def __init__(self, call: Callable[[], object], serializer: str) -> None:
        self._call = call
        self._serializer = serializer

    def __call__(self) -> object:  # in a forked worker
        return self._call()

    def __reduce__(self) -> Any:
        return pickle.loads, (_worker_process.make_encoder(self._serializer, memfds=False).in_band(self._call),)


class _SendableEnds(SharedQueueEnds):
    """Ends of the transport whose descriptors are sent to the process that is being started."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        if sys.platform == "win32" or get_spawning_popen() is None:
            raise TypeError("the ends of a worker can only be sent to a process that is being started")
        passed = self._replace(
            tasks=reduction.DupFd(self.tasks),
            frames=reduction.DupFd(self.frames),
            memory=reduction.DupFd(self.memory),
            parent_death_pipe=reduction.DupFd(self.parent_death_pipe),
            payload_channel=reduction.DupFd(self.payload_channel),
        )
        return _worker_process.receive_ends, tuple(passed)
