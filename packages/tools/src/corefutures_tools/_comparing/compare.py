"""`compare`: plans the trials, holds one after the other, and makes the `Comparison` of what they found.

Guarantees: bad input is a TypeError or ValueError at the call; whatever the function does stays in the trials.
"""

from __future__ import annotations

import inspect
import itertools
import math
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from corefutures import BackendError, backends as installed, get_backend
from corefutures.backend import Backend, check_count, check_seconds, describe_error, how_to_install, shown
from corefutures_pools.workers.fork_check import check_fork
from corefutures_tools._comparing.measured import LOOP, Trial
from corefutures_tools._comparing.report import Comparison
from corefutures_tools._comparing.trial import Plan, Work
from corefutures_tools._comparing.trial_process import NO_END, run_trial
from corefutures_tools._comparing.verdict import SIMPLEST_FIRST, recommend


def compare(
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    max_workers: int | None = None,
    backends: Iterable[str] | None = None,
    sample: int = 1000,
    seconds: float = 2.0,
    timeout: float = 30.0,
) -> Comparison:
    """Run a sample of calls on a plain loop and on every backend, measures, and recommends one.

    Each trial has a process of its own: a function that hangs, raises or crashes is a row of the result. The
    function runs several times with each item, so it should do no harm when it is repeated.

    Args:
        fn: A function of one argument. One that can't be pickled is compared only where processes can be forked.
        items: What to call it with; no more than `sample` items are taken.
        max_workers: How many calls run at once; None for as many as this process may use processors.
        backends: Names of backends or `"package.module:attr"`; None for every backend that is installed.
        sample: How many calls at most.
        seconds: The loop stops after this many, once it has made `max_workers` calls; the sample is what it made.
        timeout: Seconds that one trial may take.

    Returns:
        The comparison; `print` shows its table.

    Raises:
        TypeError: `fn` is not a plain function, or an argument is of the wrong type.
        ValueError: There are no items or no backends, or a number makes no sense.
        UnsupportedError: `fn` can't be pickled, and this process can't be forked beside other interpreters.

    Thread safety: may be called from any thread. A script must call it under `if __name__ == "__main__":`.
    """
    if not callable(fn):
        raise TypeError(f"compare() takes a callable, not {shown(fn)}: pass the function itself")
    if inspect.iscoroutinefunction(fn):
        raise TypeError("compare() takes a plain function, not a coroutine function")
    check_count("sample", sample, optional=False)
    if not hasattr(type(items), "__iter__") and not hasattr(type(items), "__getitem__"):
        raise TypeError(f"compare() takes an iterable of items, not {shown(items)}")
    return compare_work(
        _work_of(fn, list(itertools.islice(items, sample))),
        getattr(fn, "__qualname__", type(fn).__name__),
        max_workers=max_workers,
        backends=backends,
        seconds=seconds,
        timeout=timeout,
    )


def compare_work(
    work: Work,
    name: str,
    *,
    max_workers: int | None,
    backends: Iterable[str] | None,
    seconds: float,
    timeout: float,
    on_trial: Callable[[str], object] = lambda _: None,
) -> Comparison:
    """Compare work that is already in a form that trials can load.

    Args:
        work: The function and the sample.
        name: The function's name.
        max_workers: As of `compare`.
        backends: As of `compare`.
        seconds: As of `compare`.
        timeout: As of `compare`.
        on_trial: Called with the name of each trial before it begins.

    Returns:
        The comparison.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: As of `compare`.
    """
    workers: int = getattr(os, "process_cpu_count", os.cpu_count)() or 1 if max_workers is None else max_workers
    check_count("max_workers", max_workers)
    _check_positive("seconds", seconds)
    _check_positive("timeout", timeout)
    chosen = _chosen(backends)
    if not work.count:
        raise ValueError("there are no items to call the function with")
    on_trial(LOOP)
    first = Plan(None, workers, None, least=workers, seconds=seconds, patience=timeout / 2)
    found = run_trial(work, first, timeout)
    calls = found.pop("calls", None) or min(work.count, 2 * workers)
    waiting, pickled_bytes = found.pop("waiting", None), found.pop("pickled_bytes", None)
    expected, unpicklable = found.pop("expected", ()), found.pop("unpicklable", {})
    loop = Trial(LOOP, **found)
    if loop.seconds is not None:
        loop = replace(loop, speedup=1.0, error=None)
    plans = [replace(first, backend=backend, calls=calls, expected=expected) for backend in chosen]
    trials = [_try_backend(work, plan, loop, timeout, on_trial) for plan in plans]
    recommended, reason = recommend(loop, trials, calls, waiting)
    return Comparison(
        function=name,
        calls=calls,
        max_workers=workers,
        waiting=waiting,
        pickled_bytes=pickled_bytes,
        unpicklable=unpicklable,
        loop=loop,
        trials=tuple(trials),
        recommended=recommended,
        reason=reason,
    )


def _try_backend(work: Work, plan: Plan, loop: Trial, timeout: float, on_trial: Callable[[str], object]) -> Trial:
    label = plan.backend.name if isinstance(plan.backend, Backend) else str(plan.backend)
    if loop.seconds is None and loop.error == NO_END.format(timeout):
        return Trial(label, error="not tried: not even one call on the loop came to its end")
    on_trial(label)
    trial = Trial(label, **run_trial(work, plan, timeout))
    if trial.seconds is not None and loop.seconds is not None and trial.error is None:
        trial = replace(trial, speedup=loop.seconds / trial.seconds)
    return trial


def _check_positive(name: str, value: Any) -> None:
    check_seconds(name, value, optional=False, positive=True)
    if value == math.inf:
        raise ValueError(f"{name} must be a limited number of seconds, not {shown(value)}")


def _chosen(names: Iterable[str] | None) -> Sequence[str | Backend]:
    """Return the backends to try, in the order given; those registered by hand as their description."""
    if isinstance(names, str):
        raise TypeError(f"backends must be several names, not a str: write backends=[{names!r}]")
    if names is not None and not hasattr(type(names), "__iter__"):
        raise TypeError(f"backends must be several names, such as ['thread', 'process'], not {shown(names)}")
    statuses = installed()
    wanted = list(statuses) if names is None else list(dict.fromkeys(names))
    if not wanted:
        if names is not None:
            raise ValueError("there is no backend to compare: backends is empty, and None is every installed one")
        local = how_to_install(*(f"corefutures-{name}" for name in SIMPLEST_FIRST))
        raise ValueError(f"there is no backend to compare: none is installed; {local}")
    chosen: list[str | Backend] = []
    for name in wanted:
        if not isinstance(name, str):
            raise TypeError(f"the name of a backend must be a str, not {shown(name)}")
        by_hand = name in statuses and statuses[name].distribution is None
        try:
            chosen.append(get_backend(name) if by_hand else name)
        except BackendError:  # the trial reports it
            chosen.append(name)
    return chosen


def _work_of(fn: Callable[[Any], Any], items: list[Any]) -> Work:
    """Return the work in a form that a fresh process can load, or else as it is, for a forked one."""
    main = sys.modules.get("__main__")
    main_can_be_imported = hasattr(main, "__file__") or getattr(main, "__spec__", None) is not None
    try:
        work = Work(pickle.dumps(fn), pickle.dumps(items, pickle.HIGHEST_PROTOCOL), len(items))
        if main_can_be_imported or b"__main__" not in work.function + work.items:  # type: ignore[operator]
            return work
        reason = "it belongs to an interactive session"
    except Exception as error:
        reason = describe_error(error)
    if not hasattr(os, "fork"):
        raise TypeError(
            f"compare() needs a function and items that can be pickled, where processes can't be forked ({reason}); "
            "define the function in a module"
        )
    check_fork(f"compare(), with a function or items that can't be pickled ({reason}),")
    return Work(fn, items, len(items))
