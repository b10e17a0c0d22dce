"""`explore`: runs a test under many schedules, and shrinks the first one in which it fails.

Touches the simulation. Guarantees: the error that is raised is that of the shortest failing schedule found; its notes
say what happened and how to repeat it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from corefutures_pools.options import check_count, check_flag, shown
from corefutures_testing._choices import from_text, to_text, trimmed
from corefutures_testing._executor import SimulatedExecutor

_F = TypeVar("_F", bound=Callable[..., Any])

#: The environment variable of a seed, and that of a schedule to replay: the options of the pytest plugin set them.
SEED_VARIABLE: Final = "COREFUTURES_SEED"
REPLAY_VARIABLE: Final = "COREFUTURES_REPLAY"

#: How many schedules are tried to shrink one, at most.
_SHRINKING_RUNS: Final = 400
#: Of how many decisions each is tried alone, and how many of its alternatives.
_SINGLE_DECISIONS: Final = 20
_SINGLE_CHOICES: Final = 6
#: How many lines of a schedule are shown, at most.
_LINES: Final = 80


class Run(NamedTuple):
    """The outcome of a test under one schedule.

    Attributes:
        error: What it raised; None if it passed.
        decisions: The decisions of the schedule.
        events: What happened, a line each.
        notes: Why a replay may differ.
    """

    error: BaseException | None
    decisions: tuple[int, ...]
    events: list[str]
    notes: list[str]

    @property
    def kind(self) -> object:
        """What makes two failures the same: the class of the error, and the line of the program that raised it."""
        if self.error is None:
            return None
        place, traceback = None, self.error.__traceback__
        while traceback is not None:
            if not traceback.tb_frame.f_globals.get("__name__", "").startswith("corefutures"):
                place = traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
            traceback = traceback.tb_next
        return type(self.error), place


def explore(
    schedules: int = 500,
    *,
    seed: int | None = None,
    replay: str | None = None,
    shrink: bool = True,
    max_workers: int | None = None,
    cancellations: int = 0,
    losses: int = 0,
    delays: int = 0,
    patience: float = 5.0,
) -> Callable[[_F], _F]:
    """Run a test under many schedules: it gets a new `SimulatedExecutor` each time, as its argument `executor`.

    The first schedule is the order of submission; the others are random. Calls that the test leaves run at its end. A
    coroutine function is run by `asyncio.run`. Fixtures are made once for all schedules.

    Args:
        schedules: How many schedules to try.
        seed: Decides the schedules; None for that of `--corefutures-seed`, or else a random one.
        replay: The one schedule to run, from the report of a failure; None for that of `--corefutures-replay`.
        shrink: Whether to look for the shortest schedule in which the test fails in the same way.
        max_workers: As of `SimulatedExecutor`, and so are the others.
        cancellations: How many calls are cancelled in each schedule, at most.
        losses: How many calls lose their worker in each schedule, at most.
        delays: How many times in each schedule the clock moves on although calls could run, at most.
        patience: Real seconds after which a call that blocks in something unknown is left to itself.

    Returns:
        A decorator.

    Raises:
        TypeError: An argument is of the wrong type, or the test has no argument `executor`.
        ValueError: An argument makes no sense.
    """
    if callable(schedules):
        raise TypeError("explore takes arguments: write @explore() or @explore(schedules=500) above the test")
    check_count("schedules", schedules, optional=False)
    check_flag("shrink", shrink)
    if replay is not None:
        from_text(replay)
    options = {
        "max_workers": max_workers, "cancellations": cancellations, "losses": losses, "delays": delays,
        "patience": patience,
    }  # fmt: skip
    SimulatedExecutor(replay="", **options)._cf_close()  # type: ignore[arg-type]  # refuses here what makes no sense

    def decorate(test: _F) -> _F:
        signature = inspect.signature(test)
        if "executor" not in signature.parameters:
            raise TypeError(f"{shown(test)} is to be explored, and has no argument executor")

        @functools.wraps(test)
        def explored(*args: Any, **kwargs: Any) -> None:
            Exploration(test, args, kwargs, options).explore(schedules, seed, replay, shrink=shrink)

        del explored.__wrapped__  # pytest would ask for the fixture executor
        kept = [parameter for name, parameter in signature.parameters.items() if name != "executor"]
        explored.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return explored  # type: ignore[return-value]

    return decorate


class Exploration:
    """A test, and the schedules in which it ran.

    Args:
        test: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments but `executor`.
        options: Those of the executors.
    """

    def __init__(
        self, test: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> None:
        self._test = test
        self._args = args
        self._kwargs = kwargs
        self._options = options

    def run(self, seed: int | str | None, decisions: Sequence[int] | None = None, *, traced: bool = False) -> Run:
        """Run the test under one schedule: of a seed, or with given decisions."""
        replay = None if decisions is None else to_text(decisions)
        executor = SimulatedExecutor(seed=seed, replay=replay, **self._options)
        simulation = executor._cf_pool.simulation
        simulation.traced = traced
        error: BaseException | None = None
        try:
            result = self._test(*self._args, executor=executor, **self._kwargs)
            if inspect.iscoroutine(result):
                asyncio.run(result)
            executor.shutdown()
        except BaseException as exc:
            if not _is_failure(exc):
                raise
            error = exc
        finally:
            taken = trimmed(simulation.choices.taken)
            events, notes = executor.events, executor.notes
            executor._cf_close()
        return Run(error, taken, events, notes)

    def explore(self, schedules: int, seed: int | None, replay: str | None, *, shrink: bool) -> None:
        """Run the test under the schedules, and raise the error of the shortest failing one."""
        replay = replay or os.environ.get(REPLAY_VARIABLE) or None
        if replay is not None:
            run = self.run(None, from_text(replay), traced=True)
            if run.error is not None:
                _report(run, f"the schedule {replay!r} fails")
            return
        if seed is None:
            given = os.environ.get(SEED_VARIABLE)
            seed = int(given) if given else random.SystemRandom().randrange(1_000_000_000)
        for number in range(1, schedules + 1):
            run = self.run(f"{seed}:{number}") if number > 1 else self.run(None, ())
            if run.error is not None:
                self._report(run, f"schedule {number} of {schedules} fails, seed {seed}", shrink=shrink)

    def _report(self, run: Run, headline: str, *, shrink: bool) -> None:
        again = self.run(None, run.decisions, traced=True)
        if again.kind != run.kind:
            assert run.error is not None
            run.error.add_note(
                f"corefutures: {headline}, and passes with the same decisions: the test depends on something besides"
                " the executor, such as time, random numbers, threads of its own, or what an earlier schedule left"
            )
            _report(run, "the schedule can't be repeated")
        if shrink and run.decisions:
            shortest = self._shrink(again)
            headline += f"; the shortest failing order differs from that of submission by {_shown(shortest)}"
            again = self.run(None, shortest, traced=True)
        _report(again, headline)

    def _shrink(self, failing: Run) -> tuple[int, ...]:
        """Return the decisions of the shortest schedule found that fails in the same way."""
        best, tried = failing.decisions, {failing.decisions}
        runs = 0

        def fails(decisions: tuple[int, ...]) -> bool:
            nonlocal best, runs
            decisions = trimmed(decisions)
            if decisions in tried or runs >= _SHRINKING_RUNS or not _order(decisions) < _order(best):
                return False
            tried.add(decisions)
            runs += 1
            run = self.run(None, decisions)
            if run.kind != failing.kind or not _order(run.decisions) < _order(best):
                return False
            best = run.decisions
            return True

        if sum(map(bool, best)) > 1:  # perhaps one decision is enough
            for place in range(min(len(best), _SINGLE_DECISIONS)):
                if any(fails((*(0,) * place, choice)) for choice in range(1, _SINGLE_CHOICES)):
                    break
        improved = True
        while improved and runs < _SHRINKING_RUNS:
            improved = False
            size = len(best)
            while size:  # ever smaller parts: left out, or the first alternative in their place
                start = 0
                while start < len(best):
                    part = best[start : start + size]
                    if fails(best[:start] + best[start + size :]) or (
                        any(part) and fails(best[:start] + (0,) * len(part) + best[start + size :])
                    ):
                        improved = True
                    else:
                        start += size
                size //= 2
            for place in range(len(best)):
                for lower in range(best[place] if place < len(best) else 0):
                    if fails((*best[:place], lower, *best[place + 1 :])):
                        improved = True
                        break
        return best


def _order(decisions: tuple[int, ...]) -> tuple[int, ...]:
    """Return what is smaller for the simpler schedule."""
    return sum(map(bool, decisions)), sum(decisions), len(decisions), *decisions


def _shown(decisions: tuple[int, ...]) -> str:
    count = sum(map(bool, decisions))
    return f"{count} decision{'s' if count != 1 else ''}"


def _is_failure(error: BaseException) -> bool:
    """Return whether an error of a test means that it fails: pytest's are no `Exception`s."""
    outcomes = sys.modules.get("_pytest.outcomes")
    if outcomes is not None and isinstance(error, outcomes.OutcomeException):
        return isinstance(error, outcomes.Failed)
    return isinstance(error, Exception)


def _report(run: Run, headline: str) -> None:
    """Raise the error of a run, with notes."""
    assert run.error is not None
    lines = [f"corefutures: {headline}", *run.notes]
    if run.events:
        left_out = len(run.events) - _LINES
        lines += ["what happened:", *(f"  {event}" for event in run.events[:_LINES])]
        lines += [f"  and {left_out} more events"] * (left_out > 0)
    text = to_text(run.decisions)
    lines.append(f"run that alone with @explore(replay={text!r}), or pytest --corefutures-replay={text}")
    run.error.add_note("\n".join(lines))
    raise run.error
