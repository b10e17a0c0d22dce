"""`ProcessWorker`: the handle of a worker process: how it is signalled, watched and reaped.

Touches `multiprocessing` and the kernel. Guarantees: a signal reaches the worker and no other process; the end of the
worker is seen even if another process holds its pipes.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing.process
import os
import signal
import sys
from functools import partial
from multiprocessing.process import BaseProcess

from corefutures_pools.blocking import system, wait_ready
from corefutures_pools.cpu import process_seconds
from corefutures_pools.descriptors import Descriptor
from corefutures_process._process_tree import kill_tree, terminate_tree, wait_for_dying

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from corefutures_pools.inspection.stacks import Frame
    from corefutures_process._stack_probes import StackProbe

#: Seconds to wait for the fork server's report of the exit code of a process that has ended.
_STATUS_TIMEOUT: Final = 5.0


class _Pidfd(Descriptor):
    """A descriptor of a process: unlike a pid, it never refers to another process."""

    __slots__ = ()

    def send(self, signum: int) -> None:
        if sys.platform != "win32":
            signal.pidfd_send_signal(self.number, signum)


class ProcessWorker:
    """A worker process; see `interface.WorkerHandle`.

    Args:
        process: The process.
        processes: The executor's table of processes by pid, which is kept up to date here.
        probe: Reads the worker's stack.
        method: The start method.
        on_end: Called when the worker was reaped, or None.
        kill_tree: Whether the programs that the worker has started are stopped with it.
    """

    thread = None  # a process has no thread of this one

    def __init__(
        self,
        process: BaseProcess,
        processes: dict[int, BaseProcess],
        probe: StackProbe,
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
        self._probe = probe
        self._on_end = on_end
        self.name = process.name
        self.pid = process.pid
        # A pidfd becomes readable when the process ends, and never otherwise. The sentinel of multiprocessing, except
        # on Windows, is a pipe. It is not readable while a program that the worker has left behind holds the other end;
        # it becomes readable too early when a call writes to that end or closes it, or when the fork server ends. So
        # where no pidfd exists, a worker whose sentinel is readable is killed, and then checked.
        self._pidfd: _Pidfd | None = None
        if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal") and process.pid is not None:
            try:
                self._pidfd = _Pidfd(system.pidfd_open(process.pid))
            except OSError as exc:
                if exc.errno in (errno.EMFILE, errno.ENFILE):
                    self.kill()
                    self.reap()
                    with contextlib.suppress(ValueError):  # the fork server has not reported its end
                        process.close()  # the traceback of this error refers to it, and it holds descriptors
                    raise

    def cpu_seconds(self) -> float | None:
        """See `WorkerHandle.cpu_seconds`."""
        return process_seconds(self.pid)

    def sentinels(self) -> list[int]:
        """See `WorkerHandle.sentinels`."""
        process = self._process
        if process is None:
            return []
        pidfd = self._pidfd
        return [process.sentinel if pidfd is None else pidfd.number]

    def ended(self) -> bool:
        """See `WorkerHandle.ended`."""
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
            system.kill(pid, 0)  # succeeds until the fork server, or its heir, has reaped it
        except OSError:
            return True
        return False

    def _wait(self, timeout: int | None) -> bool:
        """Wait at most `timeout` milliseconds for the end of the process; return whether it has ended."""
        pidfd = self._pidfd
        if sys.platform == "win32" or pidfd is None:  # reaped meanwhile
            return True
        return bool(wait_ready([pidfd.number], None if timeout is None else timeout / 1000))

    def mark_exiting(self) -> None:
        """See `WorkerHandle.mark_exiting`."""
        self._discard(self._process)

    def _discard(self, process: BaseProcess | None) -> None:
        if self.pid is not None and process is not None and self._processes.get(self.pid) is process:
            del self._processes[self.pid]

    def terminate(self) -> None:
        """See `WorkerHandle.terminate`."""
        self._signal("terminate")

    def kill(self) -> None:
        """See `WorkerHandle.kill`."""
        self._killed = True
        self._signal("kill")

    def interrupt(self) -> None:
        """See `WorkerHandle.interrupt`."""
        if sys.platform != "win32" and self._process is not None and self.pid is not None:
            with contextlib.suppress(OSError):  # the process has ended
                if (pidfd := self._pidfd) is not None:
                    pidfd.send(signal.SIGINT)
                else:
                    system.kill(self.pid, signal.SIGINT)

    def _signal(self, how: str) -> None:
        if self._kill_tree and self.pid is not None and self._may_be_alive():
            if how == "terminate":
                terminate_tree(self.pid, partial(self._signal_alone, how))
            elif sys.platform == "win32":
                self._signal_alone(how)
            elif self._custom_method(how) is not None:
                kill_tree(self.pid, partial(self._signal_alone, how))
            elif (pidfd := self._pidfd) is not None:
                kill_tree(self.pid, partial(signal.pidfd_send_signal, pidfd.number, signal.SIGKILL))
            else:
                kill_tree(self.pid, partial(system.kill, self.pid, signal.SIGKILL))
        else:
            self._signal_alone(how)

    def _may_be_alive(self) -> bool:
        """Return whether the process may be alive; otherwise its pid may be another process's by now."""
        return self._process is not None and not (self._pidfd is not None and self._wait(0))

    def _custom_method(self, how: str) -> Callable[[], object] | None:
        """Return the method of the process if its context's class overrides that of multiprocessing."""
        method: Callable[[], object] | None = getattr(self._process, how, None)
        return None if getattr(method, "__func__", method) is getattr(BaseProcess, how) else method

    def _signal_alone(self, how: str) -> None:
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError, ValueError):  # the process has ended
                pidfd = self._pidfd
                if (method := self._custom_method(how)) is not None:
                    method()
                    if how == "terminate":
                        return
                if sys.platform != "win32" and pidfd is not None:  # not by the pid: the fork server may have reaped it
                    pidfd.send(signal.SIGKILL if how == "kill" else signal.SIGTERM)
                else:
                    getattr(BaseProcess, how)(process)

    def ask_for_stack(self) -> None:
        """See `WorkerHandle.ask_for_stack`."""
        if self.pid is not None:
            self._probe.request(self.pid)

    def read_stack(self, deadline: float) -> tuple[list[Frame], str | None]:
        """See `WorkerHandle.read_stack`."""
        return self._probe.read(deadline)

    def reap(self) -> int | None:
        """See `WorkerHandle.reap`."""
        process = self._process
        if process is None:
            return None
        self._probe.close()
        try:  # a worker that exits by itself may take time, or for ever: until then it can be killed
            if self._pidfd is not None:
                self._wait(None)
            ended = self._killed or self._pidfd is not None
            if self._is_child and self._pidfd is not None:
                self._collect_status(process)
            process.join(_STATUS_TIMEOUT if ended and not self._is_child else None)
        finally:
            self._process = None  # it holds descriptors, and a traceback may refer to this object
        if ended:  # otherwise multiprocessing would wait at exit for a report that the fork server may never send
            multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]
        wait_for_dying()
        if self._on_end is not None:
            self._on_end()
        self._discard(process)
        self._pidfd = None
        return process.exitcode

    def _collect_status(self, process: BaseProcess) -> None:
        """Read the exit code from the kernel: gevent's `os.waitpid` waits for an event loop that may not run."""
        popen: Any = process._popen  # type: ignore[attr-defined]
        if sys.platform != "win32" and self.pid is not None and popen.returncode is None:
            with contextlib.suppress(ChildProcessError):  # another part of the program has reaped it
                pid, status = system.waitpid(self.pid, os.WNOHANG)
                if pid:
                    popen.returncode = system.waitstatus_to_exitcode(status)
