"""What a target can do: declared by its backend, given on the command line, or found out by a probe.

A probe is a method `probe_<capability>` that returns a bool; it runs where rules run, under the same
deadline.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import asdict, dataclass, field, fields

from corefutures.backend import Capabilities
from corefutures_conformance.deadlines import Overdue, finishes, result_of
from corefutures_conformance.worker import calls, hostile

NAMES: tuple[str, ...] = tuple(field.name for field in fields(Capabilities))
"""What `Capabilities` describes."""

PROBED = ("same_process", "shares_memory", "pickles", "accepts_initializer", "survives_worker_loss")
"""Those that a probe can find out; the others are taken as absent unless declared."""


@dataclass
class Profile:
    """The capabilities of one target, and how each is known."""

    values: dict[str, bool] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    """Capability → declared, given, probed or assumed."""
    probed: dict[str, bool] = field(default_factory=dict)
    """Capability → the answer of its probe, also where a declaration goes before it."""

    @property
    def declared(self) -> dict[str, bool]:
        """The capabilities that were declared, by the backend or by the caller."""
        return {name: value for name, value in self.values.items() if self.origins[name] in ("declared", "given")}

    def learn(self, found: Mapping[str, bool], origin: str) -> None:
        """Take over `found`.

        Raises:
            ValueError: when a name is no capability.
        """
        for name, value in found.items():
            if name not in NAMES:
                raise ValueError(f"unknown capability {name!r}; the capabilities are {', '.join(NAMES)}")
            self.values[name] = bool(value)
            self.origins[name] = origin

    def complete(self) -> None:
        """Assume that what is still unknown is absent."""
        self.learn({name: False for name in NAMES if name not in self.values}, "assumed")


def declared_by(capabilities: Capabilities | Mapping[str, bool] | None) -> Mapping[str, bool]:
    """Return the values of whatever form capabilities are declared in."""
    if isinstance(capabilities, Capabilities):
        return asdict(capabilities)
    return capabilities or {}


class Probing:
    """The probes; part of `ExecutorTests`, so that they make executors as the rules do."""

    def probe_runs_a_call(self, make: Callable[..., Executor]) -> bool:
        """Can an executor be made, and does it run one call? If not, no rule has anything to say."""
        future = finishes(lambda: make(max_workers=1).submit(calls.echo, 1), "submit()")
        result_of(future)
        return True

    def probe_same_process(self, make: Callable[..., Executor]) -> bool:
        """Do calls run in the process of the caller?"""
        return result_of(make(max_workers=1).submit(calls.place))[0] == os.getpid()

    def probe_shares_memory(self, make: Callable[..., Executor]) -> bool:
        """Is a result the very object that the call returned?"""
        value = hostile.Adder(1)
        return result_of(make(max_workers=1).submit(calls.echo, value)) is value

    def probe_pickles(self, make: Callable[..., Executor]) -> bool:
        """Are arguments pickled?"""
        try:
            value = hostile.AtPickling(hostile.fail)
            return result_of(make(max_workers=1).submit(calls.echo, value)) is not value
        except Overdue:
            return True
        except Exception:
            return True

    def probe_accepts_initializer(self, make: Callable[..., Executor]) -> bool:
        """Tell whether making an executor accepts `initializer` and `initargs`."""
        try:
            make(max_workers=1, initializer=calls.echo, initargs=(1,))
        except TypeError:
            return False
        return True

    def probe_survives_worker_loss(self, make: Callable[..., Executor]) -> bool:
        """Tell whether the executor goes on after one of its workers was killed."""
        if self.probe_same_process(make):
            return False
        executor = make(max_workers=1)
        with contextlib.suppress(Exception):
            result_of(executor.submit(calls.kill_process))
        try:
            return finishes(lambda: result_of(executor.submit(calls.echo, 1)), "a call after a loss") == 1
        except BrokenExecutor:
            return False
        except Exception:
            return False
