"""joblib on the executors of corefutures: importing this module registers the backend `corefutures`.

`joblib.parallel_config(backend="corefutures", executor="process", n_jobs=2)` then runs each `Parallel` of the block,
also those of scikit-learn, on a pool that is kept from one `Parallel` to the next.
"""

from __future__ import annotations

from joblib import register_parallel_backend  # type: ignore[import-untyped]

from corefutures_joblib._backend import CorefuturesBackend
from corefutures_joblib._kept_pools import shutdown

__all__ = ["CorefuturesBackend", "shutdown"]

register_parallel_backend("corefutures", CorefuturesBackend)
