"""`trace`: writes what executors do into a file in the Trace Event format, which Perfetto and chrome://tracing open.

Touches the observers. Guarantees: what is kept in memory are the calls that have not ended; a file that was cut off is
still readable, up to there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from corefutures import add_observer, remove_observer
from corefutures.backend import clock, shown
from corefutures_pools.blocking import system
from corefutures_pools.descriptors import standard_reserved

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from corefutures_pools import CallRecord

#: Microseconds between two entries of the counts of a pool, at least.
_COUNT_PAUSE: Final = 1000.0

#: The name of the event that says when the rest began.
BEGAN: Final = "trace_began"


def trace(path: str | os.PathLike[str], /) -> Trace:
    """Record every call of every executor into a file, as long as a `with` block lasts.

    Args:
        path: The file, which is made or replaced when the block begins; `.json` by custom. It is in the Trace Event
            format, for Perfetto, chrome://tracing and `corefutures trace`.

    Returns:
        A context manager. Of each call it records the worker, how long it waited and ran, how it ended, and the size
        of what was serialised. Calls that were submitted before are not recorded.

    Raises:
        TypeError: `path` is no path.
        OSError: Entering the block: the file can't be written.

    Thread safety: for one thread; the calls may be submitted in any.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"trace() takes the path of the file to be written, not {shown(path)}")
    return Trace(Path(path))


class Trace:
    """The context manager that `trace` returns.

    Attributes:
        path: The file.
        calls: How many calls have been recorded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = 0
        self._file: TextIO | None = None
        self._zero = 0.0
        self._open: dict[int, CallRecord] = {}  # those that have not ended; from here on, the observers' thread's alone
        self._pools: dict[str, _Pool] = {}

    def __enter__(self) -> Self:
        if self._file is not None:
            raise RuntimeError("this trace is being recorded already")
        with standard_reserved:
            self._file = self.path.open("w", encoding="utf-8", newline="\n")
        self._zero = clock.perf_counter()
        self._open.clear()
        self._pools.clear()
        self.calls = 0
        began = {
            "name": BEGAN,
            "ph": "M",
            "pid": 0,
            "tid": 0,
            "args": {"unix_time": clock.time(), "process": system.getpid()},
        }
        self._file.write("[\n" + json.dumps(began))
        add_observer(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        file = self._file
        assert file is not None
        try:
            remove_observer(self)
            now = clock.perf_counter()
            for call in list(self._open.values()):
                call.record_end()  # a waiter may learn of a call's end before observers do
                self._record(call, now)
            for pool in self._pools.values():
                self._count(pool, now)
            file.write("\n]\n")
        finally:
            self._file = None
            file.close()

    # The hooks.

    def corefutures_call_submitted(self, call: CallRecord) -> None:
        """Begin to follow a call."""
        self._open[call.number] = call
        self._pool(call.executor_info.name).waiting += 1

    def corefutures_call_started(self, call: CallRecord, time: float) -> None:
        """Count it as running."""
        if call.number in self._open:
            pool = self._pool(call.executor_info.name)
            pool.waiting -= 1
            pool.running += 1
            self._count_now_and_then(pool, time)

    def corefutures_call_finished(self, call: CallRecord, time: float) -> None:
        """Record it."""
        if self._open.pop(call.number, None) is not None:
            pool = self._pool(call.executor_info.name)
            if call.started is None:
                pool.waiting -= 1
            else:
                pool.running -= 1
            self._record(call, time)
            self._count_now_and_then(pool, time)

    def corefutures_call_cancelled(self, call: CallRecord, time: float) -> None:
        """Record it."""
        if self._open.pop(call.number, None) is not None:
            self._pool(call.executor_info.name).waiting -= 1
            self._record(call, time)

    def corefutures_worker_started(self, name: str, worker: str, time: float) -> None:
        """Give it a row."""
        pool = self._pool(name)
        self._instant(pool, self._row(pool, worker), "worker started", time)

    def corefutures_worker_lost(self, name: str, worker: str, error: BaseException, time: float) -> None:
        """Note it in its row."""
        pool = self._pool(name)
        self._instant(pool, self._row(pool, worker), f"worker lost: {error}", time)

    # What is written.

    def _record(self, call: CallRecord, end: float) -> None:
        self.calls += 1
        pool = self._pool(call.executor_info.name)
        end = end if call.finished is None else call.finished
        started = call.started
        details: dict[str, Any] = {
            "call": call.number,
            "outcome": call.outcome or "unfinished",
            "waited": self._span(call.submitted, end if started is None else started),
        }
        for key in ("error", "size", "result_size"):
            if (value := getattr(call, key)) is not None:
                details[key] = value
        event: dict[str, Any] = {"name": call.name, "cat": details["outcome"], "pid": pool.number}
        if started is not None and call.worker is not None:
            event |= {
                "ph": "X",
                "tid": self._row(pool, call.worker),
                "ts": self._time(started),
                "dur": self._span(started, end),
                "args": details,
            }
            self._write(event)
            return
        # Where nobody knows who ran it, or nobody did: from its submission to its end, beside the rows of workers.
        event |= {"tid": 0, "id": call.number}
        if call.outcome in ("returned", "raised"):
            details["waited"] = None
        self._write({**event, "ph": "b", "ts": self._time(call.submitted), "args": details})
        self._write({**event, "ph": "e", "ts": self._time(end)})

    def _instant(self, pool: _Pool, row: int, name: str, when: float) -> None:
        self._write({"name": name, "ph": "i", "s": "t", "pid": pool.number, "tid": row, "ts": self._time(when)})

    def _count_now_and_then(self, pool: _Pool, when: float) -> None:
        if self._time(when) - pool.counted >= _COUNT_PAUSE:
            self._count(pool, when)

    def _count(self, pool: _Pool, when: float) -> None:
        pool.counted = self._time(when)
        counts = {"running": pool.running, "waiting": pool.waiting}
        self._write({"name": "calls", "ph": "C", "pid": pool.number, "tid": 0, "ts": pool.counted, "args": counts})

    def _pool(self, name: str) -> _Pool:
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = _Pool(len(self._pools) + 1)
            self._write({"name": "process_name", "ph": "M", "pid": pool.number, "tid": 0, "args": {"name": name}})
        return pool

    def _row(self, pool: _Pool, worker: str) -> int:
        row = pool.rows.get(worker)
        if row is None:
            row = pool.rows[worker] = len(pool.rows) + 1
            named = {"name": "thread_name", "ph": "M", "pid": pool.number, "tid": row, "args": {"name": worker}}
            self._write(named)
        return row

    def _write(self, event: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(",\n" + json.dumps(event, ensure_ascii=False))

    def _time(self, when: float) -> float:
        return round((when - self._zero) * 1e6, 1)

    def _span(self, begin: float, end: float) -> float:
        return max(0.0, round((end - begin) * 1e6, 1))


class _Pool:
    """One executor in the file: its number is that of a process there, a worker's is that of a thread."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.rows: dict[str, int] = {}
        self.waiting = 0
        self.running = 0
        self.counted = -_COUNT_PAUSE
