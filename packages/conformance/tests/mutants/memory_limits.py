"""Defects in memory limits: nobody looks, too much is ended, too much is counted, or nothing is said of it."""

from __future__ import annotations

import os
import signal
from typing import Any, ClassVar

import corefutures
from corefutures_pools.workers import memory_limits
from mutants import mutant
from mutants.control import Able
from mutants.worker_values import Surviving


class Limiting(corefutures.ProcessPoolExecutor):
    """A correct executor with memory limits, whose watch a mutant replaces."""

    abilities: ClassVar[dict[str, bool]] = {**Surviving.abilities, "limits_memory": True}
    watch: type[memory_limits.MemoryLimit] | None = None

    def __init__(self, max_workers: int = 1, *, memory: Any = None, memory_total: Any = None, **options: Any) -> None:
        method = "spawn" if os.name == "nt" else "forkserver"
        options = {"memory": memory, "memory_total": memory_total, "on_worker_loss": "replace", **options}
        super().__init__(max_workers, method, **options)

    def _cf_make_limits(self) -> dict[str, Any]:
        parts = super()._cf_make_limits()
        if self.watch is not None and parts.get("memory") is not None:
            assert self._cf_memory is not None
            parts["memory"] = self.watch(*self._cf_memory)
        return parts


class _Sleeps(memory_limits.MemoryLimit):
    def _look(self, pool: Any) -> float:
        return 0.05


@mutant(
    "memory_limits.a_call_over_the_limit_is_stopped", says="should have failed", also=("memory_limits.*",), deadline=20
)
class NobodyLooks(Limiting):
    """The option is taken, and nobody looks at the memory."""

    watch = _Sleeps


class _SaysLittle(memory_limits.MemoryLimit):
    def _error(self, *args: Any) -> corefutures.WorkerLostError:
        return corefutures.WorkerLostError("the worker was killed for its memory")


@mutant("memory_limits.the_error_tells_limit_and_peak", says="does not tell the limit", deadline=20)
class SaysLittle(Limiting):
    """The error has no figures."""

    watch = _SaysLittle


class _SaysTheLimit(memory_limits.MemoryLimit):
    def _error(self, call: Any, used: int, limit: int, *args: Any) -> corefutures.WorkerLostError:
        return super()._error(call, limit, limit, *args)


@mutant("memory_limits.the_error_tells_limit_and_peak", says="tells no peak", deadline=20)
class SaysNoPeak(Limiting):
    """The limit takes the place of the peak."""

    watch = _SaysTheLimit


class _EndsAll(memory_limits.MemoryLimit):
    def _error(self, *args: Any) -> corefutures.WorkerLostError:
        for pid in list(self.pids):
            os.kill(pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        return super()._error(*args)

    def _look(self, pool: Any) -> float:
        self.pids = [one.worker.pid for one in pool.occupations() if one.worker.pid is not None]
        return super()._look(pool)


@mutant("memory_limits.other_calls_do_not_notice", says="", also=("memory_limits.*",), deadline=20)
class EndsAllWorkers(Limiting):
    """All workers are killed for one call."""

    watch = _EndsAll


class _Halves(memory_limits.MemoryLimit):
    def __init__(self, limit: int | None, total: int | None, measure: Any) -> None:
        super().__init__(None if limit is None else limit // 2, total, measure)


@mutant("memory_limits.memory_is_counted_anew_for_each_call", says="", also=("memory_limits.*",), deadline=20)
class KillsTooEarly(Limiting):
    """A worker may have half of the limit."""

    watch = _Halves


class _Occupied(dict[Any, Any]):
    def __bool__(self) -> bool:
        return True


@mutant("memory_limits.one_call_runs_whatever_the_total", says="result", deadline=4)
class WaitsForTheTotal(Limiting):
    """No call is started while the workers have more than the total, so that none ever is."""

    def _cf_make_limits(self) -> dict[str, Any]:
        parts = super()._cf_make_limits()
        memory, slots = parts.get("memory"), parts.get("slots")
        if slots is not None and memory is not None:
            memory._used = 1 << 40
            slots._admits = lambda running: memory.admits()
            slots.granted = _Occupied()  # as if another one ran
        return parts


@mutant("memory_limits.a_size_that_can_not_be_read_is_refused", says="was not refused", deadline=20)
class TakesAnySize(Limiting):
    """What can't be read is no limit."""

    def __init__(self, max_workers: int = 1, *, memory: Any = None, **options: Any) -> None:
        try:
            super().__init__(max_workers, memory=memory, **options)
        except ValueError:
            super().__init__(max_workers, **options)


@mutant("memory_limits.memory_limits_are_refused", says="was not refused")
class HasNoMemoryLimits(Able):
    """It takes the option, and does nothing with it."""

    def __init__(self, max_workers: int = 1, *, memory: Any = None, **options: Any) -> None:
        super().__init__(max_workers, **options)
