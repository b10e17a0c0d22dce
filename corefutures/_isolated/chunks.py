"""Chunks: several items of a `map` that travel to a worker as one call.

Touches the core's `ResultIterator`; `run_chunk` runs in the worker. Guarantees: a chunk is one call in every respect
(E2); an item that fails leaves the others of its chunk their results (E9).
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from corefutures._executor import ResultIterator
    from corefutures._future import Future

_T = TypeVar("_T")

AUTO: Final = "auto"

#: Seconds of work that a chunk is to hold, when that is measured: much more than a call costs, too little to notice.
_WORTH: Final = 0.002
#: Seconds to wait for the first measurement at most.
_PATIENCE: Final = 0.001
#: While nothing is measured, each worker gets so many chunks.
_UNMEASURED: Final = 16
#: However short the calls, each worker gets so many chunks of those that are left.
_SHARE: Final = 4


def run_chunk(fn: Callable[..., Any], items: list[tuple[Any, ...]]) -> tuple[float, list[Any], dict[int, str]]:
    """Runs a chunk's calls, in the worker.

    Returns:
        The seconds that it took, a result or an exception for each item, and for those that are exceptions
        raised, by index, their traceback as text.
    """
    began = time.perf_counter()
    results: list[Any] = []
    errors: dict[int, str] = {}
    for args in items:
        try:
            results.append(fn(*args))
        except BaseException as exc:
            from corefutures._isolated.worker import describe

            errors[len(results)] = describe(exc)
            exc.__traceback__ = None
            results.append(exc)
    return time.perf_counter() - began, results, errors


def chunked_map(
    submit: Callable[..., Future[Any]],
    fn: Callable[..., _T],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None,
    chunksize: int | str,
    buffersize: int | None,
    workers: int,
    remote_traceback: Callable[[str], BaseException],
) -> ResultIterator[_T]:
    """Returns the results of `fn` over the items, of which `chunksize` at a time make a call.

    Args:
        submit: The executor's.
        fn: Called with one item of each iterable.
        iterables: The items.
        timeout: As of `Executor.map`.
        chunksize: A positive number, or AUTO.
        buffersize: As of `Executor.map`, in chunks.
        workers: How many workers share the chunks.
        remote_traceback: Makes the cause of an exception of its traceback as text.

    Raises:
        ValueError: `chunksize` or `buffersize` is not positive.
        TypeError: One of them is of the wrong type.
    """
    from corefutures._executor import check_buffersize

    check_buffersize(buffersize)
    if isinstance(chunksize, str):
        if chunksize != AUTO:
            raise ValueError(f"chunksize must be a number or {AUTO!r}, not {chunksize!r}")
    elif chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    deadline = None if timeout is None else time.monotonic() + timeout
    items = zip(*iterables, strict=False)
    sizes: list[int] = []
    if isinstance(chunksize, str):
        if buffersize is None:
            submissions = _measured(submit, fn, list(items), workers, sizes)
        else:
            submissions = _growing(submit, fn, items, workers, sizes)
    else:
        submissions = _equal(submit, fn, items, chunksize, sizes)
    return _iterator_class()(submissions, deadline, buffersize, sizes, remote_traceback)


def _equal(
    submit: Callable[..., Future[Any]], fn: Any, items: Iterator[tuple[Any, ...]], size: int, sizes: list[int]
) -> Iterator[Future[Any]]:
    while chunk := list(islice(items, size)):
        future = submit(run_chunk, fn, chunk)
        sizes.append(len(chunk))
        yield future


def _measured(
    submit: Callable[..., Future[Any]], fn: Any, items: list[tuple[Any, ...]], workers: int, sizes: list[int]
) -> Iterator[Future[Any]]:
    """Submits all items: a few one by one, then chunks as large as what was measured until then says."""
    meter = _Meter()
    position = 0
    while position < len(items):
        left = len(items) - position
        if position < workers:
            size = 1
        else:
            if position == workers:
                meter.wait()
            size = meter.size(-(-left // (_UNMEASURED * workers)))
            size = max(1, min(size, -(-left // (_SHARE * workers))))
        future = submit(run_chunk, fn, items[position : position + size])
        position += size
        meter.watch(future)
        sizes.append(size)
        yield future


def _growing(
    submit: Callable[..., Future[Any]],
    fn: Any,
    items: Iterator[tuple[Any, ...]],
    workers: int,
    sizes: list[int],
) -> Iterator[Future[Any]]:
    """The same where the end of the input is not known, and results are taken in between."""
    meter = _Meter()
    size = 1
    while chunk := list(islice(items, size)):
        future = submit(run_chunk, fn, chunk)
        meter.watch(future)
        sizes.append(size := len(chunk))
        yield future
        size = max(1, min(meter.size(1), 2 * size))


class _Meter:
    """Learns from the chunks that have ended what an item takes."""

    def __init__(self) -> None:
        self._watched: list[Future[Any]] = []
        self._seconds = 0.0
        self._items = 0

    def watch(self, future: Future[Any]) -> None:
        if len(self._watched) < 4:
            self._watched.append(future)

    def wait(self) -> None:
        """Waits a moment for the first chunk to end."""
        if self._watched:
            try:
                self._watched[0].exception(_PATIENCE)
            except BaseException as exc:
                if not isinstance(exc, Exception):
                    raise

    def size(self, unmeasured: int) -> int:
        """Returns how many items are worth a chunk; `unmeasured` while that is unknown."""
        for future in list(self._watched):
            if future.done():
                self._watched.remove(future)
                if not future.cancelled() and future.exception() is None:
                    seconds, results, _ = future.result()
                    self._seconds += seconds
                    self._items += len(results)
        if not self._items:
            return unmeasured
        return int(_WORTH * self._items / max(self._seconds, 1e-9)) or 1


def _iterator_class() -> Any:
    """Returns `ChunkIterator`; apart, because the workers pass through this module and don't need its base."""
    from corefutures._isolated.chunked_results import ChunkIterator

    return ChunkIterator
