"""`ChunkIterator`: the results of a `map` in chunks, one by one.

Touches the core's `ResultIterator`, and behaves as it does (E9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from corefutures._executor import ResultIterator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from corefutures._future import Future

_T = TypeVar("_T")


class ChunkIterator(ResultIterator[_T]):
    """See `ResultIterator`.

    Args:
        submissions: Yields the futures of chunks (`chunks.run_chunk`).
        deadline: As of `ResultIterator`.
        buffersize: As of `ResultIterator`, in chunks.
        sizes: The numbers of items in the chunks, appended to by `submissions`.
        remote_traceback: Makes the cause of an exception of its traceback as text.
    """

    def __init__(
        self,
        submissions: Iterator[Future[Any]],
        deadline: float | None,
        buffersize: int | None,
        sizes: list[int],
        remote_traceback: Callable[[str], BaseException],
    ) -> None:
        self._sizes = sizes
        self._taken = 0  # chunks
        self._remote_traceback = remote_traceback
        self._items: list[Any] = []  # of the chunk at hand, last first
        self._errors: dict[int, str] = {}  # its tracebacks, by position from the end
        self._failure: BaseException | None = None  # of the chunk as such
        self._failed = 0  # for how many items it is still to be raised
        super().__init__(submissions, deadline, buffersize)

    def __next__(self) -> _T:
        while True:
            if self._items:
                text = self._errors.pop(len(self._items), None)
                item: Any = self._items.pop()
                if text is None:
                    return item  # type: ignore[no-any-return]
                item.__cause__ = self._remote_traceback(f'\n"""\n{text}"""')
                try:
                    raise item
                finally:
                    del item
            if self._failed:
                self._failed -= 1
                failure = self._failure
                if not self._failed:
                    self._failure = None
                assert failure is not None
                try:
                    raise failure
                finally:
                    del failure
            self._open_next()

    def _open_next(self) -> None:
        """Waits for the next chunk."""
        ahead = bool(self._futures)
        try:
            _, results, errors = super().__next__()  # type: ignore[misc]
        except StopIteration:
            raise
        except Exception as exc:
            if not ahead or self._taken >= len(self._sizes) or self._over(exc):
                raise
            self._failure, self._failed = exc, self._sizes[self._taken]
            self._taken += 1
            return
        self._taken += 1
        count = len(results)
        results.reverse()
        self._items = results
        self._errors = {count - index: text for index, text in errors.items()}

    def _over(self, exc: BaseException) -> bool:
        """Returns whether that was the iteration's own end: its time is up."""
        return isinstance(exc, TimeoutError) and not self._futures and self._submissions is None

    def close(self) -> None:
        """Ends the iteration: cancels the chunks that have not started; nothing more is yielded."""
        self._items = []
        self._failed = 0
        self._failure = None
        super().close()
