"""Defects in worker-local values: made too often, too early or never again; closed in the wrong order, or not."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

import corefutures
from mutants import mutant
from mutants.control import ABLE, Able


class Local:
    """A worker-local value by other means, in the place of the program's."""

    def __init__(self, local: Any) -> None:
        self.local = local

    def make(self) -> Any:
        """Call the factory."""
        return self.local._factory(*self.local._args, **self.local._kwargs)


def replacing(base: type, kind: Callable[[Any], Any]) -> Any:
    """An executor whose calls get other objects in the place of worker-local values."""

    class Replaces(base):  # type: ignore[misc]
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            changed = [kind(arg) if isinstance(arg, corefutures.WorkerLocal) else arg for arg in args]
            return super().submit(fn, *changed, **kwargs)

    return Replaces


class _Anew(Local):
    def get(self) -> Any:
        return self.make()


@mutant("worker_values.a_worker_makes_a_value_once", says="had values made like this", also=("worker_values.*",))
class MakesAValueForEachCall(replacing(Able, _Anew)):  # type: ignore[misc]
    """Each call makes its own."""


@mutant("worker_values.a_value_is_made_at_its_first_use", says="left", also=("worker_values.*",))
class MakesValuesEarly(Able):
    """A value is made for each call that could get it."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            for arg in args:
                if isinstance(arg, corefutures.WorkerLocal):
                    arg.get()
            return fn(*args, **kwargs)

        return super().submit(run if callable(fn) else fn, *args, **kwargs)


_failures: dict[str, Exception] = {}


class _Stubborn(Local):
    def get(self) -> Any:
        key = self.local._key
        if key in _failures:
            raise _failures[key]
        try:
            return self.local.get()
        except Exception as error:
            _failures[key] = error
            raise


@mutant("worker_values.a_factory_that_fails", says="", also=("worker_values.*",))
class RemembersTheFailure(replacing(Able, _Stubborn)):  # type: ignore[misc]
    """A factory that has failed is not called again."""


_made: dict[str, Any] = {}


class _Open(Local):
    def get(self) -> Any:
        key = self.local._key
        if key not in _made:
            _made[key] = self.make()
        return _made[key]


@mutant("worker_values.values_are_closed_in_reverse_order", says="were closed like this", also=("worker_values.*",))
class ClosesValuesAsTheyWereMade(replacing(Able, _Open)):  # type: ignore[misc]
    """The oldest is closed first."""

    def shutdown(self, wait: bool = True, **options: Any) -> None:
        super().shutdown(wait, **options)
        for key in list(_made):
            getattr(_made.pop(key), "close", int)()


@mutant("worker_values.a_context_manager_is_entered", says="in place of what entering", also=("worker_values.*",))
class EntersNothing(replacing(Able, _Open)):  # type: ignore[misc]
    """A call gets the context manager itself."""


class Surviving(corefutures.ProcessPoolExecutor):
    """A correct executor of processes that replaces those that it loses."""

    abilities: ClassVar[dict[str, bool]] = {
        **ABLE,
        "same_process": False,
        "shares_memory": False,
        "pickles": True,
        "runs_in_place": False,
        "kills_running": True,
        "survives_worker_loss": True,
    }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, mp_context="spawn" if os.name == "nt" else "forkserver", on_worker_loss="replace")


class _Inherited(Local):
    def get(self) -> Any:
        journal = self.local._args[0]
        return "of the lost worker" if journal.entries else self.local.get()


@mutant(
    "worker_values.a_worker_that_replaces_another_makes_the_value",
    says="was made 1 times",
    also=("worker_values.*",),
    deadline=20,
)
class KeepsTheValueOfALostWorker(replacing(Surviving, _Inherited)):  # type: ignore[misc]
    """The value of a worker that was lost is taken for its successor's."""
