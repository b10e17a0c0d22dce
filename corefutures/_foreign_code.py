"""Foreign code, which may raise anything, and its exceptions; collections that other threads change.

Touches nothing. Guarantees: whatever one step raises, and whatever a signal handler raises in between, every item is
handled.
"""

from __future__ import annotations

import sys
from _weakref import ref

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    _T = TypeVar("_T")


def for_each(action: Callable[[_T], object], items: Iterable[_T]) -> None:
    """Call `action` with each item, also after a call has raised.

    Args:
        action: The function to call.
        items: A collection, or an iterator over one: the iteration itself must not raise.

    Raises:
        BaseException: The first of those that were raised, at the end.
    """
    raised: BaseException | None = None
    left = iter(items)
    while True:
        try:
            for item in left:
                action(item)
            break
        except BaseException as exc:
            if raised is None:
                raised = exc
    if raised is not None:
        try:
            raise raised
        finally:
            del raised  # the traceback refers to this frame: no cycle


def copied(items: Iterable[_T]) -> list[_T]:
    """Return the items of a collection that other threads change: only with a GIL is `list(items)` atomic."""
    while True:
        try:
            return list(items)
        except RuntimeError:  # another thread has changed the collection
            pass


class LiveObjects:
    """A set of weak references; unlike a `WeakSet`, it can be iterated while another thread adds to it.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self) -> None:
        self._references: dict[int, ref[Any]] = {}

    def add(self, thing: Any) -> None:
        """Add an object; it leaves the set when it is collected."""
        key, references = id(thing), self._references
        references[key] = ref(thing, lambda _: references.pop(key, None))

    def all(self) -> list[Any]:
        """Return the objects that are alive at this moment, in the order in which they were added."""
        return [thing for reference in list(self._references.values()) if (thing := reference()) is not None]

    def clear(self) -> None:
        """Remove all objects."""
        self._references.clear()


def class_name(value: object) -> str:
    """Return the name of an object's class, without a call of the class's own code."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an exception, once, unless its class prevents it."""
    try:
        if note not in getattr(error, "__notes__", ()):
            BaseException.add_note(error, note)
    except BaseException:
        pass


def log_failure(logger: Any, message: str, *args: object, level: int = 40, error: BaseException | None = None) -> None:
    """Log `error`, or the exception that is being handled, for threads that have to go on even if logging fails."""
    try:
        logger.log(level, message, *args, exc_info=sys.exception() if error is None else error)
    except BaseException:  # raised by a handler or filter, or by an argument's repr
        try:
            sys.excepthook(*sys.exc_info())  # pyright: ignore[reportArgumentType] # one is being handled
        except BaseException:  # the failure can't be reported
            pass
