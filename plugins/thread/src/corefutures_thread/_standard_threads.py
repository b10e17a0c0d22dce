"""Subclasses that override the standard pool's private `_adjust_thread_count`, as many programs' daemon pools do.

Touches the standard library's pool; imported once there is such a subclass. Guarantees: the subclass works as on the
standard class, whose queue and items its threads need; what only our own threads can do is refused.
"""

from __future__ import annotations

import warnings
from typing import Any

from corefutures.backend import Executor
from corefutures_pools.executor import unsupported

#: Attributes that the standard class keeps in the instance, and ours computes.
_KEPT = ("_broken", "_shutdown", "_threads", "_work_queue")
#: What only our own threads can do: method → what it can't.
_REFUSED = {
    "options": "give options to calls",
    "request_cancel": "ask a call to stop",
    "snapshot": "be looked into",
    "stats": "count its calls",
}


def use_standard_threads(subclass: Any, standard_pool: Any) -> None:
    """Have a subclass run calls as the standard class does, and warn of what that costs.

    Args:
        subclass: A subclass of our pool with an `_adjust_thread_count` of its own.
        standard_pool: The standard class as it was: programs put ours in its place.
    """
    warnings.warn(
        f"{subclass.__name__}._adjust_thread_count() starts threads that run calls as in the standard library, at its"
        " speed and without the options of corefutures; so that calls don't keep the program from ending, pass"
        " at_exit='cancel' to a ThreadPoolExecutor in its place",
        stacklevel=3,
    )
    taken: dict[str, Any] = dict.fromkeys(_KEPT)
    taken |= {name: getattr(standard_pool, name) for name in ("submit", "shutdown")}
    taken |= {name: _refusal(what) for name, what in _REFUSED.items()}
    taken |= {"_cf_interrupt": lambda self: None, "_cf_starts_threads": True}
    for name, value in taken.items():
        if name not in vars(subclass):
            setattr(subclass, name, value)


def initialise(standard_pool: Any, executor: Any, *arguments: Any, **options: Any) -> None:
    """Make such a pool: as the standard class does.

    Args:
        standard_pool: As in `use_standard_threads`.
        executor: The pool.
        *arguments: What the standard class takes.
        **options: Options of ours, and their values.

    Raises:
        UnsupportedError: One of them is not its default.
    """
    for name, value in options.items():
        if value not in (None, "block", "wait", False):
            raise unsupported(executor, f"take {name}=, since it starts its threads itself")
    standard_pool.__init__(executor, *arguments)


def _refusal(what: str) -> Any:
    def refuse(self: Executor, *args: object, **options: object) -> None:
        raise unsupported(self, f"{what}, since it starts its threads itself")

    return refuse
