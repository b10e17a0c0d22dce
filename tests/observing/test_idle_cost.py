"""What observers cost a call when nobody listens: instructions are counted, since times can't be asserted."""

from __future__ import annotations

import dis
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

from corefutures_pools.workers.pool import WorkerPool
from corefutures_pools.workers.worker_loop import serve

#: One takes 1 to 2 ns, a look at an attribute included; a call may pay 50 ns.
ALLOWED = 25

MENTIONED = re.compile(r"instrumentation|observed|OBSERVED")


def passed_in_vain(function: Callable[..., Any]) -> int:
    """Counts the instructions on lines about observers, without what is under a condition about them."""
    lines, first = inspect.getsourcelines(function)
    wanted = set()
    under: int | None = None  # the indentation of a condition whose body this is
    for number, line in enumerate(lines, first):
        code = line.split("#")[0].rstrip()
        indentation = len(code) - len(code.lstrip())
        if not code or (under is not None and indentation > under):
            continue
        under = None
        if MENTIONED.search(code):
            wanted.add(number)
            if code.lstrip().startswith("if "):
                under = indentation
    assert isinstance(function, FunctionType)
    line_of = ((instruction, instruction.positions) for instruction in dis.get_instructions(function))
    return sum(positions is not None and positions.lineno in wanted for _, positions in line_of)


def test_threads() -> None:
    from corefutures_thread import ThreadPoolExecutor
    from corefutures_thread._worker import _run_calls

    counts = [passed_in_vain(function) for function in (ThreadPoolExecutor.submit, _run_calls)]
    assert all(counts), "the lines about observers were not found"
    assert sum(counts) <= ALLOWED


@pytest.mark.skipif(
    importlib.util.find_spec("corefutures_process") is None, reason="the process backend is not installed here"
)
def test_processes_and_interpreters() -> None:
    # The conditional expression of `submit` is passed twice at most: for a call that can't be serialised, once.
    counts = [passed_in_vain(function) for function in (WorkerPool.submit, serve)]
    assert all(counts), "the lines about observers were not found"
    assert sum(counts) <= 2 * ALLOWED


def test_what_is_under_a_condition_is_not_counted() -> None:
    def example(instrumentation: Any, observed: Any) -> None:
        if instrumentation.enabled:
            instrumentation.track_call(1, 2, 3, observed, 4, 5)
        print("something else")
        if observed is not None:
            observed.begin("a", "b", "c")

    few = passed_in_vain(example)
    assert 0 < few <= 12, sys.version
