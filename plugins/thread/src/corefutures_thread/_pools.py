"""What a pool needs, and its class doesn't: put into `_pool`'s names with the first pool.

Touches the door, `_pool` and `_crew`.
"""

from __future__ import annotations

from corefutures_pools.future import PoolFuture
from corefutures_pools.instrumentation import instrumentation
from corefutures_thread import _pool
from corefutures_thread._crew import Crew

for name, needed in {"Crew": Crew, "PoolFuture": PoolFuture, "instrumentation": instrumentation}.items():
    setattr(_pool, name, needed)
