"""The backend `corefutures` of joblib: batches of calls become calls of a pool."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from joblib._parallel_backends import (  # type: ignore[import-untyped]
    AutoBatchingMixin,
    FallbackToBackend,
    SequentialBackend,
)
from joblib.parallel import ParallelBackendBase, cpu_count  # type: ignore[import-untyped]

import corefutures
from corefutures_joblib import _kept_pools
from corefutures_joblib._shared_arguments import SharedArguments


class CorefuturesBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Run the batches of a `Parallel` on a pool of corefutures.

    Thread safety: as that of joblib's own backends: an instance serves one `Parallel` at a time.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    def __init__(
        self,
        *,
        executor: str | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        """Prepare; the pool is made, or found, by the first `Parallel`.

        Args:
            executor: The name of a backend of corefutures. By default `"thread"` for a `Parallel` that prefers
                threads, and `"process"` for all others.
            nesting_level: Given by joblib.
            inner_max_num_threads: How many threads BLAS and OpenMP may use in a worker process. By default the
                cores are divided among the workers.
            **options: More options of the pool, such as `on_worker_loss="replace"`.
        """
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self.executor = executor
        self.options = options
        self.uses_threads = self.supports_sharedmem = executor == "thread"
        self._kept: _kept_pools.KeptPool | None = None
        self._shared: SharedArguments | None = None

    def configure(  # pyright: ignore[reportIncompatibleMethodOverride] (what it leaves out is not for it)
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        max_nbytes: int | None = None,
        **_: Any,
    ) -> int:
        """Take a pool for a `Parallel`; called by joblib.

        Returns:
            The number of workers.

        Raises:
            BackendError: There is no such executor here.
            TypeError: An option is unknown.
            ValueError: `n_jobs` is 0, or an option is wrong.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        in_threads = prefer == "threads" or require == "sharedmem"
        name = self.executor or ("thread" if in_threads else "process")
        options = dict(self.options)
        if name == "process":
            options.setdefault("serializer", "cloudpickle")
            options.setdefault("inner_threads", self.inner_max_num_threads or max(cpu_count() // n_jobs, 1))
        self.parallel = parallel
        self._kept = _kept_pools.take(name, n_jobs, options)
        shares = name != "thread" and max_nbytes and corefutures.get_backend(name).capabilities.shares_objects
        self._shared = SharedArguments(self._kept.executor, max_nbytes) if shares and max_nbytes else None
        return n_jobs

    def effective_n_jobs(  # pyright: ignore[reportIncompatibleMethodOverride] (joblib has no types)
        self, n_jobs: int | None
    ) -> int:
        """Return the number of workers for a request, in which -1 means all cores, -2 all but one.

        Raises:
            ValueError: `n_jobs` is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(int(cpu_count()) + 1 + n_jobs, 1)

    def submit(self, func: Any, callback: Callable[[Future[Any]], object] | None = None) -> Future[Any]:
        """Submit a batch; called by joblib."""
        assert self._kept is not None, "joblib configures a backend before it submits"
        if self._shared is not None:
            self._shared.replace_in(func)
        future = self._kept.executor.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(  # pyright: ignore[reportIncompatibleMethodOverride] (joblib has no types)
        self, future: Future[Any]
    ) -> Any:
        """Return the results of a batch, or raise the error of one of its calls; called by joblib."""
        return future.result()

    def terminate(self) -> None:
        """Give the pool back, which is kept for the next `Parallel`; called by joblib."""
        kept, self._kept = self._kept, None
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.close()
        if kept is not None:
            _kept_pools.give_back(kept)
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop what runs after an error or a time limit; called by joblib."""
        kept, self._kept = self._kept, None
        shared, self._shared = self._shared, None
        if kept is not None:
            _kept_pools.discard(kept)
        if shared is not None:
            shared.close()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel, **self.parallel._backend_kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pool out: joblib sends backends to workers as the ones for nested calls."""
        return {**self.__dict__, "_kept": None, "_shared": None, "parallel": None}
