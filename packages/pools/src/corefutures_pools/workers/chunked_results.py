"""`ChunkIterator`: the results of a `map` in chunks, one by one.

Touches the core's `ResultIterator`, and behaves as it does (E9). Guarantees: a result that was handed out is not kept
alive.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, cast

from corefutures._results import ResultIterator
from corefutures_pools.foreign_code import drop_frame, set_cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from corefutures._future import Future

_T = TypeVar("_T")


class ChunkIterator(chain[_T]):
    """The results, as `ResultIterator` gives them.

    What is done for each result is left to `chain`, in C. It goes on after an error that one of its parts raises,
    but not after one of their source: so the source raises none, and gives a part that does.
    """

    _chunks: _Chunks

    def close(self) -> None:
        """End the iteration: cancel the chunks that have not started; nothing more is yielded."""
        self._chunks.close()


def iterate(
    submissions: Iterator[Future[Any]],
    deadline: float | None,
    buffersize: int | None,
    sizes: list[int],
    note: Callable[[float, int], None],
    remote_traceback: Callable[[str], BaseException],
) -> ResultIterator[Any]:
    """Return the iterator over the results.

    Args:
        submissions: Yields the futures of chunks (`chunks.run_chunk`).
        deadline: As of `ResultIterator`.
        buffersize: As of `ResultIterator`, in chunks.
        sizes: The numbers of items in the chunks, appended to by `submissions`.
        note: Told of each chunk the seconds that it took, and the number of its items.
        remote_traceback: Makes the cause of an exception of its traceback as text.
    """
    chunks = _Chunks(ResultIterator(submissions, deadline, buffersize), sizes, note, remote_traceback)
    results: ChunkIterator[Any] = ChunkIterator.from_iterable(chunks)  # type: ignore[assignment]
    results._chunks = chunks
    return cast("ResultIterator[Any]", results)  # as far as anybody can tell


class _Chunks:
    """The source: gives an iterator over each chunk's results."""

    def __init__(
        self,
        chunks: ResultIterator[Any],
        sizes: list[int],
        note: Callable[[float, int], None],
        remote_traceback: Callable[[str], BaseException],
    ) -> None:
        self._note = note
        self._chunks = chunks
        self._sizes = sizes
        self._remote_traceback = remote_traceback
        self._taken = 0
        self._results: list[Any] = []  # of the chunk at hand, last first
        self._lasts: list[int] = []  # what to take them with, one by one, in C

    def __iter__(self) -> Iterator[Iterator[Any]]:
        return self

    def __next__(self) -> Iterator[Any]:
        number, self._taken = self._taken, self._taken + 1
        try:
            seconds, results, errors = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as exc:
            drop_frame(exc)  # ours, which would keep us
            if issubclass(type(exc), KeyboardInterrupt):  # whoever interrupts one item means them all
                self.close()
                raise
            # Of a chunk as such: each of its items fails. Of the input, or of the time limit: it comes once.
            count = 1
            if number < len(self._sizes) and not issubclass(type(exc), TimeoutError):
                count = self._sizes[number]
            self._results = [exc] * count
            return _Mixed(self._results, dict.fromkeys(range(count), ""), self._remote_traceback)
        self._note(seconds, len(results))
        results.reverse()
        self._results = results
        if errors:
            return _Mixed(results, errors, self._remote_traceback)
        self._lasts = [-1] * len(results)
        return map(results.pop, self._lasts)

    def close(self) -> None:
        self._chunks.close()
        self._results.clear()
        self._lasts.clear()


class _Mixed:
    """Gives results and raises exceptions in turn; unlike a generator, it goes on after one."""

    def __init__(
        self, results: list[Any], errors: dict[int, str], remote_traceback: Callable[[str], BaseException]
    ) -> None:
        self._results = results  # last first
        self._errors = {len(results) - index: text for index, text in errors.items()}  # by what is left
        self._remote_traceback = remote_traceback

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        left = len(self._results)
        if not left:
            raise StopIteration
        result = self._results.pop()
        text = self._errors.get(left)
        if text is None:
            return result
        if text:
            set_cause(result, self._remote_traceback(f'\n"""\n{text}"""'))
        try:
            raise result
        finally:
            del result  # the traceback refers to this frame: no cycle
