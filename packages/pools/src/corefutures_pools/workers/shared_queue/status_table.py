"""`StatusTable`: which worker has claimed which call, in shared memory: workers write it, the pool reads it.

Touches nothing but the memory. Guarantees: a call that its worker has entered here is known to be that worker's (E5);
reading never waits for a worker.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Final

#: Bytes of a row: four unsigned 64-bit numbers.
_ROW: Final = 32


class StatusTable:
    """One row for each worker index, stored by columns: each has a quarter of the memory, the third is not used.

    | column | written by | what it says |
    |---|---|---|
    | current task | the worker | the number of the call that it has claimed last, also after that has ended |
    | claimed at | the worker | when it claimed that call, by `time.monotonic_ns` |
    | stop requested | the pool | the number of the call that is asked to stop, if the worker runs that |

    A worker enters a call after it has read the task descriptor (see `worker`): in between, no table says which
    worker has claimed the call. If a worker is lost at that moment, `ClaimResolver` finds out. A row may be wrong: a
    call may write to memory that is not its own.

    Args:
        memory: The memory, of `size_for(workers)` bytes.
        workers: The number of worker indexes.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, memory: memoryview, workers: int) -> None:
        columns = memory.cast("Q")
        self._current = columns[:workers]
        self._claimed_at = columns[len(columns) // 4 :]
        self._stop_requested = columns[len(columns) // 2 :]
        self._views = [memory, columns, self._current, self._claimed_at, self._stop_requested]

    @staticmethod
    def size_for(workers: int, page: int) -> int:
        """Return how many bytes a table for so many workers has: whole pages, since workers map it by itself."""
        return -(-_ROW * workers // page) * page

    def current_task(self, index: int) -> int:
        """Return the number of the call that the worker has claimed last; 0 if there was none."""
        return self._current[index]

    def current_task_since(self, index: int) -> tuple[int, float]:
        """Return that number and when the call was claimed, by `time.monotonic`; zeros if the table is closed."""
        try:
            while True:
                number, since = self._current[index], self._claimed_at[index]
                if self._current[index] == number:
                    return number, since / 1e9
        except ValueError:  # closed
            return 0, 0.0

    def is_claimed(self, number: int) -> bool:
        """Return whether a worker has entered that call."""
        try:
            return number in self._current.tolist()
        except ValueError:  # closed
            return False

    def request_stop(self, number: int) -> bool:
        """Ask the worker that has entered that call to stop it; return whether there is one."""
        try:
            self._stop_requested[self._current.tolist().index(number)] = number
        except ValueError:  # no worker has, or the table is closed
            return False
        return True

    def clear(self, index: int) -> None:
        """Make the row ready for another worker."""
        self._current[index] = self._stop_requested[index] = 0

    def close(self) -> None:
        """Release the memory."""
        for view in reversed(self._views):
            view.release()
