"""What can be known of a foreign executor before it runs a call: its interface, and what it is capable of.

Touches its attributes. Guarantees: calls none of its methods.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

from corefutures._options import shown
from corefutures.registry._description import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable


class Adaptable(Protocol):
    """The interface that `adapt` needs of an executor."""

    @property
    def submit(self) -> Callable[..., Any]:
        """Run a function elsewhere, and return its future."""
        ...

    @property
    def shutdown(self) -> Callable[..., Any]:
        """End the executor, perhaps with arguments `wait` and `cancel_futures`."""
        ...


def check_adaptable(taker: str, executor: object) -> None:
    """Raise TypeError if `executor` is no executor, for the function `taker`."""
    if isinstance(executor, type):
        raise TypeError(f"{taker}() takes an executor, not its class: {taker}({executor.__name__}(...))")
    for verb in ("submit", "shutdown"):
        if not callable(getattr(executor, verb, None)):
            kind = type(executor).__name__
            raise TypeError(f"{taker}() takes an executor, not {shown(executor)}: {kind} has no {verb}()")


def known_capabilities(executor: Adaptable) -> Capabilities:
    """Return the capabilities of an executor, by its own attribute or by its standard class; others promise nothing."""
    own = getattr(executor, "capabilities", None)
    if isinstance(own, Capabilities):
        return own
    # By the classes' names: programs put other classes in the places of the standard ones.
    standard = {kind.__name__ for kind in type(executor).__mro__ if kind.__module__.startswith("concurrent.futures.")}
    if "InterpreterPoolExecutor" in standard:  # it is a ThreadPoolExecutor, too
        return Capabilities(same_process=True, pickles=True)
    if "ThreadPoolExecutor" in standard:
        return Capabilities(same_process=True, shares_memory=True)
    if "ProcessPoolExecutor" in standard:
        return Capabilities(pickles=True)
    return Capabilities()


def takes_wait(shutdown: Callable[..., Any]) -> bool:
    """Return whether a `shutdown` has the argument `wait`."""
    try:
        parameters = inspect.signature(shutdown).parameters
    except (TypeError, ValueError):  # it has no signature
        return False
    return "wait" in parameters or any(given.kind is given.VAR_KEYWORD for given in parameters.values())
