"""Limits how many threads BLAS and OpenMP start in a worker process, each of which would take one per processor.

Used on both sides. Guarantees: the limit holds before the worker imports anything of the program's; libraries that it
has by then (those of a forked process or fork server) are limited by threadpoolctl where that is installed.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

#: What the libraries read when they are loaded.
VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def check_inner_threads(threads: object) -> None:
    """Raises TypeError or ValueError if this is neither None nor a number of threads."""
    from corefutures_pools.options import check_count  # here for workers, which do without

    check_count("inner_threads", threads)


class LimitedStart:
    """An initializer that limits what is there already, then runs another one.

    Args:
        threads: How many.
        initializer: The other one, or None.
    """

    def __init__(self, threads: int, initializer: Callable[..., object] | None) -> None:
        self._threads = threads
        self._initializer = initializer

    def __call__(self, *args: Any) -> None:
        os.environ.update(dict.fromkeys(VARIABLES, str(self._threads)))
        self._limit()
        if self._initializer is not None:
            self._initializer(*args)
            self._limit()  # what it has loaded under a name of its own

    def _limit(self) -> None:
        try:
            from threadpoolctl import threadpool_limits  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError:
            return
        threadpool_limits(limits=self._threads)
