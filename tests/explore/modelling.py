"""What a model is: a small program of threads, one hand-off with its invariant.

A model is given a run and our modules over the explorer's primitives; it spawns threads and returns the final check.
`faults` are put back into the modules: the proof that the model would have found them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from explorer import Run

Check = Callable[[], object]
Program = Callable[[Run, Any], Check]


@dataclass(frozen=True)
class Fault:
    """A fault that a model must find: a text of a module's source, and the text that stands there with the fault.

    Attributes:
        name: What is wrong.
        module: The module.
        right: A text that is there once.
        wrong: What is put in its place.
        changes: Of priorities, in the search for it: see `Priorities`.
        also: Other edits that belong to it: module, right, wrong.
    """

    name: str
    module: str
    right: str
    wrong: str
    changes: int = 2
    also: tuple[tuple[str, str, str], ...] = ()

    @property
    def edits(self) -> list[tuple[str, str, str]]:
        """The edits of the sources."""
        return [(self.module, self.right, self.wrong), *self.also]


@dataclass(frozen=True)
class Model:
    """One hand-off.

    Attributes:
        program: Spawns the threads and returns the check.
        promise: The promises that it guards.
        modules: The modules that it uses.
        files: The ends of the names of those files in which threads are switched.
        preemptions: How many are explored by `make explore`.
        focus: The ends of the names of the few files in which the hand-off itself is: there `make explore` switches
            twice as well, if it does so once only in all `files`.
        quick: How many are by `make test`; None leaves the model to `make explore`.
        delays: Whether delays are bounded rather than preemptions: see `Run`.
        faults: What it must find.
    """

    name: str
    program: Program
    promise: str
    modules: tuple[str, ...]
    files: tuple[str, ...]
    preemptions: int
    quick: int | None = 1
    delays: bool = False
    faults: tuple[Fault, ...] = field(default=())
    focus: tuple[str, ...] = ()

    @property
    def passes(self) -> list[tuple[tuple[str, ...], int]]:
        """What `make explore` does: files, and how many preemptions."""
        return [(self.files, self.preemptions), *([(self.focus, 2)] if self.focus else [])]


#: By name, in the order of the table of docs/development.md.
MODELS: dict[str, Model] = {}

CORE = ("corefutures._exceptions", "corefutures._future", "corefutures._wait")
FUTURE = "corefutures._future"


def model(
    promise: str, *, modules: tuple[str, ...] = CORE, files: tuple[str, ...] = ("_future.py", "_wait.py"),
    preemptions: int = 2, quick: int | None = 1, delays: bool = False, faults: tuple[Fault, ...] = (),
    focus: tuple[str, ...] = (),
) -> Callable[[Program], Program]:  # fmt: skip
    """Makes a function a model: see `Model`."""

    def enter(program: Program) -> Program:
        name = program.__name__
        assert name not in MODELS
        MODELS[name] = Model(name, program, promise, modules, files, preemptions, quick, delays, faults, focus)
        return program

    return enter


class Answers(dict[str, Any]):
    """What the threads of a model have got; each says so once."""

    def say(self, name: str, action: Callable[[], Any]) -> Callable[[], None]:
        """Returns a function that notes what `action` returns, or the type of what it raises."""

        def do() -> None:
            try:
                answer = action()
            except Exception as error:
                answer = type(error).__name__
                if answer in ("AssertionError", "AttributeError", "TypeError", "NameError"):  # of the model itself
                    raise
            assert name not in self
            self[name] = answer

        return do


def expect(got: Any, *possible: Any) -> None:
    """Fails unless the answer is one of those that are right."""
    assert got in possible, f"{got!r} is none of {possible!r}"


def outcome(future: Any, timeout: float | None = None) -> Any:
    """Returns the result of a future, "cancelled", or the name of the type of the exception."""
    try:
        return future.result(timeout)
    except BaseException as error:
        return "cancelled" if future.cancelled() else type(error).__name__
