"""Loops over what isn't ours to trust: code that may raise anything, collections that other threads change.

Touches nothing. Guarantees: whatever one step raises, and whatever a signal handler raises in between, every item has
its turn.
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
    """Calls `action` with each item, also after one has raised.

    Args:
        action: What to call.
        items: A collection, or an iterator over one: what raises is not to be the iteration itself.

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
    """Returns what is in a collection that other threads change: only with a GIL is `list(items)` one step."""
    while True:
        try:
            return list(items)
        except RuntimeError:  # it was changed meanwhile
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
    """Returns the name of an object's class, whatever that says itself when it is asked."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name


def raises_again(error: BaseException, action: Callable[..., object], *args: object) -> bool:
    """Tells an error of foreign code that has just been called from a signal handler's: that is raised once.

    Returns:
        Whether `action(*args)`, in which `error` was raised, raises one of that class again.
    """
    try:
        action(*args)
    except BaseException as exc:
        return type(exc) is type(error)
    return False


def log_failure(logger: Any, message: str, *args: object, level: int = 40, error: BaseException | None = None) -> None:
    """Logs `error`, or the exception that is being handled, for threads that have to go on even if logging fails."""
    try:
        logger.log(level, message, *args, exc_info=sys.exception() if error is None else error)
    except BaseException:  # of a handler or filter, or of an argument's repr
        try:
            sys.excepthook(*sys.exc_info())  # pyright: ignore[reportArgumentType] # one is being handled
        except BaseException:  # nobody can be told
            pass
