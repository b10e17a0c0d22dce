"""The clusters of pools: a cluster of the pool's own on this machine, one that runs, or a client that is connected.

Touches `distributed`. Guarantees: a pool ends what it has started, and nothing else.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import json
import multiprocessing.process
import os
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
from corefutures_dask._scheduler_plugin import remove_pool
from corefutures_pools.blocking import clock
from corefutures_pools.cpu import usable_processors
from corefutures_pools.descriptors import standard_reserved
from corefutures_pools.options import check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: Dask's own classes, which have no types.
Client: Any = distributed.Client
LocalCluster: Any = distributed.LocalCluster
Security: Any = distributed.Security

#: Seconds that the end of a client may take whose scheduler is gone.
_CLOSE_TIMEOUT = 2.0
#: Seconds between two looks for the file of a scheduler.
_POLL_INTERVAL = 0.05
#: The protocols of addresses without encryption.
_UNENCRYPTED = ("tcp", "ws", "inproc")
#: The number of messages that a client of ours keeps for debugging.
_MESSAGES_KEPT = 4
#: The states of Dask's nannies, which start workers again, that have ended.
_ENDED = (Status.closing, Status.closed, Status.failed)

#: In a forked child: the parent's objects, kept from finalisers that would talk to the parent's cluster.
_of_the_parent: list[object] = []


class OwnCluster(LocalCluster):  # type: ignore[misc]
    """Workers on this machine, each of which is started again whenever it is lost.

    Dask gives up workers that are missing some seconds after they were lost (`lost-worker-timeout`): one that is lost
    again by then may just be starting.
    """

    def _update_worker_status(self, op: str, msg: Any) -> None:
        Cluster._update_worker_status(self, op, msg)  # type: ignore[no-untyped-call, unused-ignore]


class Connection(NamedTuple):
    """A client, and the cluster that is to be closed with it."""

    client: Any
    cluster: Any  # None if it was not started by the pool
    owned: bool  # the pool has made the client

    @property
    def has_no_workers(self) -> bool:
        """Whether the pool's own cluster has lost every worker for good."""
        return self.cluster is not None and all(
            worker.status in _ENDED for worker in list(self.cluster.workers.values())
        )

    def close(self, pool: str | None = None) -> None:
        """End the client and the cluster if the pool has started them; remove the plugins of `pool` from others."""
        client, cluster = self.client, self.cluster
        if pool is not None and cluster is None and client.status == "running":
            with contextlib.suppress(Exception):  # the cluster may be ending as well
                client.unsubscribe_topic(pool)
                client.run_on_scheduler(remove_pool, pool)
        if self.owned:
            with contextlib.suppress(TimeoutError, OSError):
                client.close(timeout=_CLOSE_TIMEOUT)
        if cluster is not None:
            cluster.close()

    def after_fork_in_child(self) -> None:
        """In a forked child: keep Dask from touching the parent's client and cluster."""
        _of_the_parent.append(self)
        for thing in (self.client, self.cluster):
            instances = getattr(type(thing), "_instances", None)
            if instances is not None:
                instances.discard(thing)
        if self.cluster is not None:
            _leave_workers_to_parent()

    def check_workers(self, wanted: Iterable[object]) -> None:
        """Raise ValueError if the pool's own cluster lacks one of these workers (names, addresses or hosts)."""
        if self.cluster is None:
            return
        known: set[object] = set()
        for name, worker in list(self.cluster.workers.items()):
            address = getattr(worker, "worker_address", None) or worker.address or ""
            known |= {name, address, address.rpartition("://")[2].rpartition(":")[0]}
        for one in wanted:
            if one not in known:
                there = ", ".join(sorted(map(repr, known - {""})))
                raise ValueError(f"there is no worker {one!r} in the pool's own cluster, but {there}")


class Choice(NamedTuple):
    """The cluster that the options of an executor name."""

    owned: bool  # the pool starts the cluster
    connect: Callable[[], Connection]
    fork_refusal: str | None  # the reason why a forked child can't connect

    def check_resources(self, resources: Iterable[tuple[str, float]]) -> None:
        """Raise ValueError if no worker of the pool's own cluster can run a call that needs these resources."""
        there = dask.config.get("distributed.worker.resources", None) or {}
        for name, amount in resources if self.owned else ():
            if amount > there.get(name, 0):
                raise ValueError(
                    f"resources={{{name!r}: {amount}}} is more than a worker of the pool's own cluster has "
                    f"({there.get(name, 0)}), so that the call would never start: Dask's setting "
                    "distributed.worker.resources gives them resources; workers elsewhere are started with --resources"
                )


def choose(
    own_options: dict[str, Any], others: Iterable[str], *, max_workers: int | None, address: str | None,
    scheduler_file: str | None, client: Any, security: Any, timeout: float | None, check_versions: bool,
) -> Choice:  # fmt: skip
    """Check the options of an executor that name its cluster, and return the choice; raise TypeError or ValueError.

    `own_options` are for `LocalCluster`; one that does not exist may be a misspelled name of `others`.
    """
    if address is not None and not address:
        raise ValueError("address must not be empty")
    if scheduler_file is not None and not isinstance(scheduler_file, (str, os.PathLike)):
        raise TypeError(f"scheduler_file must be a path, not {type(scheduler_file).__name__}")
    places = {"address": address, "scheduler_file": scheduler_file, "client": client}
    given = [name for name, place in places.items() if place is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} can't be given together")
    if given and own_options:
        raise TypeError(f"{given[0]} names a cluster that runs: it takes no option {sorted(own_options)[0]!r}")
    useless = {"timeout": timeout is not None, "security": client is not None and bool(security)}
    for name, set_in_vain in useless.items():
        if set_in_vain and (not given or client is not None):
            kind = "a client that is connected" if given else "a cluster of the pool's own"
            raise TypeError(f"{name}= is for joining a cluster by address or scheduler_file: {kind} takes none")
    if security is not None and not isinstance(security, (bool, Security)):
        raise TypeError(f"security must be a distributed.Security, not {type(security).__name__}")
    if client is not None:
        refusal = "the pool's client belongs to the process that was forked"
        return Choice(False, lambda: given_client(client, check_versions), refusal)
    if given:
        options = {"security": security, "timeout": timeout}
        options = {name: value for name, value in options.items() if value is not None}
        return Choice(False, lambda: joined_cluster(address, scheduler_file, options, check_versions), None)
    if not check_versions:
        raise TypeError("check_versions= is for clusters that run: one of the pool's own has the same versions")
    check_own_options(own_options, others)
    if security is not None:
        own_options["security"] = security
    refusal = "the pool's cluster belongs to the process that was forked: create_executor('dask') starts another here"
    return Choice(True, lambda: own_cluster(max_workers, own_options), refusal)


def check_own_options(options: Mapping[str, Any], others: Iterable[str]) -> None:
    """Raise TypeError or ValueError if `LocalCluster` has no such option, or a value makes no sense."""
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
        if name in ("n_workers", "threads_per_worker"):
            check_count(name, value)


def own_cluster(workers: int | None, options: Mapping[str, Any]) -> Connection:
    """Start a cluster on this machine: by default processes with one thread each, and one for each CPU."""
    settings: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", **options}
    if "n_workers" not in settings:
        threads = settings["threads_per_worker"] or 1
        settings["n_workers"] = -(-(workers or usable_processors()) // threads)
    with standard_reserved:
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
    """Join a cluster that runs; raise BackendUnavailableError if it does not answer or is of another version."""
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
    """Use a client that is connected; raise BackendUnavailableError if its cluster is of another version."""
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
    """Raise ValueError if `security` has no effect on an address."""
    protocol, _, _ = address.rpartition("://") if isinstance(address, str) else (None, None, None)
    if security and (protocol or "tcp") in _UNENCRYPTED:
        raise ValueError(f"security= has no effect on {address}, which is not an encrypted address (tls://…): {hint}")


def _read_address(path: str, timeout: float | None) -> str:
    """Return the address in the file of a scheduler, after waiting for the file."""
    usual = dask.config.get("distributed.comm.timeouts.connect")
    deadline = clock.monotonic() + (timeout or float(dask.utils.parse_timedelta(usual, "s") or 0))
    while True:
        try:
            with open(path) as file:
                return str(json.load(file)["address"])
        except FileNotFoundError:
            if clock.monotonic() > deadline:
                raise
        except (ValueError, KeyError, TypeError) as exc:  # the file is incomplete
            if clock.monotonic() > deadline:
                raise OSError("the file is no scheduler's") from exc
        time.sleep(_POLL_INTERVAL)


def after_fork_in_child() -> None:
    """In a forked child: give Dask a new thread for work beside its loop, such as large messages."""
    if isinstance(getattr(distributed.utils, "_offload_executor", None), ThreadPoolExecutor):
        distributed.utils._offload_executor = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload")


def _leave_workers_to_parent() -> None:
    """In a forked child: keep its end from ending the parent's workers and removing their folders."""
    registry: Any = getattr(weakref.finalize, "_registry", ())
    for finalizer in list(registry):
        peeked = finalizer.peek()
        if peeked is not None and str(getattr(peeked[1], "__module__", "")).partition(".")[0] == "distributed":
            finalizer.detach()
    children: Any = getattr(multiprocessing.process, "_children", set())
    for process in list(children):
        if process.name.startswith("Dask Worker"):
            children.discard(process)


def unprepared_workers(error: BaseException) -> BackendUnavailableError:
    """Return the error of a cluster whose workers can't import a module that they need."""
    return BackendUnavailableError(
        f"backend 'dask' (corefutures-dask) can't prepare the cluster's workers: {error}; "
        "install corefutures-dask, and the modules of an initializer, for the scheduler and for every worker"
    )


def _connect(**options: Any) -> Any:
    # Dask's client keeps its last 1,000 messages for debugging, and with them the arguments of finished calls.
    with dask.config.set({"distributed.admin.low-level-log-length": _MESSAGES_KEPT}), standard_reserved:
        return Client(set_as_default=False, asynchronous=False, **options)


def check_same_versions(place: object, found: Mapping[str, Any]) -> None:
    """Raise BackendUnavailableError if the scheduler or a worker differs from this client: `Client.get_versions`."""
    here = _relevant(found["client"])
    others = {"the scheduler": found["scheduler"]}
    others.update({f"the worker {address}": versions for address, versions in found["workers"].items()})
    for process, versions in others.items():
        there = _relevant(versions)
        for package, own in here.items():
            if there.get(package) not in (own, None):
                raise _mismatch(place, f"{process} has {package} {there[package]}, this process {own}")


def _relevant(versions: Any) -> dict[str, str]:
    """Return the versions that pickled functions and Dask's protocol depend on."""
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
