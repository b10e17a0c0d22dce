"""The backend "loky": loky's process pool behind `adapt`.

Touches loky. Guarantees: what it declares, `_loky_plugin` says; the conformance kit certifies it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from corefutures.registry._description import Capabilities
from corefutures_pools.adapter import AdaptedExecutor, adapt
from corefutures_pools.cpu import usable_processors
from corefutures_pools.options import check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CAPABILITIES = Capabilities(pickles=True, accepts_initializer=True)


def make_executor(
    max_workers: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    *,
    timeout: float | None = None,
    context: Any = None,
    env: Mapping[str, str] | None = None,
) -> AdaptedExecutor:
    """Make an executor with a pool of loky's of its own.

    Args:
        max_workers: The number of processes; by default one for each processor that this process may use.
        initializer: Called in each process before its first call; if it raises, the executor is broken.
        initargs: Its arguments.
        timeout: The seconds after which a process without calls ends; None for never.
        context: loky's start method or context; None for loky's default.
        env: Environment variables for the processes.

    Returns:
        The executor. Functions that can't be imported are pickled by value.
    """
    check_count("max_workers", max_workers)
    workers = usable_processors() if max_workers is None else max_workers
    if isinstance(context, str):
        context = import_module("loky.backend").get_context(context)
    pool = import_module("loky").ProcessPoolExecutor(workers, timeout=timeout, context=context, env=env)
    return adapt(
        pool,
        capabilities=CAPABILITIES,
        max_workers=workers,
        serializer="cloudpickle",
        initializer=initializer,
        initargs=initargs,
    )
