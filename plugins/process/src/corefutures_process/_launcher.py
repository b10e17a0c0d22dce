"""How a worker process starts, ends, and is noticed: `ProcessLauncher` and `ProcessWorker`.

Touches `multiprocessing`. Guarantees: a worker inherits its own ends and no sibling's; its end is seen even if
a process that it left behind holds its pipes.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing.process
import os
import pickle
import signal
import sys
import threading
import time
from functools import partial
from multiprocessing import reduction
from multiprocessing.connection import wait
from multiprocessing.context import get_spawning_popen
from multiprocessing.process import BaseProcess

from corefutures import UnsupportedError
from corefutures_pools.blocking import clock, system
from corefutures_pools.cpu import process_seconds
from corefutures_pools.descriptors import Descriptor
from corefutures_pools.exceptions import add_note
from corefutures_pools.lifecycle import renew_in_child
from corefutures_pools.workers.fork_check import check_fork
from corefutures_pools.workers.logging.receiver import current_levels
from corefutures_pools.workers.transport import threads_are_replaced
from corefutures_pools.workers.worker_loop import SharedQueueEnds
from corefutures_process import _worker_process
from corefutures_process._inherited_state import ProcessName, surroundings
from corefutures_process._inner_threads import LimitedStart
from corefutures_process._process_tree import kill_tree, terminate_tree, wait_for_dying
from corefutures_process._stack_probes import open_line, travelling

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import BaseContext
    from typing import Any, Final

    from corefutures_pools.inspection.stacks import Frame
    from corefutures_pools.workers.logging.receiver import LogReceiver
    from corefutures_process._stack_probes import Line


#: Seconds to wait for the fork server to tell how a process of its own has ended, which that has by then.
_PATIENCE: Final = 5.0
#: Descriptors that starting a process takes, at most.
_NEEDED: Final = 10
#: What is said if a worker can't be started, perhaps because of what is sent to it.
_SENT_INITIALIZER: Final = (
    "raised as a worker process was started by {!r}, which has to be sent the initializer and its arguments: {}have it"
    " make what can't be pickled itself."
)
_NAMED_INITIALIZER: Final = (
    "define it at the top level of a module, or make the pool with serializer='cloudpickle'; and "
)
#: Seconds for importing what the fork server was told to import, in order to see what fails.
_PROBE_LIMIT: Final = 20.0
_BEGUN: Final = "corefutures imports "
_PROBE: Final = f"""
import sys
sys.path[:] = {{!r}}
for name in {{!r}}:
    print({_BEGUN!r} + name, file=sys.stderr, flush=True)
    try:
        __import__(name)
    except ImportError:
        pass
"""


class ProcessLauncher:
    """Starts the workers of one executor, which alone refers to it.

    Args:
        context: Where processes come from.
        processes: The executor's table of them, by pid, which is kept up to date here.
        initializer: Run first in each worker.
        initargs: Its arguments.
        limit: How many calls each worker runs at most, or None.
        serializer: See `make_encoder`.
        inner_threads: How many threads BLAS and OpenMP may start in each, or None.
        logs: What reads their logs, or None.
        kill_tree: Whether what a worker has started is stopped with it.
        hint: What is said of the start method where starting a worker fails.
    """

    def __init__(
        self,
        context: BaseContext,
        processes: dict[int, BaseProcess],
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        limit: int | None,
        serializer: str,
        inner_threads: int | None = None,
        logs: LogReceiver | None = None,
        kill_tree: bool = False,
        hint: str = "",
    ) -> None:
        self._context = context
        self._hint = hint
        self._kill_tree = kill_tree
        self._processes = processes
        self._inner_threads = inner_threads
        self._logs = logs
        self.starter = 0  # the thread that starts a worker just now; a forked one knows by it what it is
        if inner_threads is not None:
            initializer = LimitedStart(inner_threads, initializer)
        if initializer is not None and serializer != "pickle":
            initializer, initargs = _Initializer(partial(initializer, *initargs), serializer), ()
        self._rest = (initializer, initargs, limit, serializer)

    def launch(self, ends: Any) -> ProcessWorker:
        """Starts a process that serves `ends`.

        Raises:
            RuntimeError: Whoever was to become the worker, or to fork it, ended instead.
            UnsupportedError: It would have to be forked, and this process has other interpreters.
            BaseException: Whatever starting a process raises.
        """
        if self._context.get_start_method() == "fork":
            check_fork("a process pool with the start method 'fork'")
        if isinstance(ends, SharedQueueEnds):
            ends = _TravellingEnds(*ends)
        line = open_line()
        try:
            log = None if self._logs is None else self._logs.open()
        except BaseException:
            line.close_child_end()
            line.close()
            raise
        log_end = None if log is None else (travelling(log.child_end), current_levels())
        arguments = (ends, *self._rest, line.child_end, log_end)
        try:
            self.starter = threading.get_ident()
            if sys.platform != "win32":
                _check_descriptors()
            try:
                process = self._start(arguments)
            except (ConnectionError, EOFError):
                if self._context.get_start_method() != "forkserver" or not _fork_server_ended():
                    raise
                process = self._start(arguments)  # multiprocessing starts another server
        except BaseException as exc:
            line.close()
            if self._logs is not None and log is not None:
                self._logs.end(log)
            method = self._context.get_start_method()
            if isinstance(exc, BlockingIOError) and threads_are_replaced():
                raise UnsupportedError(
                    f"a worker process can't be started with {method!r} here: the socket of its server does not"
                    " wait, because a library such as gevent has replaced sockets; pass"
                    " mp_context=multiprocessing.get_context('spawn'), or 'fork'"
                ) from exc
            if not isinstance(exc, (ConnectionError, EOFError)):
                if self._rest[0] is not None and isinstance(exc, (pickle.PicklingError, AttributeError, TypeError)):
                    remedy = "" if isinstance(self._rest[0], _Initializer) else _NAMED_INITIALIZER
                    add_note(exc, f"{_SENT_INITIALIZER.format(method, remedy)} {self._hint}".rstrip())
                raise
            from corefutures_pools.workers.pool import WorkerPool  # here for start-up time only

            why = (_preloaded() if method == "forkserver" else "") or WorkerPool.NOT_READY_HINT
            raise RuntimeError(
                f"a worker process could not be started with {method!r}: what was to become one ended before that."
                f" {why} {self._hint}".rstrip()
            ) from exc
        finally:
            self.starter = 0
            line.close_child_end()
            if log is not None:
                log.close_child_end()
        self._processes[process.pid] = process  # type: ignore[index]
        if self._logs is not None and log is not None:
            try:
                self._logs.attend()
            except BaseException:  # nobody would read what it writes, until it can't write any more
                process.kill()
                process.join()
                self._processes.pop(process.pid, None)  # type: ignore[arg-type]
                line.close()
                self._logs.end(log)
                raise
        on_end = None if self._logs is None or log is None else partial(self._logs.end, log)
        method = self._context.get_start_method()
        return ProcessWorker(process, self._processes, line, method, on_end, kill_tree=self._kill_tree)

    def _start(self, arguments: tuple[Any, ...]) -> BaseProcess:
        process: BaseProcess = self._context.Process(  # type: ignore[attr-defined]
            target=_worker_process.serve, args=arguments
        )
        name, method = process.name, self._context.get_start_method()
        if method == "forkserver" or (self._inner_threads is not None and method != "fork"):
            process.name = ProcessName(name, surroundings(self._inner_threads))
        with _MainWithoutFile():
            process.start()
        process.name = name
        return process


class _MainWithoutFile:
    """Hides the name of the main module's file, as long as a process is being started, if that is no name of a file.

    multiprocessing would have each worker run a file called "<stdin>". Without that name a worker does without the main
    module, as it does for `python -c`.
    """

    def __enter__(self) -> None:
        main: Any = sys.modules.get("__main__")
        self._main, self._path = main, getattr(main, "__file__", None)
        if self._path is None or not self._path.startswith("<"):
            self._main = None
        if self._main is not None:
            vars(self._main).pop("__file__", None)

    def __exit__(self, *_: object) -> None:
        if self._main is not None:
            self._main.__file__ = self._path


def _check_descriptors() -> None:
    """Raises OSError unless there are as many descriptors left as starting a process takes.

    If they end half-way, multiprocessing loses those that it has, and the process one that it can't do without.
    """
    taken: list[int] = []
    try:
        while len(taken) < _NEEDED:
            taken += system.pipe()
    finally:
        while taken:
            system.close(taken.pop())


def _preloaded() -> str:
    """Returns what is said of modules that the fork server was told to import first, which ends it if one fails."""
    from multiprocessing import forkserver

    named = getattr(forkserver._forkserver, "_preload_modules", ())
    modules = [name for name in named if name != "__main__"]
    if not modules:
        return ""
    first = f"The fork server imports {', '.join(modules)} first (set_forkserver_preload), and ends if that fails"
    try:
        failed = _first_failure(modules)
    except Exception:  # there are no processes left, say
        failed = None
    if failed is not None:
        return f"{first}: {failed}."
    return "" if "__main__" in named else f"{first}; what it says of that is on standard error."


def _first_failure(modules: list[str]) -> str | None:
    """Returns which of the modules ends a process that imports them as the fork server does, and how; None if none."""
    import re
    import subprocess
    from multiprocessing import spawn, util

    flags: list[str] = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    started = subprocess.run(
        [spawn.get_executable(), *flags, "-c", _PROBE.format(sys.path, modules)],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_LIMIT, check=False, encoding="utf-8",
        errors="backslashreplace",
    )  # fmt: skip
    begun = re.findall(_BEGUN + r"(\S+)", started.stderr)
    if started.returncode == 0 or not begun:
        return None
    said = started.stderr.rpartition(_BEGUN + begun[-1])[2].split("\n")
    last = next((line for line in reversed(said) if line and not line[0].isspace()), f"exit code {started.returncode}")
    return f"{begun[-1]} fails ({last})"


def _fork_server_ended() -> bool:
    """Returns whether the fork server has ended, or is just about to: somebody killed it, or wrote to its pipe."""
    from multiprocessing import forkserver

    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    deadline = clock.monotonic() + 0.2
    if sys.platform == "win32":
        return False
    while pid is not None and hasattr(os, "waitid"):
        try:
            if system.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
        except OSError:  # somebody has waited for it
            return True
        if clock.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class _Initializer:
    """An initializer that travels by the pool's own serializer, as calls do."""

    def __init__(self, call: Callable[[], object], serializer: str) -> None:
        self._call = call
        self._serializer = serializer

    def __call__(self) -> object:  # in a worker that was forked
        return self._call()

    def __reduce__(self) -> Any:
        return pickle.loads, (_worker_process.make_encoder(self._serializer, memfds=False).in_band(self._call),)


class _TravellingEnds(SharedQueueEnds):
    """Ends whose descriptors go along with the process that is being started."""

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
        return _worker_process.take_ends, tuple(passed)


class _Pidfd(Descriptor):
    """Speaks of a process, not of its number."""

    __slots__ = ()

    def send(self, signum: int) -> None:
        if sys.platform != "win32":
            signal.pidfd_send_signal(self.number, signum)


class ProcessWorker:
    """A worker process; see `interface.WorkerHandle`."""

    thread = None  # it is a process

    def __init__(
        self,
        process: BaseProcess,
        processes: dict[int, BaseProcess],
        line: Line,
        method: str,
        on_end: Callable[[], None] | None = None,
        *,
        kill_tree: bool = False,
    ) -> None:
        self._process: BaseProcess | None = process
        self._kill_tree = kill_tree
        self._killed = False
        self._is_child = method != "forkserver"
        self._processes = processes
        self._line = line
        self._on_end = on_end
        self.name = process.name
        self.pid = process.pid
        # A pidfd speaks of the process itself. Elsewhere than on Windows, its sentinel is a pipe: silent as long as
        # something that the worker left behind holds the other end, and loud when a call writes to that or closes it,
        # or the fork server ends. So where there is no pidfd, who seems to have ended is killed, and then asked for.
        self._pidfd: _Pidfd | None = None
        if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal") and process.pid is not None:
            try:
                self._pidfd = _Pidfd(system.pidfd_open(process.pid))
            except OSError as exc:
                if exc.errno in (errno.EMFILE, errno.ENFILE):
                    self.kill()
                    self.reap()
                    raise

    def cpu_seconds(self) -> float | None:
        return process_seconds(self.pid)

    def sentinels(self) -> list[int]:
        process = self._process
        if process is None:
            return []
        pidfd = self._pidfd
        return [process.sentinel if pidfd is None else pidfd.number]

    def ended(self) -> bool:
        process, pid = self._process, self.pid
        if process is None or pid is None:
            return True
        if self._pidfd is not None:
            return self._wait(0)
        if sys.platform != "win32":
            self.kill()
        if self._is_child:
            return not process.is_alive()
        try:
            system.kill(pid, 0)  # it is there until the fork server, or whoever has inherited it, has reaped it
        except OSError:
            return True
        return False

    def _wait(self, timeout: int | None) -> bool:
        """Returns whether the process has ended, after waiting for that so many milliseconds."""
        pidfd = self._pidfd
        if sys.platform == "win32" or pidfd is None:  # it has been reaped meanwhile
            return True
        return bool(wait([pidfd.number], None if timeout is None else timeout / 1000))

    def mark_exiting(self) -> None:
        self._strike_off(self._process)

    def _strike_off(self, process: BaseProcess | None) -> None:
        if self.pid is not None and process is not None and self._processes.get(self.pid) is process:
            del self._processes[self.pid]

    def terminate(self) -> None:
        self._signal("terminate")

    def kill(self) -> None:
        self._killed = True
        self._signal("kill")

    def interrupt(self) -> None:
        if sys.platform != "win32" and self._process is not None and self.pid is not None:
            with contextlib.suppress(OSError):  # it has ended
                if (pidfd := self._pidfd) is not None:
                    pidfd.send(signal.SIGINT)
                else:
                    system.kill(self.pid, signal.SIGINT)

    def _signal(self, how: str) -> None:
        if self._kill_tree and self.pid is not None and self._lives():
            if how == "terminate":
                terminate_tree(self.pid, partial(self._signal_alone, how))
            elif sys.platform == "win32":
                self._signal_alone(how)
            elif self._own(how) is not None:
                kill_tree(self.pid, partial(self._signal_alone, how))
            elif (pidfd := self._pidfd) is not None:
                kill_tree(self.pid, partial(signal.pidfd_send_signal, pidfd.number, signal.SIGKILL))
            else:
                kill_tree(self.pid, partial(system.kill, self.pid, signal.SIGKILL))
        else:
            self._signal_alone(how)

    def _lives(self) -> bool:
        """Returns whether the process may live still; if not, its number may be another's by now."""
        return self._process is not None and not (self._pidfd is not None and self._wait(0))

    def _own(self, how: str) -> Callable[[], object] | None:
        """Returns the process's own method, if its context has a class of processes with another one than Python's."""
        method: Callable[[], object] | None = getattr(self._process, how, None)
        return None if getattr(method, "__func__", method) is getattr(BaseProcess, how) else method

    def _signal_alone(self, how: str) -> None:
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError, ValueError):  # it has ended
                pidfd = self._pidfd
                if (own := self._own(how)) is not None:
                    own()
                    if how == "terminate":
                        return
                if sys.platform != "win32" and pidfd is not None:  # the fork server may have reaped it: not by its pid
                    pidfd.send(signal.SIGKILL if how == "kill" else signal.SIGTERM)
                else:
                    getattr(BaseProcess, how)(process)

    def ask_for_stack(self) -> None:
        if self.pid is not None:
            self._line.ask(self.pid)

    def read_stack(self, deadline: float) -> tuple[list[Frame], str | None]:
        return self._line.answer(deadline)

    def reap(self) -> int | None:
        process, self._process = self._process, None  # it holds descriptors, and a traceback may hold us
        if process is None:
            return None
        self._line.close()
        if self._pidfd is not None:
            self._wait(None)  # one that leaves takes its time
        ended = self._killed or self._pidfd is not None
        if self._is_child and self._pidfd is not None:
            self._collect_status(process)
        process.join(_PATIENCE if ended and not self._is_child else None)
        if ended:  # or multiprocessing would wait at exit for what a fork server never tells
            multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]
        wait_for_dying()
        if self._on_end is not None:
            self._on_end()
        self._strike_off(process)
        self._pidfd = None
        return process.exitcode

    def _collect_status(self, process: BaseProcess) -> None:
        """Ask the kernel how it ended: gevent's `os.waitpid` waits for a loop that nobody may run."""
        popen: Any = process._popen  # type: ignore[attr-defined]
        if sys.platform != "win32" and self.pid is not None and popen.returncode is None:
            with contextlib.suppress(ChildProcessError):  # somebody else has asked
                pid, status = system.waitpid(self.pid, os.WNOHANG)
                if pid:
                    popen.returncode = system.waitstatus_to_exitcode(status)


def _after_fork_in_child() -> None:
    """Leave the fork server to the parent; start another when one is needed (E11)."""
    module = sys.modules.get("multiprocessing.forkserver")
    server = getattr(module, "_forkserver", None)
    if getattr(server, "_forkserver_pid", None) is None:
        return
    alive, server._forkserver_alive_fd = server._forkserver_alive_fd, None  # type: ignore[union-attr]
    server._forkserver_pid = server._forkserver_address = None  # type: ignore[union-attr]
    server._lock = threading.Lock()  # type: ignore[union-attr]
    if alive is not None:
        system.close(alive)


renew_in_child(_after_fork_in_child)
