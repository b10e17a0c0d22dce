"""`Backend` and `Capabilities`, the description that a backend gives of itself; the contract's number; `BackendStatus`.

Imports nothing of corefutures. Every value is checked when it is made, so that a plugin's mistake is reported at the
plugin's own line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias

#: The version of the executor contract that this corefutures describes and certifies: (major, minor).
CONTRACT: Final[tuple[int, int]] = (1, 1)

#: A backend's name: no colon (that would be a target), no comma (COREFUTURES_DISABLE separates with it).
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")

#: "package.module:attr", attr possibly dotted.
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*\Z")


def is_name(text: str) -> bool:
    """Return whether a text can be a backend's name."""
    return _NAME.match(text) is not None


def is_target(text: str) -> bool:
    """Return whether a text has the form `package.module:attr`."""
    return _TARGET.match(text) is not None


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """The statements of a backend about its executors.

    Args:
        same_process: Calls run in the process that submitted them.
        shares_memory: Arguments and results are the very objects, not copies.
        pickles: Callables, arguments and results must survive pickling.
        accepts_initializer: The factory takes `initializer` and `initargs`.
        survives_worker_loss: A lost worker fails only the calls that it was running.
        kills_running: The executor can end calls that are running: `kill`, and `options(timeout=…)`.
        remote: Calls may run on another machine.
        asks_running: It can ask calls that are running to stop: `request_cancel`.
        limits_pending: The factory takes `max_pending` and `when_full`.
        limits_shutdown: `shutdown` takes a `timeout`.
        handles_exit: The factory takes `at_exit`.
        counts_calls: It has `stats`.
        carries_context: The factory takes `context`, a list of names of context variables.
        runs_in_place: A call may wait for other calls of its pool, which run in its place.
        streams: It can run generators, whose items arrive while they run: `stream`.
        slots: The factory takes `slots`, which calls can demand: `options(slots=…)`.
        worker_values: Calls can use `corefutures.worker_local`.
        shares_objects: It can send an object to each worker once: `share`.
        spares: The factory takes `spares`, workers that take no calls until one is needed.
        limits_memory: The factory takes `memory` and `memory_total`, limits of the memory of workers.

    Raises:
        TypeError: If a value is not a bool.
    """

    same_process: bool = False
    shares_memory: bool = False
    pickles: bool = False
    accepts_initializer: bool = False
    survives_worker_loss: bool = False
    kills_running: bool = False
    remote: bool = False
    asks_running: bool = False
    limits_pending: bool = False
    limits_shutdown: bool = False
    handles_exit: bool = False
    counts_calls: bool = False
    carries_context: bool = False
    runs_in_place: bool = False
    streams: bool = False
    slots: bool = False
    worker_values: bool = False
    shares_objects: bool = False
    spares: bool = False
    limits_memory: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool):
                raise TypeError(f"capability {field.name} must be a bool, not {type(value).__name__}")


@dataclass(frozen=True)
class Backend:
    """The description of a backend: how its executors are made and what they can do.

    Args:
        name: The name that users ask for; letters, digits, dots, dashes and underscores.
        factory: A callable that returns an executor, or its place as `"package.module:attr"`,
            which is imported only when an executor is made.
        capabilities: What its executors can do.
        summary: One line for listings.
        contract: The `CONTRACT` that the author targeted, written out as a pair of ints; None if
            the executor promises no more than the manual of `concurrent.futures`.
        unavailable_reason: Why the backend cannot run here, or a callable that returns this
            reason or None and is called each time somebody wants the backend.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a text or the contract is malformed.

    Thread safety: immutable.
    """

    name: str
    factory: str | Callable[..., Any]
    capabilities: Capabilities = Capabilities()
    summary: str = ""
    contract: tuple[int, int] | None = None
    unavailable_reason: str | Callable[[], str | None] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"a backend's name must be a str, not {type(self.name).__name__}")
        if not is_name(self.name):
            raise ValueError(
                f"a backend's name is made of letters, digits, dots, dashes and underscores: {self.name!r}"
            )
        if isinstance(self.factory, str):
            if not is_target(self.factory):
                raise ValueError(f"a factory given as text must be 'package.module:attr', not {self.factory!r}")
        elif not callable(self.factory):
            raise TypeError(f"factory must be a callable or a str, not {type(self.factory).__name__}")
        if not isinstance(self.capabilities, Capabilities):
            raise TypeError(f"capabilities must be a Capabilities, not {type(self.capabilities).__name__}")
        if not isinstance(self.summary, str):
            raise TypeError(f"summary must be a str, not {type(self.summary).__name__}")
        if "\n" in self.summary:
            raise ValueError(f"summary must be one line: {self.summary!r}")
        _check_contract(self.contract)
        reason = self.unavailable_reason
        if not (reason is None or isinstance(reason, str) or callable(reason)):
            raise TypeError(f"unavailable_reason must be a str, a callable or None, not {type(reason).__name__}")
        if reason == "":
            raise ValueError("unavailable_reason must say why, or be None")


def _check_contract(contract: object) -> None:
    if contract is None:
        return
    if not isinstance(contract, tuple) or not all(type(part) is int for part in contract):
        raise TypeError(f"contract must be a pair of ints such as (1, 0), or None, not {contract!r}")
    if len(contract) != 2 or min(contract) < 0:
        raise ValueError(f"contract must be a pair of non-negative ints such as (1, 0), not {contract!r}")


State: TypeAlias = Literal["installed", "available", "unavailable", "broken", "conflicting", "disabled"]


@dataclass(frozen=True)
class BackendStatus:
    """The state of one backend.

    Args:
        name: The backend's name.
        state: `installed` (listed, not loaded yet), `available`, `unavailable` (cannot run here),
            `broken` (its metadata, import or hook failed), `conflicting` (several distributions
            claim the name) or `disabled` (by COREFUTURES_DISABLE).
        distribution: The distribution that brings it; None for one that was registered by hand.
        version: The distribution's version.
        reason: Why it is not available, None if it is or may be.
    """

    name: str
    state: State
    distribution: str | None = None
    version: str | None = None
    reason: str | None = None
