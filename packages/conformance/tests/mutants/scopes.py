"""Defects in scopes, `imap`, `completions` and `retrying`: executors that bring a defective one along."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, ClassVar

from reference import ThreadExecutor

import corefutures
import corefutures_structured as structured
from corefutures_structured import _scope
from mutants import mutant
from mutants.control import Able, Killer

ORIGINALS = {name: getattr(structured, name) for name in ("completions", "imap", "retrying", "scope", "time_left")}
ANY = ("scopes.*",)


class Bringing:
    """Part of an executor that puts other names into `corefutures`, from its making until its shutdown."""

    names: ClassVar[dict[str, Any]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, thing in self.names.items():
            setattr(corefutures, name, thing)

    def shutdown(self, *args: Any, **options: Any) -> None:
        for name in self.names:
            setattr(corefutures, name, ORIGINALS[name])
        super().shutdown(*args, **options)  # type: ignore[misc]


# Nothing outlives the block


@mutant(
    "scopes.a_block_waits_for_its_calls",
    says="of its calls had not",
    also=("scopes.an_async_block_waits", *ANY),
    deadline=3,
)
class LeavesAtOnce(Bringing, ThreadExecutor):
    """A block ends at once."""

    class Leaving(structured.Scope):
        def _await_all(self) -> None:
            return None

        def _look_for_error(self) -> None: ...

        async def _await_all_in_task(self, task: Any) -> None:
            return None

    names: ClassVar = {"scope": Leaving}


@mutant(
    "scopes.a_block_that_fails_waits_as_well",
    says="of its calls had not",
    also=("scopes.nothing_is_written_after_the_block", *ANY),
    deadline=3,
)
class LeavesAtOnceWithAnError(Bringing, ThreadExecutor):
    """A block that is left by an error ends at once."""

    class Leaving(structured.Scope):
        def _await_all(self) -> Any:
            return None if self._stopping else super()._await_all()

    names: ClassVar = {"scope": Leaving}


@mutant("scopes.what_a_call_submits_belongs_to_the_block", says="whose calls submit others", also=ANY, deadline=3)
class CountsItsCallsOnce(Bringing, ThreadExecutor):
    """A block takes no more calls once it waits."""

    class Counting(structured.Scope):
        def _await_all(self) -> Any:
            self._open, self._closed = False, True
            return super()._await_all()

    names: ClassVar = {"scope": Counting}


@mutant("scopes.a_refused_call_does_not_keep_the_block_open", says="the block of a scope", also=ANY, deadline=2)
class WaitsForRefusedCalls(Bringing, ThreadExecutor):
    """A call that was refused is waited for."""

    class Waiting(structured.Scope):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().submit(fn, *args, **kwargs)
            except RuntimeError:
                self._calls.append([])
                raise

    names: ClassVar = {"scope": Waiting}


# What stops the rest


@mutant(
    "scopes.an_error_of_the_body_withdraws_waiting_calls",
    says="the block of a scope",
    also=("scopes.notes_name_the_stopped_calls", "scopes.the_first_error_withdraws_waiting_calls", *ANY),
    deadline=2,
)
class StopsNothing(Bringing, ThreadExecutor):
    """A scope that is stopped only says so."""

    class Lazy(structured.Scope):
        def _stop_call(self, target: Any, future: Any) -> None: ...

    names: ClassVar = {"scope": Lazy}


@mutant("scopes.other_calls_of_the_executor_go_on", says="that was not its own", also=ANY)
class StopsEverybody(Bringing, ThreadExecutor):
    """A scope that is stopped withdraws every call that waits."""

    class Sweeping(structured.Scope):
        def stop(self, reason: Any = None) -> None:
            super().stop(reason)
            for job in list(self._executor.pool.jobs):  # type: ignore[union-attr]
                job.future.cancel()

    names: ClassVar = {"scope": Sweeping}


@mutant("scopes.a_running_call_is_asked", says="the block of a scope", also=ANY, deadline=2)
class AsksNobody(Bringing, Able):
    """A call that runs is not asked to stop."""

    class Shy(structured.Scope):
        def _stop_call(self, target: Any, future: Any) -> None:
            future.cancel()

    names: ClassVar = {"scope": Shy}


@mutant("scopes.a_running_call_is_killed", says="the block of a scope", also=ANY, deadline=2)
class KillsNobody(Bringing, Killer):
    """A call that is to be killed runs on."""

    def kill(self, future: Any) -> bool:
        return not future.done()


@mutant("scopes.an_abandoned_call_is_named", says="the block of a scope", also=ANY, deadline=2)
class AbandonsNobody(Bringing, ThreadExecutor):
    """A call that does not react is waited for in any case."""

    class Patient(structured.Scope):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._leave = "wait"

    names: ClassVar = {"scope": Patient}


# Errors


@mutant("scopes.errors_come_in_a_group", says="in place of a group", also=ANY)
class RaisesTheFirstError(Bringing, ThreadExecutor):
    """The first error is raised, and not in a group."""

    class Single(structured.Scope):
        def __exit__(self, *exc: Any) -> bool:
            try:
                return super().__exit__(*exc)
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None

    names: ClassVar = {"scope": Single}


@mutant("scopes.an_error_has_the_name_of_its_call", says="don't name the call", also=ANY)
class ForgetsTheName(Bringing, ThreadExecutor):
    """Errors have no notes."""

    class Nameless(structured.Scope):
        def _call_errors(self, known: Any) -> Any:
            errors = super()._call_errors(known)
            for error in errors:
                error.__dict__.pop("__notes__", None)
            return errors

    names: ClassVar = {"scope": Nameless}


@mutant("scopes.the_bodys_error_is_in_the_group", says="the block raised None", also=ANY)
class SwallowsTheBodysError(Bringing, ThreadExecutor):
    """An error of the body is lost."""

    class Swallowing(structured.Scope):
        def _is_consequence(self, error: Any) -> bool:
            return True

    names: ClassVar = {"scope": Swallowing}


@mutant("scopes.an_interrupt_of_the_body_is_raised_as_it_is", says="in place of the body's KeyboardInterrupt", also=ANY)
class GroupsInterrupts(Bringing, ThreadExecutor):
    """An interrupt comes in a group."""

    class Grouping(structured.Scope):
        def _raise_errors(self, error: Any, own: Any) -> Any:
            if isinstance(error, KeyboardInterrupt):
                raise BaseExceptionGroup("a scope failed", [error])
            return super()._raise_errors(error, own)

    names: ClassVar = {"scope": Grouping}


# until


class Until(structured.Scope):
    """A scope that takes one `until` for another."""

    taken: ClassVar[dict[Any, Any]] = {}

    def __init__(self, *args: Any, until: Any = "all", **options: Any) -> None:
        super().__init__(*args, until=self.taken.get("callable" if callable(until) else until, until), **options)


@mutant(
    "scopes.the_first_success_withdraws_waiting_calls",
    says="although another one had succeeded",
    also=("scopes.without_a_success_all_errors_are_raised", *ANY),
)
class AwaitsAllSuccesses(Bringing, ThreadExecutor):
    """The first success stops nothing, and errors don't count."""

    names: ClassVar = {
        "scope": type("Settling", (Until,), {"taken": {"first_success": "all_settled"}}),
    }


@mutant("scopes.all_settled_leaves_errors_to_the_futures", says="which is the future's", also=ANY)
class SettlesNothing(Bringing, ThreadExecutor):
    """An error stops a scope that is to settle all."""

    names: ClassVar = {"scope": type("Stopping", (Until,), {"taken": {"all_settled": "all"}})}


@mutant(
    "scopes.a_callable_is_asked_at_each_completion",
    says="was called 0 times",
    also=("scopes.a_callable_stops_the_rest", "scopes.an_error_of_the_callable_is_raised", *ANY),
)
class AsksNoCallable(Bringing, ThreadExecutor):
    """A callable as `until` is not called."""

    names: ClassVar = {"scope": type("Deaf", (Until,), {"taken": {"callable": "all"}})}


# Calls and futures


@mutant("scopes.results_are_in_the_order_submitted", says="the results of calls 0 to 9 are", also=ANY)
class ReversesResults(Bringing, ThreadExecutor):
    """The last result comes first."""

    class Reversing(structured.Scope):
        def results(self) -> list[Any]:
            return super().results()[::-1]

    names: ClassVar = {"scope": Reversing}


@mutant("scopes.arguments_reach_the_call", says="the call got", also=ANY)
class DropsKeywords(Bringing, ThreadExecutor):
    """Keyword arguments are lost."""

    class Dropping(structured.Scope):
        def submit(self, fn: Any, /, *args: Any, on: Any = None, **kwargs: Any) -> Any:
            return super().submit(fn, *args, on=on)

    names: ClassVar = {"scope": Dropping}


@mutant("scopes.another_executor_runs_its_calls", says="the call ran at", also=ANY)
class IgnoresOn(Bringing, ThreadExecutor):
    """All calls go to the scope's own executor."""

    class Own(structured.Scope):
        def submit(self, fn: Any, /, *args: Any, on: Any = None, **kwargs: Any) -> Any:
            return super().submit(fn, *args, **kwargs)

    names: ClassVar = {"scope": Own}


@mutant("scopes.futures_of_a_scope_are_ordinary", says="is no ordinary one", also=ANY, deadline=3)
class CopiesFutures(Bringing, ThreadExecutor):
    """Callers get other futures than the scope has."""

    class Copying(structured.Scope):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            copy: Future[Any] = Future()
            super().submit(fn, *args, **kwargs).add_done_callback(lambda future: copy.set_result(future.result()))
            return copy

    names: ClassVar = {"scope": Copying}


@mutant("scopes.submit_after_the_end_is_refused", says="after its block had ended", also=ANY, deadline=3)
class TakesLateCalls(Bringing, ThreadExecutor):
    """A scope takes calls after its block."""

    class Open(structured.Scope):
        def submit(self, fn: Any, /, *args: Any, on: Any = None, **kwargs: Any) -> Any:
            if self._closed:
                return (on or self._executor).submit(fn, *args, **kwargs)
            return super().submit(fn, *args, on=on, **kwargs)

    names: ClassVar = {"scope": Open}


@mutant("scopes.a_scope_is_for_one_block", says="before its block", also=ANY, deadline=3)
class TakesEarlyCalls(Bringing, ThreadExecutor):
    """A scope takes calls before its block."""

    class Early(structured.Scope):
        def submit(self, fn: Any, /, *args: Any, on: Any = None, **kwargs: Any) -> Any:
            if not self._entered:
                return (on or self._executor).submit(fn, *args, **kwargs)
            return super().submit(fn, *args, on=on, **kwargs)

    names: ClassVar = {"scope": Early}


# Deadlines and nested scopes


@mutant("scopes.the_deadline_stops_the_calls", says="the block of a scope", also=ANY, deadline=2)
class IgnoresTheDeadline(Bringing, ThreadExecutor):
    """Nothing happens at the deadline."""

    class Timeless(structured.Scope):
        def _at_earliest(self) -> None: ...

    names: ClassVar = {"scope": Timeless}


@mutant("scopes.a_block_in_time_is_left_alone", says="a block in time raised", also=ANY)
class HasNoTime(Bringing, ThreadExecutor):
    """The deadline passes at once."""

    class Hasty(structured.Scope):
        def __exit__(self, *exc: Any) -> bool:
            if self._deadline is not None:
                self._at_earliest()
            return super().__exit__(*exc)

    names: ClassVar = {"scope": Hasty}


@mutant(
    "scopes.a_call_knows_the_time_that_is_left",
    says="has None seconds left",
    also=("scopes.a_nested_scope_keeps_the_earlier_deadline", *ANY),
)
class TellsNoTime(Bringing, ThreadExecutor):
    """Calls don't know the deadline."""

    names: ClassVar = {"time_left": lambda: None}


@mutant("scopes.without_a_deadline_no_time_is_told", says="seconds left", also=ANY)
class TellsAnyTime(Bringing, ThreadExecutor):
    """Calls without a deadline are told one."""

    names: ClassVar = {"time_left": lambda: 5.0}


@mutant("scopes.a_stop_reaches_nested_scopes", says="the block of a scope", also=ANY, deadline=2)
class IsNested(Bringing, ThreadExecutor):
    """Scopes inside others don't know them."""

    class Alone(structured.Scope):
        def __enter__(self) -> Any:
            _scope.surroundings.set(None)
            return super().__enter__()

    names: ClassVar = {"scope": Alone}


@mutant("scopes.a_snapshot_shows_the_tree", says="the snapshot of two scopes", also=ANY)
class ShowsNoChildren(Bringing, ThreadExecutor):
    """A snapshot leaves the scopes inside out."""

    class Childless(structured.Scope):
        def snapshot(self) -> Any:
            return super().snapshot()._replace(children=())

    names: ClassVar = {"scope": Childless}


# asyncio


@mutant("scopes.a_cancelled_task_stops_its_scope", says="a task that was cancelled", also=ANY, deadline=3)
class IgnoresCancellation(Bringing, ThreadExecutor):
    """A cancelled task goes on."""

    class Deaf(structured.Scope):
        async def __aexit__(self, *exc: Any) -> bool:
            import asyncio

            try:
                return await super().__aexit__(*exc)
            except asyncio.CancelledError:
                return True

    names: ClassVar = {"scope": Deaf}


# Open-ended iteration, retries


@mutant("scopes.imap_takes_no_more_than_its_window", says="items were taken", also=ANY)
class HasAWideWindow(Bringing, ThreadExecutor):
    """imap() takes more than its window."""

    names: ClassVar = {
        "imap": lambda *args, window=64, **options: ORIGINALS["imap"](*args, window=10 * window, **options),
    }


@mutant("scopes.imap_yields_errors_as_records", says="imap() yielded", also=ANY)
class ForgetsTheItem(Bringing, ThreadExecutor):
    """The records of imap() don't have the item."""

    names: ClassVar = {
        "imap": lambda *args, **options: (
            structured.ItemOutcome(None, record.value, record.error) for record in ORIGINALS["imap"](*args, **options)
        ),
    }


@mutant("scopes.completions_take_more_on_the_way", says="yielded the results", also=ANY)
class TakesNoMore(Bringing, ThreadExecutor):
    """Futures that are added to completions() are forgotten."""

    class Forgetful(structured.Completions[Any]):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.made = False
            super().__init__(*args, **options)
            self.made = True

        def add(self, future: Any) -> None:
            if not self.made:
                super().add(future)

    names: ClassVar = {"completions": Forgetful}


@mutant("scopes.a_failed_call_is_tried_again", says="attempt 1", also=ANY, deadline=3)
class TriesOnce(Bringing, ThreadExecutor):
    """A call is tried once."""

    names: ClassVar = {"retrying": lambda executor, **options: ORIGINALS["retrying"](executor, retries=0)}


@mutant("scopes.other_errors_end_a_retried_call", says="should have failed", also=ANY, deadline=3)
class TriesAgainAfterAll(Bringing, ThreadExecutor):
    """A call is tried again after any error."""

    names: ClassVar = {
        "retrying": lambda executor, retry_on=Exception, **options: ORIGINALS["retrying"](executor, **options),
    }


@mutant("scopes.a_call_between_attempts_can_be_cancelled", says="to be cancelled", also=ANY, deadline=3)
class CancelsNoPause(Bringing, ThreadExecutor):
    """A call that waits for its next attempt can't be cancelled."""

    class Stubborn(structured.RetriedFuture[Any]):
        def cancel(self) -> bool:
            return self._current is not None and super().cancel()

    class View(structured.RetryingExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            future = super().submit(fn, *args, **kwargs)
            future.__class__ = CancelsNoPause.Stubborn
            return future

    @staticmethod
    def retrying(executor: Any, **options: Any) -> Any:
        view = ORIGINALS["retrying"](executor, **options)
        view.__class__ = CancelsNoPause.View
        return view

    names: ClassVar = {"retrying": retrying}
