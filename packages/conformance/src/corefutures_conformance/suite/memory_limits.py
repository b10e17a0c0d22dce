"""Chapter "memory_limits": a call whose worker takes more memory than it may have is stopped, and nothing else.

Owed by executors of `corefutures.Executor` that declare the capability; the others refuse the option.
"""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

import corefutures
from corefutures_conformance.deadlines import Overdue, brief, error_of, finishes, result_of
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import requires
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate

_MIB = 1 << 20
#: What a worker may have: several times what it has without a call.
_LIMIT = 320 * _MIB
#: What the call takes that is to be stopped. A machine has so much, for the executor that does not stop the call.
_TOO_MUCH = 1024 * _MIB
_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def _limited(make: ExecutorFactory, max_workers: int = 1, **options: Any) -> Any:
    """An executor with limits, if it promises to keep them; otherwise the rule does not apply."""
    try:
        pool = make(max_workers=max_workers, **options)
    except corefutures.UnsupportedError as error:
        pytest.skip(f"the memory of workers can't be measured here: {brief(error)}")
    except ValueError as error:
        if "mp_context" not in str(error):
            raise
        pytest.skip(f"the start method that the target was given allows no memory limits: {brief(error)}")
    skip_unless_promised(pool)
    return cast(Any, pool)


class MemoryLimits:
    """Rules on the options `memory` and `memory_total`."""

    @requires("limits_memory")
    def test_a_call_over_the_limit_is_stopped(self, make: ExecutorFactory) -> None:
        """A call whose worker exceeds the memory limit SHOULD fail with WorkerLostError. (promise C14)"""
        pool = _limited(make, memory=_LIMIT)
        error = error_of(pool.submit(calls.take_memory, _TOO_MUCH), "the end of a call over the limit")
        assert isinstance(error, corefutures.WorkerLostError), (
            f"a call that took more memory than its worker may have failed with {brief(error)}, not WorkerLostError"
        )

    @requires("limits_memory")
    def test_the_error_tells_limit_and_peak(self, make: ExecutorFactory) -> None:
        """The error of a call that exceeded the memory limit SHOULD tell the limit and the peak. (promise C14)"""
        pool = _limited(make, memory=_LIMIT)
        text = str(error_of(pool.submit(calls.take_memory, _TOO_MUCH), "the end of a call over the limit"))
        sizes = [float(size) * _UNITS[unit] for size, unit in re.findall(r"(\d+(?:\.\d+)?) (bytes|[KMG]i?B)\b", text)]
        assert any(abs(size - _LIMIT) <= _LIMIT / 100 for size in sizes), (
            f"the error of a call that exceeded {_LIMIT >> 20} MiB does not tell the limit: {text!r}"
        )
        assert max(sizes) > _LIMIT, f"the error of a call that exceeded {_LIMIT >> 20} MiB tells no peak: {text!r}"

    @requires("limits_memory")
    def test_other_calls_do_not_notice(self, make: ExecutorFactory, gate: Gate) -> None:
        """Calls that run or wait while another one exceeds the memory limit SHOULD be left alone. (promise C14)"""
        pool = _limited(make, 2, memory=_LIMIT)
        running = pool.submit(calls.pass_gate, gate, "passed")
        gate.await_arrivals()
        greedy = pool.submit(calls.take_memory, _TOO_MUCH)
        waiting = [pool.submit(calls.echo, number) for number in range(3)]
        error_of(greedy, "the end of a call over the limit")
        gate.open()
        assert result_of(running) == "passed", "a call that ran beside one over the limit lost its result"
        results = [result_of(future) for future in waiting]
        assert results == [0, 1, 2], f"calls that waited behind one over the limit returned {brief(results)}"
        assert result_of(pool.submit(calls.echo, 4)) == 4, "a call after one over the limit lost its result"

    @requires("limits_memory")
    def test_memory_is_counted_anew_for_each_call(self, make: ExecutorFactory) -> None:
        """Calls that one after the other take less memory than the limit SHOULD be left alone. (promise C14)"""
        pool = _limited(make, memory=_LIMIT)
        size = _LIMIT // 2
        results = [result_of(pool.submit(calls.take_memory, size)) for _ in range(4)]
        assert results == [size] * 4, f"calls that each took half of the limit returned {brief(results)}"

    @requires("limits_memory")
    def test_one_call_runs_whatever_the_total(self, make: ExecutorFactory) -> None:
        """A call SHOULD be run although the workers have more memory than memory_total allows. (promise C14)"""
        pool = _limited(make, 2, memory_total=_MIB)
        results = [result_of(future) for future in [pool.submit(calls.echo, number) for number in range(4)]]
        assert results == [0, 1, 2, 3], f"calls of a pool that has exceeded its total returned {brief(results)}"

    @requires("limits_memory")
    def test_a_size_that_can_not_be_read_is_refused(self, make: ExecutorFactory) -> None:
        """A memory limit that is no size SHOULD be refused with a ValueError. (promise C14)"""
        _limited(make, memory=_LIMIT)  # where it can't be had at all, the reason is another one
        for size in ("plenty", "4 gigs", "-1 GiB", 0):
            try:
                finishes(lambda size=size: make(max_workers=1, memory=size), "the factory")  # type: ignore[misc]
            except ValueError:
                continue
            except Overdue:
                raise
            except Exception as error:
                pytest.fail(f"memory={size!r} raised {brief(error)}, not ValueError")
            pytest.fail(f"memory={size!r} was not refused")

    @requires(limits_memory=False)
    def test_memory_limits_are_refused(self, make: ExecutorFactory) -> None:
        """An executor that keeps no memory limits SHOULD refuse the option memory. (promise C1)"""
        skip_unless_promised(make(max_workers=1))
        try:
            finishes(lambda: make(max_workers=1, memory=_LIMIT), "the factory")
        except (TypeError, corefutures.UnsupportedError):
            return
        except Overdue:
            raise
        except Exception as error:
            pytest.fail(f"memory= raised {brief(error)}, not TypeError or UnsupportedError")
        pytest.fail("memory= was not refused")
