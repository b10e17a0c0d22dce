"""Pools that outlive the `Parallel` that needed them, so that the next one starts no workers.

For each executor one pool is kept. It ends after a while without use, when another one takes its place, by `shutdown`,
or with the program. A pool has one user at a time: a `Parallel` inside a call would wait for ever for a worker of the
pool that it runs in, because joblib waits without the pool's knowledge. Such a one has a pool for itself alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final

import corefutures

IDLE_SECONDS: Final = 300.0
"""Seconds without use after which a pool ends."""


@dataclass(eq=False)
class KeptPool:
    """A pool, and whether a `Parallel` uses it.

    Attributes:
        executor: The pool.
        name: The backend's name.
        key: All that the pool was made with.
        in_use: Whether a `Parallel` uses it now.
        timer: What ends the pool after a time without use.
    """

    executor: Executor
    name: str
    key: Hashable
    in_use: bool = True
    timer: threading.Timer | None = field(default=None, repr=False)


_lock = threading.Lock()
"""Guards `_pools`, and the other fields of its pools. No pool is made, ended or waited for while it is held."""

_pools: dict[str, KeptPool] = {}


def take(name: str, max_workers: int, options: dict[str, Any]) -> KeptPool:
    """Return the pool of a backend with these options, which is made if there is none.

    Args:
        name: The backend's name.
        max_workers: The number of workers.
        options: The pool's other options.

    Raises:
        BackendError: There is no such backend here.
        TypeError: An option is unknown.
        ValueError: An option is wrong.
    """
    key = (max_workers, tuple(sorted((option, repr(value)) for option, value in options.items())))
    with _lock:
        kept = _pools.get(name)
        if kept is not None and kept.key == key and not kept.in_use:
            kept.in_use = True
            _stop_timer(kept)
            return kept
    made = KeptPool(corefutures.create_executor(name, max_workers=max_workers, **options), name, key)
    with _lock:
        kept = _pools.get(name)
        replaces = kept is None or not kept.in_use
        if replaces:
            _pools[name] = made
    if replaces and kept is not None:
        _end(kept)
    return made


def give_back(pool: KeptPool) -> None:
    """End the use of a pool: it is kept for the next user, or ends if another one is kept."""
    with _lock:
        pool.in_use = False
        is_kept = _pools.get(pool.name) is pool
        timer = pool.timer = threading.Timer(IDLE_SECONDS, _end_if_idle, [pool])
    if not is_kept:
        _end(pool)
        return
    timer.daemon = True
    try:
        timer.start()  # one that was cancelled meanwhile ends at once
    except RuntimeError:  # no thread can be started: nobody would end the pool
        _end_if_idle(pool)


def discard(kept: KeptPool) -> None:
    """Stop a pool and what runs in it: nobody shall be given it again."""
    with _lock:
        if _pools.get(kept.name) is kept:
            del _pools[kept.name]
    try:
        kill = getattr(kept.executor, "kill_workers", None)
        if kill is not None:
            kill()
    finally:
        kept.executor.shutdown(wait=False, cancel_futures=True)


def shutdown(*, wait: bool = True) -> None:
    """End the pools that are kept for later calls.

    Args:
        wait: Whether to wait until their workers have ended.
    """
    with _lock:
        pools = list(_pools.values())
        _pools.clear()
        for kept in pools:
            _stop_timer(kept)
    for kept in pools:
        kept.executor.shutdown(wait=wait)


def _stop_timer(kept: KeptPool) -> None:
    if kept.timer is not None:
        kept.timer.cancel()
        kept.timer = None


def _end_if_idle(kept: KeptPool) -> None:
    with _lock:
        if kept.in_use or _pools.get(kept.name) is not kept:
            return
        del _pools[kept.name]
    _end(kept)


def _end(kept: KeptPool) -> None:
    with _lock:
        _stop_timer(kept)
    kept.executor.shutdown(wait=False)


def _begin_in_child() -> None:
    """Forget the pools of the parent, whose workers answer there, and the lock, which one of its threads may hold."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
