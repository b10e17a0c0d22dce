"""The code of a template process: imports the modules of the option `warm`, then forks a worker for each request.

Touches `multiprocessing` and imports little else. Guarantees: the process has one thread whenever it forks; what an
import raised is sent to the program; the process ends when the program does, or after a time without workers.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import os
import pickle
import signal
import sys
import warnings

assert sys.platform != "win32"  # nothing else imports this, and type checkers need not read on

from multiprocessing import forkserver, spawn, util
from multiprocessing.context import ForkServerProcess

from corefutures_pools.blocking import select, system, threading

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from typing import Any, Final

#: What a template process sends: it is about to import a module; an import failed; a module has started threads; it is
#: ready to fork workers.
IMPORTING: Final = "importing"
FAILED: Final = "failed"
THREADS: Final = "threads"
READY: Final = "ready"

#: Descriptors that one request may have at most, as the kernel takes with one message.
_MAX_DESCRIPTORS: Final = 253
#: The modules of this project that a worker would import.
_WORKER_MODULES: list[str] = [
    "corefutures_process._worker_process", "corefutures_pools.workers.pipes.worker",
    "corefutures_pools.workers.transport", "multiprocessing.connection", "multiprocessing.popen_forkserver",
    "multiprocessing.resource_sharer", "faulthandler", "marshal",
]  # fmt: skip
if sys.platform == "linux":
    _WORKER_MODULES += [
        "corefutures_pools.workers.shared_queue.worker", "corefutures_pools.workers.shared_queue.descriptor_channel",
        "fcntl", "mmap",
    ]  # fmt: skip


def serve(requests: Connection, modules: tuple[str, ...], idle: float) -> None:
    """Import the modules, and fork workers; the target of the template's `Process`.

    Args:
        requests: The connection to the program: `tell` writes to it, and requests come from it.
        modules: The names of the modules.
        idle: Seconds without a worker and without a request after which this process ends.
    """
    handlers: dict[int, Any] = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}  # Ctrl-C is the program's
    with contextlib.suppress(ConnectionError):  # the program has gone
        if not _prepare(requests, modules):
            return
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        server = _Server(requests, handlers)
        requests.send_bytes(pickle.dumps((READY,)))
        server.run(idle)
    util._flush_std_streams()  # type: ignore[attr-defined]
    system._exit(0)


def _prepare(requests: Connection, modules: tuple[str, ...]) -> bool:
    """Import the modules; return False if that failed, as the program has been told."""
    for name in _WORKER_MODULES:
        __import__(name)
    if _counts_threads(requests, "__main__"):
        return False
    for name in modules:
        requests.send_bytes(pickle.dumps((IMPORTING, name)))
        try:
            __import__(name)
        except BaseException as exc:
            from corefutures_pools.tracebacks import traceback_text  # few templates need it

            described = f"{type(exc).__name__}: {exc}"
            missing = isinstance(exc, ModuleNotFoundError)
            requests.send_bytes(pickle.dumps((FAILED, name, described, missing, traceback_text(exc))))
            return False
        if _counts_threads(requests, name):
            return False
    util._flush_std_streams()  # type: ignore[attr-defined]  # or each worker would write what is buffered
    gc.collect()
    gc.freeze()  # no collection in a worker copies the pages of these objects
    return True


def _counts_threads(requests: Connection, name: str) -> bool:
    """Return whether there are threads that a fork would leave without their work; tell the program which module's."""
    count = _other_threads()
    if count:
        _fork_once()
        count = _other_threads()  # OpenBLAS and others end their threads before a fork, and start them again later
    if count:
        requests.send_bytes(pickle.dumps((THREADS, name, count)))
    return bool(count)


def _other_threads() -> int:
    """Return how many threads there are besides this one, as far as the platform tells."""
    try:
        return len(system.listdir("/proc/self/task")) - 1
    except OSError:
        return threading.active_count() - 1


def _fork_once() -> None:
    """Fork a process that ends at once: what is registered to run before a fork, also in C, has run then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python, about the threads
        pid = system.fork()
        if pid == 0:
            system._exit(0)
    system.waitpid(pid, 0)


class _Server:
    """Forks workers on request, and tells the program their exit codes.

    The steps of a request, so that a template that is killed at any point leaves no worker that the program does not
    know of:

    1. The program sends the worker's end of a data pipe, and the template's end of a status pipe.
    2. The template forks. The worker waits for its data.
    3. The template writes the worker's pid to the status pipe, and later its exit code.
    4. The program reads the pid, and only then writes the data. Without a pid it closes the data pipe: the worker reads
       the end of it, and ends.

    Args:
        requests: The connection to the program.
        handlers: The signal handlers that workers are to have.
    """

    def __init__(self, requests: Connection, handlers: dict[int, Any]) -> None:
        import _socket  # as in `descriptor_channel`

        self._requests = requests
        self._handlers = handlers
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, fileno=requests.fileno())
        self._socket.settimeout(None)
        self._space = _socket.CMSG_SPACE(4 * _MAX_DESCRIPTORS)
        self._statuses: dict[int, int] = {}  # by pid of a worker: the status pipe to write its exit code to
        self._signals, self._wakeup = system.pipe()
        system.set_blocking(self._signals, False)
        system.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    def run(self, idle: float) -> None:
        """Serve requests until the program has gone, or for `idle` seconds there was no worker and no request."""
        poll = select.poll()
        poll.register(self._requests.fileno(), select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll(idle * 1000)]
            if not ready and not self._statuses:
                return
            if self._signals in ready:
                self._collect_exit_codes()
            if self._requests.fileno() in ready:
                descriptors = self._receive()
                if descriptors is None:
                    return
                if len(descriptors) >= 2:
                    self._start(*descriptors)

    def _receive(self) -> list[int] | None:
        """Return the descriptors of a request, none if they could not be received; None if the program has gone."""
        try:
            message, ancillary, _, _ = self._socket.recvmsg(1, self._space)
        except ConnectionError:
            return None
        if not message:
            return None
        descriptors = array.array("i")
        for _, _, content in ancillary:
            descriptors.frombytes(content[: len(content) // 4 * 4])
        for descriptor in descriptors:
            system.set_inheritable(descriptor, False)
        if len(descriptors) != message[0]:  # this process has no descriptor left
            for descriptor in descriptors:
                system.close(descriptor)
            return []
        return list(descriptors)

    def _start(self, data: int, status: int, *inherited: int) -> None:
        """Fork a worker; its pid, or the error with a minus sign, goes to `status`."""
        try:
            answer = system.fork()
        except OSError as exc:
            answer = -(exc.errno or 1)
        if answer == 0:
            self._become_worker(data, status, inherited)
        for descriptor in (data, *inherited):
            system.close(descriptor)
        with contextlib.suppress(BrokenPipeError):  # the program has given up
            forkserver.write_signed(status, answer)
        if answer > 0:
            self._statuses[answer] = status
        else:
            system.close(status)

    def _become_worker(self, data: int, status: int, inherited: tuple[int, ...]) -> None:
        """Run the worker whose `Process` comes by `data`, and end this process."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number, handler in self._handlers.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            for descriptor in (status, self._signals, self._wakeup, *self._statuses.values()):
                system.close(descriptor)
            self._socket.detach()
            self._requests.close()
            forkserver._forkserver._inherited_fds = list(inherited)  # type: ignore[attr-defined]
            if sys.version_info >= (3, 14):  # since then multiprocessing runs `atexit` callbacks in all its processes
                atexit._clear()
                atexit.register(util._exit_function)  # type: ignore[attr-defined]
            _seed()
            code = spawn._main(data, system.dup(data))
        except EOFError:  # the program has given up
            pass
        except BaseException:
            sys.excepthook(*sys.exc_info())  # pyright: ignore[reportArgumentType]
        finally:
            try:
                if sys.version_info >= (3, 14):
                    atexit._run_exitfuncs()
                util._flush_std_streams()  # type: ignore[attr-defined]
            finally:
                system._exit(code)

    def _collect_exit_codes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while system.read(self._signals, 1 << 12):
                pass
        for pid, status in list(self._statuses.items()):
            try:
                ended, how = system.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # a module has reaped it
                ended, how = pid, 0
            if ended:
                del self._statuses[pid]
                with contextlib.suppress(BrokenPipeError):
                    forkserver.write_signed(status, system.waitstatus_to_exitcode(how))
                system.close(status)


def blank_process() -> BaseProcess:
    """Return the `Process` of a worker without its state, which follows."""
    return ForkServerProcess.__new__(ForkServerProcess)


def _seed() -> None:
    """Seed NumPy's global generator, as CPython does with that of `random`: workers would all draw the same numbers."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
