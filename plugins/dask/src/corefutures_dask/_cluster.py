"""How a pool comes to its cluster: one of its own on this machine, one that runs, or a client that exists.

Touches `distributed`. Guarantees: what was started here is ended here, and nothing else is.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.config
import distributed
from distributed.versions import VersionMismatchWarning

from corefutures import BackendUnavailableError
from corefutures_dask import _scheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Dask's own classes, which it has not typed.
Client: Any = distributed.Client
LocalCluster: Any = distributed.LocalCluster

#: Seconds that the end of a client whose scheduler is gone may take.
_FAREWELL = 2.0

#: Messages that a client of ours keeps for debugging.
_MESSAGES_KEPT = 4

#: In a forked child: what belongs to the parent, kept from finalisers that would talk to the parent's cluster.
_of_the_parent: list[object] = []


class Connection(NamedTuple):
    """A client, and what has to be closed with it."""

    client: Any
    cluster: Any  # None: somebody else's
    owned: bool  # the client, too, was made here

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


def own_cluster(workers: int | None, options: Mapping[str, Any]) -> Connection:
    """Starts a cluster on this machine: by default processes with one thread each.

    Args:
        workers: How many calls are to run at once; None for one on each CPU.
        options: Of `LocalCluster`.
    """
    settings: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", **options}
    if "n_workers" not in settings:
        threads = settings["threads_per_worker"] or 1
        settings["n_workers"] = -(-(workers or _cpu_count()) // threads)
    cluster = LocalCluster(asynchronous=False, **settings)
    try:
        client = _connect(address=cluster, direct_to_workers=True)
    except BaseException:
        cluster.close()
        raise
    return Connection(client, cluster, True)


def joined_cluster(where: Mapping[str, Any], check_versions: bool) -> Connection:
    """Joins a cluster that runs.

    Args:
        where: Arguments of `Client` that say where its scheduler is, and how to talk to it.
        check_versions: Whether to refuse a scheduler of another version.

    Raises:
        BackendUnavailableError: No scheduler answers there, or it is of another version.
    """
    place = where.get("address") or where.get("scheduler_file")
    try:
        client = _connect(**where)
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


def given_client(client: Any) -> Connection:
    """Uses a client that exists, and leaves it as it is.

    Raises:
        TypeError: It is no client of Dask's.
        ValueError: It is asynchronous, or closed.
    """
    if not isinstance(client, Client):
        raise TypeError(f"client must be a distributed.Client, not {type(client).__name__}")
    if client.asynchronous:
        raise ValueError("client must not be asynchronous: its loop would wait for itself")
    if client.status != "running":
        raise ValueError(f"client must be connected, and is {client.status}")
    return Connection(client, None, False)


def lacking(error: BaseException) -> BackendUnavailableError:
    """Returns the error for a cluster whose workers can't import what they need."""
    return BackendUnavailableError(
        f"backend 'dask' (corefutures-dask) can't prepare the cluster's workers: {error}; "
        "install corefutures-dask, and what an initializer needs, for the scheduler and for every worker"
    )


def _connect(**options: Any) -> Any:
    # Dask's client keeps its last 1,000 messages for debugging, and with them the arguments of finished calls.
    with dask.config.set({"distributed.admin.low-level-log-length": _MESSAGES_KEPT}):
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
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
