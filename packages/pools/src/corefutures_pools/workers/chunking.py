"""Chunks: several items of a `map` that travel to a worker as one call.

Touches the core's `ResultIterator`; `run_chunk` runs in the worker. Guarantees: a chunk is one call in every respect
(E2); an item that fails leaves the others of its chunk their results (E9).
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from weakref import WeakKeyDictionary

from corefutures._blocking import clock

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Final, TypeVar

    from corefutures._future import Future
    from corefutures._results import ResultIterator

    _T = TypeVar("_T")

#: Seconds of work that a chunk is to hold, when that is measured: much more than a call costs, too little to notice.
CHUNK_SECONDS: Final = 0.002
#: Seconds to wait for the first measurement at most.
_PATIENCE: Final = 0.001
#: So many chunks are looked at while others are being submitted.
_WATCHED: Final = 4
#: While nothing is measured, each worker gets so many chunks.
_UNMEASURED: Final = 16
#: However short the calls, each worker gets so many chunks, unless all of them together are hardly worth one.
_SHARE: Final = 4


def run_chunk(fn: Callable[..., Any], *columns: list[Any]) -> tuple[float, list[Any], dict[int, str]]:
    """Run a chunk's calls, in the worker.

    Args:
        fn: Called with an item of each column.
        columns: The first arguments, the second ones, and so on.

    Returns:
        The seconds that it took, a result or an exception for each item, and for those that are exceptions
        raised, by index, their traceback as text.
    """
    began = clock.perf_counter()
    results: list[Any] = []
    errors: dict[int, str] = {}
    outcomes = map(fn, *columns)
    append = results.append
    while True:
        try:
            for result in outcomes:
                append(result)
            break
        except BaseException as exc:  # of one call: the map goes on with the next
            from corefutures_pools.tracebacks import annotate, traceback_text

            try:
                errors[len(results)] = traceback_text(exc)
                annotate(exc)
            except KeyboardInterrupt:
                raise
            except BaseException:
                errors[len(results)] = ""
            BaseException.with_traceback(exc, None)
            append(exc)
            if issubclass(type(exc), KeyboardInterrupt):  # whoever interrupts one means them all
                while len(results) < len(columns[0]):
                    errors[len(results)] = errors[len(results) - 1]
                    append(KeyboardInterrupt())
                break
    return clock.perf_counter() - began, results, errors


def chunked_map(
    submit: Callable[..., Future[Any]],
    fn: Callable[..., _T],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None,
    chunksize: int | str,
    buffersize: int | None,
    workers: int,
    pace: CostModel,
    remote_traceback: Callable[[str], BaseException],
    chunk_seconds: float = CHUNK_SECONDS,
) -> ResultIterator[_T]:
    """Return the results of `fn` over the items, of which `chunksize` at a time make a call.

    Args:
        submit: The executor's.
        fn: Called with one item of each iterable.
        iterables: The items.
        timeout: As of `Executor.map`.
        chunksize: A positive number, or "auto".
        buffersize: As of `Executor.map`, in chunks.
        workers: How many workers share the chunks.
        pace: What is known of the functions of earlier maps.
        remote_traceback: Makes the cause of an exception of its traceback as text.
        chunk_seconds: The seconds of work that a chunk is to hold, when that is measured.

    Raises:
        ValueError: `chunksize` or `buffersize` is not positive.
        TypeError: One of them is of the wrong type.
    """
    # Workers pass through this module, and don't need these.
    from corefutures._options import check_seconds
    from corefutures._results import check_buffersize, check_chunksize, check_iterables
    from corefutures_pools.workers.chunked_results import iterate

    check_iterables(iterables)
    check_seconds("timeout", timeout)
    check_chunksize(chunksize)
    check_buffersize(buffersize)
    deadline = None if timeout is None else clock.monotonic() + timeout
    sizes: list[int] = []
    # One iterable, as a rule, is a column as it is: no item need be wrapped.
    items: Iterator[Any] = iter(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)
    transpose = _as_it_is if len(iterables) == 1 else _transposed

    def submit_chunk(chunk: list[Any]) -> Future[Any]:
        future = submit(run_chunk, fn, *transpose(chunk))
        sizes.append(len(chunk))
        return future

    if isinstance(chunksize, str):
        if buffersize is None:
            submissions = _measured(submit_chunk, list(items), workers, _ChunkSizer(pace.of(fn), chunk_seconds))
        else:
            submissions = _growing(submit_chunk, items, _ChunkSizer(pace.of(fn), chunk_seconds))
    else:
        submissions = _equal(submit_chunk, items, chunksize)
    note = partial(pace.note, fn)
    return iterate(submissions, deadline, buffersize, sizes, note, remote_traceback)


def _as_it_is(chunk: list[Any]) -> list[list[Any]]:
    return [chunk]


def _transposed(chunk: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*chunk, strict=True)]


def _equal(submit_chunk: Callable[[list[Any]], Future[Any]], items: Iterator[Any], size: int) -> Iterator[Future[Any]]:
    while chunk := list(islice(items, size)):
        yield submit_chunk(chunk)


def _measured(
    submit_chunk: Callable[[list[Any]], Future[Any]], items: list[Any], workers: int, meter: _ChunkSizer
) -> Iterator[Future[Any]]:
    """Submit all items: a few one by one, then chunks as large as what was measured until then says."""
    probes = workers if meter.blank else 0
    unmeasured = -(-len(items) // (_UNMEASURED * workers))
    position = 0
    while position < len(items):
        size = 1
        if position >= probes:
            if position == probes:
                meter.wait()
            worth = meter.size(unmeasured)
            share = 1 if worth * workers >= len(items) else _SHARE
            size = min(worth, -(-len(items) // (share * workers)))
        future = submit_chunk(items[position : position + size])
        position += size
        meter.watch(future)
        yield future


def _growing(
    submit_chunk: Callable[[list[Any]], Future[Any]], items: Iterator[Any], meter: _ChunkSizer
) -> Iterator[Future[Any]]:
    """Submit items whose end is not known, while results are taken: each chunk twice as large as the last at most."""
    size = 1 if meter.blank else meter.size(1)
    while chunk := list(islice(items, size)):
        future = submit_chunk(chunk)
        meter.watch(future)
        yield future
        size = min(meter.size(1), 2 * size)


class CostModel:
    """What an item takes of each function, as measured last; one for each executor.

    Thread safety: a measurement may be lost to another.
    """

    def __init__(self) -> None:
        self._seconds: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def note(self, fn: Any, seconds: float, items: int) -> None:
        """Note that `items` items took so many seconds."""
        try:
            self._seconds[fn] = seconds / items
        except Exception:  # neither can every callable be hashed, nor referred to weakly
            pass

    def of(self, fn: Any) -> float | None:
        """Return the seconds that an item takes, None if that is unknown."""
        try:
            return self._seconds.get(fn)
        except Exception:
            return None


class _ChunkSizer:
    """Says how many items are worth a chunk, as far as is known, and learns from the chunks that end."""

    def __init__(self, known: float | None, chunk_seconds: float) -> None:
        self._known = known
        self._chunk_seconds = chunk_seconds
        self._watched: list[Future[Any]] = []

    @property
    def blank(self) -> bool:
        return self._known is None

    def watch(self, future: Future[Any]) -> None:
        if len(self._watched) < _WATCHED:
            self._watched.append(future)

    def wait(self) -> None:
        """Wait a moment for the first chunk to end."""
        from corefutures._wait import wait  # as in `chunked_map`

        if self._watched:
            wait(self._watched[:1], _PATIENCE)

    def size(self, unmeasured: int) -> int:
        """Return how many items are worth a chunk; `unmeasured` while that is unknown."""
        for future in list(self._watched):
            if future.done():
                self._watched.remove(future)
                if not future.cancelled() and future.exception() is None:
                    seconds, results, _ = future.result()
                    self._known = seconds / len(results)
        if self._known is None:
            return unmeasured
        return int(self._chunk_seconds / max(self._known, 1e-9)) or 1
