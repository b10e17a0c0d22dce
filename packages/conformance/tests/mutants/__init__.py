"""Mutants: executors with one defect each, one file for each chapter of rules that must kill them.

Each is declared with the rule that must kill it, a phrase of its message, and the other rules that may fail.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, TypeVar

from reference import ProcessExecutor

E = TypeVar("E", bound=type[Executor])


@dataclass(frozen=True)
class Mutant:
    """One executor with a defect."""

    executor: type[Executor]
    caught_by: str
    says: str
    also: tuple[str, ...]
    deadline: float
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name, that of its class."""
        return self.executor.__name__

    @property
    def target(self) -> str:
        """What the kit is called with."""
        return f"{self.executor.__module__}:{self.executor.__name__}"

    @property
    def broken(self) -> set[str]:
        """The rules that it breaks for certain."""
        return {self.caught_by, *(rule for rule in self.also if "*" not in rule)}

    def may_break(self, rule: str) -> bool:
        """Whether the rule may fail because of its defect."""
        patterns = (*self.also, *getattr(self.executor, "not_promised", ()))
        return rule == self.caught_by or any(fnmatch(rule, pattern) for pattern in patterns)

    @property
    def capabilities(self) -> dict[str, bool]:
        """What the executor can do, so that a run need not probe it."""
        threads = not issubclass(self.executor, ProcessExecutor)
        return {
            "same_process": threads,
            "shares_memory": threads,
            "pickles": not threads,
            "accepts_initializer": True,
            "survives_worker_loss": getattr(self.executor, "survives", False),
            **getattr(self.executor, "abilities", {}),
        }

    @property
    def chapters(self) -> set[str]:
        """The chapters that a quick run covers."""
        return {rule.partition(".")[0] for rule in (self.caught_by, *self.also)}


MUTANTS: dict[str, Mutant] = {}
"""Every mutant, by file and name."""


def mutant(
    caught_by: str, *, says: str, also: tuple[str, ...] = (), deadline: float = 6.0, **options: Any
) -> Callable[[E], E]:
    """Declare a mutant.

    Args:
        caught_by: id of the rule that must kill it.
        says: a phrase that the rule's message must contain.
        also: ids of the other rules that the same defect breaks, which must fail too; and patterns such as
            "chapter.*" of rules that may fail. No other may.
        deadline: seconds for each rule; a mutant that hangs should have a short one.
        **options: options for the executor.
    """

    def declare(executor: E) -> E:
        name = f"{executor.__module__.rpartition('.')[2]}.{executor.__name__}"
        if name in MUTANTS:
            raise ValueError(f"two mutants are called {name}")
        MUTANTS[name] = Mutant(executor, caught_by, says, also, deadline, options)
        return executor

    return declare
