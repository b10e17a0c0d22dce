"""What concerns all pools: the end of the interpreter, and a fork; and all that a pool needs, and its class doesn't.

Touches the door, `_pool` and `_crew`. Imported with the first pool.
"""

from __future__ import annotations

import os

from corefutures_pools.foreign_code import for_each
from corefutures_pools.future import PoolFuture
from corefutures_pools.instrumentation import instrumentation
from corefutures_pools.lifecycle import LiveObjects
from corefutures_thread import _pool
from corefutures_thread._crew import Crew

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from corefutures_thread._pool import ThreadPoolExecutor

#: Those that are alive.
pools = LiveObjects()


def _close_all() -> None:
    """At the end of the interpreter: the threads, which are no daemons, end once their calls are done."""
    everybody = pools.all()
    try:
        for_each(_close, everybody)
    finally:
        for_each(lambda pool: pool._cf_crew.join(), everybody)


def _close(pool: ThreadPoolExecutor) -> None:
    pool._cf_crew.close(RuntimeError(_pool.AFTER_EXIT))
    if pool._cf_at_exit == "cancel":
        pool._cf_ask_all()
        pool._cf_crew.cancel_waiting()


def _continue_all_in_child() -> None:
    for_each(lambda pool: pool._cf_continue_in_child(), pools.all())


for name, needed in {"Crew": Crew, "PoolFuture": PoolFuture, "instrumentation": instrumentation}.items():
    setattr(_pool, name, needed)
_pool.steps.append(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_continue_all_in_child)
