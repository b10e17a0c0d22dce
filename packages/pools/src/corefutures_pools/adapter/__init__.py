"""`adapt`: another library's executor with our futures, and with what of the contract can be added from outside.

Touches the foreign executor's public methods only. Guarantees: no lock of ours is held while foreign code runs; a
call that the foreign executor has neither started nor pickled can be cancelled; every future ends when the foreign one
does.
"""

from corefutures_pools.adapter.capabilities import check_adaptable as check_adaptable
from corefutures_pools.adapter.executor import AdaptedExecutor as AdaptedExecutor, adapt as adapt
