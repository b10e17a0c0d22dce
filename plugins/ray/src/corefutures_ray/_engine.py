"""The tasks of an executor on Ray, and the connection that all executors of this process share.

Importing this module imports Ray. Guarantees: what this module has connected or started is shut down with the last
executor; what the program itself has connected stays.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from corefutures import BackendUnavailableError, WorkerLostError
from corefutures.backend import describe_error
from corefutures_pools import wire
from corefutures_pools.blocking import threading
from corefutures_pools.cpu import usable_processors
from corefutures_pools.lifecycle import renew_in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from corefutures_pools.engines.queue import Report, Task

# Not every environment that checks types has Ray.
ray: Final[Any] = import_module("ray")


class Connection:
    """This process's connection to Ray: there is one at most, as Ray has it."""

    def __init__(self) -> None:
        # Guards the rest; held while Ray connects, starts or ends, so that a second executor waits for that. A signal
        # handler or a finaliser may come meanwhile, in the thread that has the lock.
        self._lock = threading.RLock()
        self._busy = False  # the thread that has the lock is connecting Ray, or shutting it down
        self._users = 0  # the executors that use what `enter` has connected
        self._own = False  # `enter` has started a cluster on this machine
        self._forked = False

    def enter(self, address: str | None, workers: int | None, options: Mapping[str, Any]) -> bool:
        """Connect, unless that is done; return whether Ray runs on this machine for our executors alone.

        Raises:
            BackendUnavailableError: There is no Ray at the address, or it does not start.
            ValueError: There is a connection already, which the options can't change.
        """
        with self._lock:
            if self._forked:
                raise _refusal("the process was forked, and Ray stays with the parent; make the executor there")
            if self._busy:
                raise _refusal(
                    "a signal handler or finaliser has interrupted this thread, which is connecting Ray or ending it"
                )
            if ray.is_initialized():
                if (address is not None and not self._users) or options:
                    raise ValueError(
                        "address and init have no effect, because this program is connected to Ray already: leave them"
                        " out, or call ray.shutdown() before"
                    )
                self._users += self._users > 0
                return self._own and self._users > 0
            address = address or os.environ.get("RAY_ADDRESS")  # of a job that Ray itself has started
            # "local": otherwise Ray joins a cluster that happens to run on this machine.
            cpus = max(workers or 0, usable_processors())
            own: dict[str, Any] = {"address": "local", "include_dashboard": False, "num_cpus": cpus}
            if address is None:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent unless a program asks for it
            self._busy = True
            try:
                ray.init(**(own if address is None else {"address": address}) | dict(options))
            except Exception as exc:
                where = f"there is no Ray at {address}" if address is not None else "Ray does not start"
                raise _refusal(f"{where}: {describe_error(exc)}") from exc
            finally:
                self._busy = False
            self._users, self._own = 1, address is None
            return self._own

    def leave(self) -> None:
        """Shut Ray down with the last executor that has entered, if that has connected it."""
        with self._lock:
            # While this thread connects Ray, or shuts it down, no executor uses the connection.
            if self._busy or self._forked or not self._users:
                return
            self._users -= 1
            if not self._users:
                self._own, self._busy = False, True
                try:
                    ray.shutdown()
                finally:
                    self._busy = False

    def after_fork_in_child(self) -> None:
        """Leave Ray to the parent."""
        self._lock = threading.RLock()
        self._busy = False
        self._forked = self._forked or ray.is_initialized()
        self._users = 0


connection: Final = Connection()
renew_in_child(connection.after_fork_in_child)


class RayEngine:
    """The tasks of one executor.

    Args:
        max_workers: How many tasks there may be at once; None for as many as Ray has CPUs.
        address: Of the cluster; None for one of this machine, unless the program is connected.
        cpus: The CPUs that each task takes; None for 1, and for none on a cluster of our own.
        options: Further ones of the tasks, as Ray calls them.
        init: Further options of `ray.init`.

    Raises:
        BackendUnavailableError: There is no Ray at the address, or it does not start.
        ValueError: The connection that there is can't be changed.
    """

    def __init__(
        self,
        max_workers: int | None,
        address: str | None,
        cpus: float | None,
        options: Mapping[str, Any],
        init: Mapping[str, Any],
    ) -> None:
        own = connection.enter(address, max_workers, init)
        try:
            found = int(ray.cluster_resources().get("CPU", 1)) if max_workers is None else max_workers
            self.max_workers = max(1, found)
            # A task that Ray repeats would run twice.
            given = {"num_cpus": (0 if own else 1) if cpus is None else cpus, "max_retries": 0, **options}
            self._run = ray.remote(wire.run).options(**given)
        except BaseException:
            connection.leave()
            raise

    def attach(self, wake: Callable[[], None], fail: Callable[[str], None]) -> None:
        """See `Engine.attach`."""

    def slots(self, calls: int) -> int:
        """See `Engine.slots`."""
        return self.max_workers

    def start(self, task: Task, report: Report) -> None:
        """See `Engine.start`."""

        def end(future: Any) -> None:
            error = future.exception()
            report(future.result() if error is None else _as_ours(error))

        self._run.remote(*task).future().add_done_callback(end)

    def shutdown(self) -> None:
        """Leave Ray, or end it."""
        connection.leave()


def _as_ours(error: BaseException) -> Exception:
    """Return the error of a call that Ray could not run to its end."""
    if isinstance(error, ray.exceptions.RayTaskError):  # `wire.run` itself raises nothing
        ours: Exception = RuntimeError(f"Ray could not run the call: {describe_error(error)}")
    else:
        lines = str(error).strip().splitlines()
        ours = WorkerLostError(f"Ray lost the worker that ran the call ({type(error).__name__}): {lines[0]}")
    ours.__cause__ = error
    return ours


def _refusal(reason: str) -> BackendUnavailableError:
    return BackendUnavailableError(f"backend 'ray' (corefutures-ray) can't be used here: {reason}")
