"""Faults on purpose, in every process and interpreter of a program: `make chaos` says when, by a seed.

The product has no code for this. An import hook replaces names in our modules once they are imported: system calls in
the seam's namespace, `mmap`, `socketpair` and `epoll` in the modules that use them, the starts of threads, processes
and interpreters. Imports little: workers import it as well.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from _blake2 import blake2b
from collections.abc import Callable
from functools import wraps
from math import log
from typing import Any

import branches

#: `SEED|LOG|POINT=RATE|POINT=RATE…`: the seed, the file to which each fault that fires is appended, the rates.
SETTING = "COREFUTURES_TEST_FAULTS"
_PIPE_BUF = 4096  # bytes: a write to a pipe that is not longer is never cut short

_append, _open, _close, _kill = os.write, os.open, os.close, os.kill
Namespace = type(sys.implementation)


class Killed(BaseException):
    """Never raised: the process has been killed."""


class Faults:
    """The decisions of one process, or interpreter.

    Whether a fault point fires when it is reached for the n-th time depends on the seed, the point, the role of the
    process and n, and on nothing else. It is computed as the distance from one time to the next: so a point that does
    not fire costs a subtraction. A shortage lasts: when it has fired, it fires the next time as well in half of all
    cases.

    Args:
        seed: The seed.
        log: The file to which what fires is appended; None for none.
        rates: The probability of each point; those that are not named never fire.
    """

    def __init__(self, seed: str, log: str | None, rates: dict[str, float]) -> None:
        self.seed = seed
        self._log = log
        self._rates = rates
        #: Whether anything fires in this process.
        self.enabled = True
        self._role: str | None = None
        self._reached: dict[str, int] = {}
        self._next: dict[str, int] = {}
        self._forks = ""

    @classmethod
    def from_setting(cls, setting: str) -> Faults:
        """Return what the environment variable describes."""
        seed, log_file, *rates = setting.split("|")
        named = (rate.partition("=") for rate in rates if rate)
        return cls(seed, log_file or None, {point: float(rate) for point, _, rate in named})

    def setting(self) -> str:
        """Return the value of the environment variable."""
        return "|".join([self.seed, self._log or "", *(f"{point}={rate!r}" for point, rate in self._rates.items())])

    @property
    def role(self) -> str:
        """The role of this process: "main", or which worker it is."""
        if self._role is None:
            process = sys.modules.get("multiprocessing.process")
            identity = () if process is None else process.current_process()._identity
            self._role = "worker " + "-".join(map(str, identity)) if identity else "main"
            interpreters = sys.modules.get("_interpreters")
            if interpreters is not None and (current := interpreters.get_current()[0]) != interpreters.get_main()[0]:
                self._role = f"interpreter {current}"
            self._role += self._forks
        return self._role

    def fires(self, point: str) -> bool:
        """Return whether the fault fires this time; it is written down then."""
        rate = self._rates.get(point)
        if rate is None or not self.enabled:
            return False
        reached = self._reached[point] = self._reached.get(point, 0) + 1
        due = self._next.get(point)
        if due is None:
            due = self._next[point] = self._distance(point, 0, rate)
        if reached < due:
            return False
        self._next[point] = reached + self._distance(point, reached, rate)
        self.note(f"fault|{point}|{self.role}|{reached}")
        return True

    def _distance(self, point: str, reached: int, rate: float) -> int:
        """Return after how many times the point fires again."""
        if rate >= 1:
            return 1
        digest = blake2b(f"{self.seed}|{point}|{self.role}|{reached}".encode(), digest_size=8).digest()
        if reached and point in LASTING and digest[0] & 1:
            return 1
        share = (int.from_bytes(digest, "little") + 1) / (2**64 + 1)
        return min(int(log(share) / log(1 - rate)) + 1, 1 << 60)

    def number(self, point: str, below: int) -> int:
        """Return a number that the decision which has just fired depends on as well."""
        what = f"{self.seed}|{point}|{self.role}|{self._reached.get(point, 0)}|how"
        return int.from_bytes(blake2b(what.encode(), digest_size=8).digest(), "little") % below

    def note(self, line: str) -> None:
        """Append a line to the log."""
        if self._log is not None:
            descriptor = _open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _append(descriptor, f"{line}\n".encode())
            finally:
                _close(descriptor)

    def die(self) -> None:
        """Kill this process, as the kernel would for lack of memory."""
        _kill(os.getpid(), signal.SIGKILL)
        raise Killed

    def after_fork_in_child(self) -> None:
        """Decide anew in a forked process: it has another role."""
        self._role = None
        self._forks += " fork"
        self._reached.clear()
        self._next.clear()


faults = Faults("", None, {})  # until `install`


def install() -> None:
    """Put the faults in place that the environment names; for `sitecustomize`."""
    global faults
    faults = Faults.from_setting(os.environ[SETTING])
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: faults.after_fork_in_child())
    _replace_thread_start()
    sys.meta_path.insert(0, _Hook())


class _Hook:
    """Calls what is to be done with a module once that has been imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        prepare = _PREPARE.get(name)
        if prepare is None and name not in _WATCHED:
            return None
        for finder in sys.meta_path:
            if finder is self or (find := getattr(finder, "find_spec", None)) is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                break
        else:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            if prepare is not None:
                prepare(module)
            branches.watch(module)

        spec.loader.exec_module = exec_module
        return spec


# ── what fails ───────────────────────────────────────────────────────────────────────────────────────────────


def _refusing(function: Callable[..., Any], what: str, *numbers: int) -> Callable[..., Any]:
    """Return a function that fails now and then with one of the error numbers."""
    points = [(f"{errno.errorcode[number]} at {what}", number) for number in numbers]

    def call(*args: Any, **kwargs: Any) -> Any:
        for point, number in points:
            if faults.fires(point):
                raise OSError(number, f"{os.strerror(number)} (on purpose)")
        return function(*args, **kwargs)

    return call


#: The system calls that may fail, and how.
_REFUSALS: dict[str, tuple[int, ...]] = {
    "dup": (errno.EMFILE,),
    "eventfd": (errno.EMFILE,),
    "ftruncate": (errno.ENOMEM,),
    "memfd_create": (errno.EMFILE, errno.ENOMEM),
    "open": (errno.EMFILE,),
    "pidfd_open": (errno.EMFILE,),
    "pipe": (errno.EMFILE,),
    "pwrite": (errno.ENOSPC,),
}


def _prepare_blocking(module: Any) -> None:
    """Replace system calls in the namespace of the seam."""
    system = module.system
    for name, numbers in _REFUSALS.items():
        if hasattr(system, name):
            setattr(system, name, _refusing(getattr(system, name), name, *numbers))
    system.pwrite = _cut_short(system.pwrite, "pwrite", 1)


def _prepare_worker(module: Any) -> None:
    """Replace `read` and `write` in worker processes only: a pool needs them as steps that no signal handler splits."""
    serve = module.serve

    @wraps(serve)
    def serve_with_faults(*args: Any, **kwargs: Any) -> Any:
        system, connection = sys.modules["corefutures._blocking"].system, sys.modules.get("multiprocessing.connection")
        system.write = _worker_write(_cut_short(system.write, "write", _PIPE_BUF))
        system.read = _worker_read(system.read)
        if connection is not None:
            _replace_transfer(
                connection.Connection,
                _worker_write(_cut_short(os.write, "write to a connection", 1)), _worker_read(os.read),
            )  # fmt: skip
        return serve(*args, **kwargs)

    module.serve = serve_with_faults


def _cut_short(function: Callable[..., int], what: str, atomic: int) -> Callable[..., int]:
    """Return `write` or `pwrite`: one that writes a part of what it should now and then, as the kernel may."""
    point = f"{what} cut short"

    def call(descriptor: int, content: Any, *rest: Any) -> int:
        if len(content) > atomic and faults.fires(point):
            content = memoryview(content)[: 1 + faults.number(point, len(content) - 1)]
        return function(descriptor, content, *rest)

    return call


def _worker_read(function: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
    """Return `read`: a worker may be killed before it claims a call, or when it has."""

    def call(descriptor: int, size: int) -> bytes:
        if faults.fires("a worker dies between result and next claim"):
            faults.die()
        _interrupt_soon()
        content = function(descriptor, size)
        if content and faults.fires("a worker dies between claim and first byte"):
            faults.die()
        return content

    return call


def _worker_write(function: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
    """Return `write`: a worker may be killed before, in, or after it."""

    def call(descriptor: int, content: Any) -> int:
        if faults.fires("a worker dies before its result"):
            faults.die()
        if len(content) > 1 and faults.fires("a worker dies within its result"):
            function(
                descriptor,
                memoryview(content)[: 1 + faults.number("a worker dies within its result", len(content) - 1)],
            )
            faults.die()
        _interrupt_soon()
        written = function(descriptor, content)
        if faults.fires("a worker dies after its result"):
            faults.die()
        return written

    return call


def _interrupt_soon() -> None:
    """Have a signal interrupt the system call that comes next, if that blocks: the kernel reports EINTR."""
    if faults.fires("EINTR in a worker") and threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGALRM) is not _ignore:  # a worker that was forked has the program's handler
            signal.signal(signal.SIGALRM, _ignore)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)


def _ignore(*_: object) -> None:
    """A signal handler that only interrupts system calls."""


def _prepare_connection(module: Any) -> None:
    _replace_transfer(module.Connection, _cut_short(os.write, "write to a connection", 1), os.read)


_transfer: list[tuple[Any, Any]] = []


def _replace_transfer(connection: Any, write: Callable[[int, Any], int], read: Callable[[int, int], bytes]) -> None:
    """Replace what connections write and read with."""
    if not _transfer:
        _transfer.append((connection._send, connection._recv))
    ((send, receive),) = _transfer

    def _send(self: Any, content: Any, write: Any = write) -> None:
        send(self, content, write)

    def _recv(self: Any, size: int, read: Any = read) -> Any:
        return receive(self, size, read)

    connection._send, connection._recv = _send, _recv


def _prepare_mmap(module: Any) -> None:
    real = module.mmap
    module.mmap = Namespace(**vars(real))
    module.mmap.mmap = _refusing(real.mmap, "mmap", errno.ENOMEM)


def _prepare_socket(module: Any) -> None:
    real = module._socket if hasattr(module, "_socket") else __import__("_socket")
    module._socket = Namespace(**vars(real))
    module._socket.socketpair = _refusing(real.socketpair, "socketpair", errno.EMFILE)


class _Epoll:
    def __init__(self, real: Any) -> None:
        self._make, self.fromfd = _refusing(real, "epoll", errno.EMFILE), real.fromfd

    def __call__(self) -> Any:
        return self._make()


def _prepare_leader(module: Any) -> None:
    real = module.select
    module.select = Namespace(**vars(real))
    module.select.epoll = _Epoll(real.epoll)


def _prepare_supervisor(module: Any) -> None:
    real = module._thread
    module._thread = Namespace(**vars(real))

    def start_new_thread(*args: Any, **kwargs: Any) -> Any:
        _refuse_thread()
        return real.start_new_thread(*args, **kwargs)

    module._thread.start_new_thread = start_new_thread


def _refuse_thread() -> None:
    if faults.fires("a thread can't start"):
        raise RuntimeError("can't start new thread (on purpose)")


def _called_by_ours() -> bool:
    """Return whether a thread is being started by our code; other libraries' code need not survive a failure."""
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__") == "threading":
        frame = frame.f_back  # type: ignore[assignment]
    return bool(frame.f_globals.get("__name__", "").startswith("corefutures"))


def _replace_thread_start() -> None:
    name = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
    start = getattr(threading, name)

    def start_thread(*args: Any, **kwargs: Any) -> Any:
        if _called_by_ours():
            _refuse_thread()
        return start(*args, **kwargs)

    setattr(threading, name, start_thread)


def _prepare_launcher(module: Any) -> None:
    """Fail to start processes now and then, and see their ends late."""
    launcher, handle = module.ProcessLauncher, module.ProcessWorker
    start, ended = launcher._start_once, handle.ended

    def start_once(self: Any, arguments: Any) -> Any:
        if faults.fires("a process can't start"):
            raise BlockingIOError(errno.EAGAIN, f"{os.strerror(errno.EAGAIN)} (on purpose)")
        return start(self, arguments)

    def ended_late(self: Any) -> bool:
        return False if faults.fires("a late sentinel") else ended(self)

    launcher._start_once, handle.ended = start_once, ended_late


def _prepare_interpreters(module: Any) -> None:
    real = module.interpreters
    module.interpreters = Namespace(**vars(real))

    def create() -> Any:
        if faults.fires("an interpreter can't be created"):
            raise real.InterpreterError("can't create an interpreter (on purpose)")
        return real.create()

    module.interpreters.create = create


_PREPARE: dict[str, Callable[[Any], None]] = {
    "corefutures._blocking": _prepare_blocking,
    "corefutures_interpreter._launcher": _prepare_interpreters,
    "corefutures_pools.workers.payload": _prepare_mmap,
    "corefutures_pools.workers.shared_queue.arena": _prepare_mmap,
    "corefutures_pools.workers.shared_queue.descriptor_channel": _prepare_socket,
    "corefutures_pools.workers.shared_queue.leader": _prepare_leader,
    "corefutures_pools.workers.supervisor": _prepare_supervisor,
    "corefutures_process._launcher": _prepare_launcher,
    "corefutures_process._worker_process": _prepare_worker,
    "multiprocessing.connection": _prepare_connection,
}

_WATCHED = {module for module, *_ in branches.BRANCHES.values()}

_DEATHS = (
    "a worker dies between claim and first byte",
    "a worker dies before its result",
    "a worker dies within its result",
    "a worker dies after its result",
    "a worker dies between result and next claim",
)
_SHORTAGES = (
    *(f"{errno.errorcode[number]} at {name}" for name, numbers in _REFUSALS.items() for number in numbers),
    "ENOMEM at mmap", "EMFILE at socketpair", "EMFILE at epoll",
)  # fmt: skip
_STARTS = ("a thread can't start", "a process can't start", "an interpreter can't be created")
_DELAYS = (
    "EINTR in a worker",
    "write cut short",
    "pwrite cut short",
    "write to a connection cut short",
    "a late sentinel",
)
#: All fault points, by what they do: those of a kind have about the same rate.
KINDS = {"deaths": _DEATHS, "shortages": _SHORTAGES, "starts": _STARTS, "delays": _DELAYS}
#: Those that fire several times in a row.
LASTING = {*_SHORTAGES, *_STARTS}
