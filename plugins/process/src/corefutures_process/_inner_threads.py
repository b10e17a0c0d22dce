"""The limit of threads that BLAS and OpenMP start in a worker process; each library would start one per processor.

Used on both sides. Guarantees: the limit holds before the worker imports anything of the program; libraries that are
loaded already (in a forked process or a fork server) are limited by threadpoolctl where it is installed.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

#: The environment variables that the libraries read when they are loaded.
VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def check_inner_threads(threads: object) -> None:
    """Raise TypeError or ValueError unless this is None or a number of threads."""
    from corefutures_pools.options import check_count  # here for workers, which don't need it

    check_count("inner_threads", threads)


class LimitedInitializer:
    """An initializer that limits the libraries that are loaded, and calls the pool's initializer.

    Args:
        threads: The number of threads.
        initializer: The pool's initializer, or None.
    """

    def __init__(self, threads: int, initializer: Callable[..., object] | None) -> None:
        self._threads = threads
        self._initializer = initializer

    def __call__(self, *args: Any) -> None:
        os.environ.update(dict.fromkeys(VARIABLES, str(self._threads)))
        self._limit()
        if self._initializer is not None:
            self._initializer(*args)
            self._limit()  # it may have loaded a library that ignores the variables

    def _limit(self) -> None:
        try:
            from threadpoolctl import threadpool_limits  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError:
            return
        threadpool_limits(limits=self._threads)
