"""How a pool comes to its cluster: one of its own on this machine, one that runs, or a client that exists.

Touches `distributed`. Guarantees: what was started here is ended here, and nothing else is.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import json
import multiprocessing.process
import os
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.config
import dask.utils
import distributed
import distributed.utils
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.versions import VersionMismatchWarning

from corefutures import BackendUnavailableError
from corefutures.backend import clock, standard_taken, system
from corefutures_dask import _scheduler_plugin as _scheduler

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Dask's own classes, which it has not typed.
Client: Any = distributed.Client
LocalCluster: Any = distributed.LocalCluster
Security: Any = distributed.Security

#: Seconds that the end of a client whose scheduler is gone may take.
_FAREWELL = 2.0

#: Seconds between two looks for a scheduler's file.
_GLANCE = 0.05

#: What begins an address without encryption.
_PLAIN = ("tcp", "ws", "inproc")

#: Messages that a client of ours keeps for debugging.
_MESSAGES_KEPT = 4

#: What those of Dask's that start workers again end with.
_OVER = (Status.closing, Status.closed, Status.failed)

#: In a forked child: what belongs to the parent, kept from finalisers that would talk to the parent's cluster.
_of_the_parent: list[object] = []


class OwnCluster(LocalCluster):  # type: ignore[misc]
    """Workers on this machine, each of which is started again whenever it is lost.

    Dask gives up those that are not there so many seconds after they were lost (`lost-worker-timeout`): one that is
    lost again by then may just be starting at that moment.
    """

    def _update_worker_status(self, op: str, msg: Any) -> None:
        Cluster._update_worker_status(self, op, msg)  # type: ignore[no-untyped-call, unused-ignore]


class Connection(NamedTuple):
    """A client, and what has to be closed with it."""

    client: Any
    cluster: Any  # None: somebody else's
    owned: bool  # the client, too, was made here

    @property
    def is_deserted(self) -> bool:
        """Whether there is no worker of our own cluster any more, nor anybody who would start one."""
        return self.cluster is not None and all(
            worker.status in _OVER for worker in list(self.cluster.workers.values())
        )

    def close(self, pool: str | None = None) -> None:
        """Ends what was started here, and takes back what a pool has at a cluster that goes on."""
        client, cluster = self.client, self.cluster
        if pool is not None and cluster is None and client.status == "running":
            with contextlib.suppress(Exception):  # the cluster may be going as well
                client.unsubscribe_topic(pool)
                client.run_on_scheduler(_scheduler.leave, pool)
        if self.owned:
            with contextlib.suppress(TimeoutError, OSError):
                client.close(timeout=_FAREWELL)
        if cluster is not None:
            cluster.close()

    def leave_to_parent(self) -> None:
        """In a forked child: has nobody touch this any more."""
        _of_the_parent.append(self)
        for thing in (self.client, self.cluster):
            instances = getattr(type(thing), "_instances", None)
            if instances is not None:
                instances.discard(thing)
        if self.cluster is not None:
            _leave_workers_to_parent()

    def check_workers(self, wanted: Iterable[object]) -> None:
        """Raises if a worker of our own cluster is meant that there is not: nobody else can add it.

        Args:
            wanted: Names, addresses or hosts, as Dask takes them.

        Raises:
            ValueError: There is none of that name.
        """
        if self.cluster is None:
            return
        known: set[object] = set()
        for name, worker in list(self.cluster.workers.items()):
            address = getattr(worker, "worker_address", None) or worker.address or ""
            known |= {name, address, address.rpartition("://")[2].rpartition(":")[0]}
        for who in wanted:
            if who not in known:
                there = ", ".join(sorted(map(repr, known - {""})))
                raise ValueError(f"there is no worker {who!r} in the pool's own cluster, but {there}")


def check_own_options(options: Mapping[str, Any], others: Iterable[str]) -> None:
    """Raises if an option for a cluster of our own is none, or makes no sense.

    Args:
        options: For `LocalCluster`.
        others: The names of the executor's own options, which may have been meant.

    Raises:
        TypeError: There is no such option, or it has a value of the wrong type.
        ValueError: A value makes no sense.
    """
    worker = options.get("worker_class") or distributed.Nanny
    if not isinstance(worker, type):
        raise TypeError(f"worker_class must be a class, not {type(worker).__name__}")
    classes = [LocalCluster, distributed.Nanny, distributed.Worker, worker]
    known = {
        name
        for kind in classes
        for base in inspect.getmro(kind)
        if "__init__" in vars(base)
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    } - {"self", "asynchronous", "args"}
    for name, value in options.items():
        if name not in known:
            meant = difflib.get_close_matches(name, {*known, *others}, n=1)
            hint = f": did you mean {meant[0]!r}?" if meant else ""
            raise TypeError(f"neither the pool nor Dask's LocalCluster has an option {name!r}{hint}")
        if name in ("n_workers", "threads_per_worker") and value is not None:
            if not isinstance(value, int):
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
            if value <= 0:
                raise ValueError(f"{name} must be greater than 0")


def check_own_resources(resources: Iterable[tuple[str, float]]) -> None:
    """Raises if no worker of a cluster of our own could run a call that needs these resources.

    Raises:
        ValueError: It would wait for ever.
    """
    there = dask.config.get("distributed.worker.resources", None) or {}
    for name, amount in resources:
        if amount > there.get(name, 0):
            raise ValueError(
                f"resources={{{name!r}: {amount}}} is more than a worker of the pool's own cluster has "
                f"({there.get(name, 0)}), so that the call would wait for ever: what they have is Dask's setting "
                "distributed.worker.resources; workers elsewhere are started with --resources"
            )


def own_cluster(workers: int | None, options: Mapping[str, Any]) -> Connection:
    """Starts a cluster on this machine: by default processes with one thread each.

    Args:
        workers: How many calls are to run at once; None for one on each CPU.
        options: Of `LocalCluster`.

    Raises:
        ValueError: There is a `security` that has no effect.
    """
    settings: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", **options}
    if "n_workers" not in settings:
        threads = settings["threads_per_worker"] or 1
        settings["n_workers"] = -(-(workers or _cpu_count()) // threads)
    with standard_taken:
        cluster = OwnCluster(asynchronous=False, **settings)
    try:
        check_security(options.get("security"), cluster.scheduler_address, "require_encryption=True makes it one")
        client = _connect(address=cluster, direct_to_workers=True)
    except BaseException:
        cluster.close()
        raise
    return Connection(client, cluster, True)


def joined_cluster(
    address: Any, scheduler_file: str | None, options: Mapping[str, Any], check_versions: bool
) -> Connection:
    """Joins a cluster that runs.

    Args:
        address: Of its scheduler; None to read it from the file.
        scheduler_file: Where the scheduler has written its address, or is going to.
        options: Arguments of `Client` that say how to talk to it.
        check_versions: Whether to refuse a scheduler of another version.

    Raises:
        BackendUnavailableError: No scheduler answers there, or it is of another version.
        ValueError: There is a `security` that has no effect.
    """
    place = address or scheduler_file
    try:
        if address is None:
            address = _read_address(str(scheduler_file), options.get("timeout"))
        check_security(options.get("security"), getattr(address, "scheduler_address", address), "is it the right one?")
        client = _connect(address=address, **options)
    except VersionMismatchWarning as exc:  # where warnings are errors
        raise _mismatch(place, str(exc)) from exc
    except (OSError, TimeoutError, ImportError) as exc:
        raise BackendUnavailableError(
            f"backend 'dask' (corefutures-dask) can't join the scheduler at {place}: {str(exc) or type(exc).__name__}; "
            "see that it runs and can be reached from here"
        ) from exc
    connection = Connection(client, None, True)
    if check_versions:
        try:
            check_same_versions(place, client.get_versions())
        except BaseException:
            connection.close()
            raise
    return connection


def given_client(client: Any, check_versions: bool) -> Connection:
    """Uses a client that exists, and leaves it as it is.

    Raises:
        TypeError: It is no client of Dask's.
        ValueError: It is asynchronous, or closed.
        BackendUnavailableError: The cluster is of another version.
    """
    if not isinstance(client, Client):
        raise TypeError(f"client must be a distributed.Client, not {type(client).__name__}")
    if client.asynchronous:
        raise ValueError("client must not be asynchronous: its loop would wait for itself")
    if client.status != "running":
        raise ValueError(f"client must be connected, and is {client.status}")
    if check_versions:
        check_same_versions(client.scheduler.address, client.get_versions())
    return Connection(client, None, False)


def check_security(security: Any, address: Any, hint: str) -> None:
    """Raises if `security` has no effect on an address."""
    protocol, _, _ = address.rpartition("://") if isinstance(address, str) else (None, None, None)
    if security and (protocol or "tcp") in _PLAIN:
        raise ValueError(f"security= has no effect on {address}, which is not an encrypted address (tls://…): {hint}")


def _read_address(path: str, timeout: float | None) -> str:
    """Returns the address in a scheduler's file, after waiting for it."""
    usual = dask.config.get("distributed.comm.timeouts.connect")
    deadline = clock.monotonic() + (timeout or float(dask.utils.parse_timedelta(usual, "s") or 0))
    while True:
        try:
            with open(path) as file:
                return str(json.load(file)["address"])
        except FileNotFoundError:
            if clock.monotonic() > deadline:
                raise
        except (ValueError, KeyError, TypeError) as exc:  # it is not whole yet
            if clock.monotonic() > deadline:
                raise OSError("what is in the file is no scheduler's") from exc
        time.sleep(_GLANCE)


def renew_after_fork() -> None:
    """In a forked child: gives Dask a thread again for what it does beside its loop, such as large messages."""
    if isinstance(getattr(distributed.utils, "_offload_executor", None), ThreadPoolExecutor):
        distributed.utils._offload_executor = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload")


def _leave_workers_to_parent() -> None:
    """In a forked child: keeps its end from ending the parent's workers, and from removing their folders."""
    registry: Any = getattr(weakref.finalize, "_registry", ())
    for finalizer in list(registry):
        peeked = finalizer.peek()
        if peeked is not None and str(getattr(peeked[1], "__module__", "")).partition(".")[0] == "distributed":
            finalizer.detach()
    children: Any = getattr(multiprocessing.process, "_children", set())
    for process in list(children):
        if process.name.startswith("Dask Worker"):
            children.discard(process)


def lacking(error: BaseException) -> BackendUnavailableError:
    """Returns the error for a cluster whose workers can't import what they need."""
    return BackendUnavailableError(
        f"backend 'dask' (corefutures-dask) can't prepare the cluster's workers: {error}; "
        "install corefutures-dask, and what an initializer needs, for the scheduler and for every worker"
    )


def _connect(**options: Any) -> Any:
    # Dask's client keeps its last 1,000 messages for debugging, and with them the arguments of finished calls.
    with dask.config.set({"distributed.admin.low-level-log-length": _MESSAGES_KEPT}), standard_taken:
        return Client(set_as_default=False, asynchronous=False, **options)


def check_same_versions(place: object, found: Mapping[str, Any]) -> None:
    """Raises if the scheduler or a worker is of another version than this client.

    Args:
        place: Where the scheduler is, for the message.
        found: What `Client.get_versions` returns.

    Raises:
        BackendUnavailableError: They differ in what has to be the same.
    """
    here = _relevant(found["client"])
    others = {"the scheduler": found["scheduler"]}
    others.update({f"the worker {address}": versions for address, versions in found["workers"].items()})
    for who, versions in others.items():
        there = _relevant(versions)
        for what, own in here.items():
            if there.get(what) not in (own, None):
                raise _mismatch(place, f"{who} has {what} {there[what]}, this process {own}")


def _relevant(versions: Any) -> dict[str, str]:
    """Returns what has to be the same on both sides: pickled functions and Dask's protocol depend on it."""
    if not isinstance(versions, dict) or "packages" not in versions:  # a worker that did not answer
        return {}
    packages = versions["packages"]
    python = ".".join(str(packages.get("python", "")).split(".")[:2])
    return {"Python": python, "distributed": str(packages.get("distributed"))} if python else {}


def _mismatch(place: object, difference: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend 'dask' (corefutures-dask, distributed {metadata.version('distributed')}) can't use the cluster "
        f"at {place}: {difference}; install the same versions on both sides, or try check_versions=False"
    )


def _cpu_count() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(system.sched_getaffinity(0))
    return system.cpu_count() or 1
