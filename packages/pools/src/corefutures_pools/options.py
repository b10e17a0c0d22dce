"""The options of pools: their types and their checks.

Touches the core's checks. Guarantees: each refusal is one sentence with the value, the reason and the remedy.
"""

from __future__ import annotations

from corefutures._options import check_choice, check_count, check_flag, check_seconds, check_text, not_callable, shown

__all__ = [
    "WHEN_FULL", "check_choice", "check_count", "check_flag", "check_initializer", "check_max_workers",
    "check_seconds", "check_text", "not_callable", "shown",
]  # fmt: skip

TYPE_CHECKING = False  # as in `corefutures`: importing a pool's class does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Literal

    WhenFull = Literal["block", "raise", "caller_runs"]
    OnRefusal = Literal["raise", "process", "rerun"]
    AtExit = Literal["wait", "cancel", "kill", "abandon"]
    ContextOption = Literal["copy"] | Iterable[str] | None
    SlotsOption = Mapping[str, int | Sequence[int | str]] | None

#: The fates of calls beyond `max_pending`: the option `when_full`.
WHEN_FULL = ("block", "raise", "caller_runs")


def check_max_workers(max_workers: Any) -> int:
    """Check the option of a pool whose workers are threads of this process, and return the number; None is a default.

    Raises:
        TypeError: It is no int.
        ValueError: It is not positive.
    """
    check_count("max_workers", max_workers)
    if max_workers is None:
        from corefutures_pools.cpu import default_threads  # here for start-up time only

        max_workers = default_threads()
    return int(max_workers)


def check_initializer(initializer: Any, initargs: Any) -> tuple[Any, ...]:
    """Check a pool's options `initializer` and `initargs`, and return `initargs` as a tuple.

    Raises:
        TypeError: One of them is of the wrong type.
    """
    if initializer is not None and not callable(initializer):
        raise TypeError(
            f"initializer must be a callable, not {shown(initializer)}: pass the function itself, and its arguments in"
            " initargs"
        )
    if type(initargs) is tuple:
        return initargs
    if isinstance(initargs, (str, bytes)) or not hasattr(type(initargs), "__iter__"):
        remedy = "leave it out" if initargs is None else f"write initargs=({shown(initargs)},)"
        raise TypeError(f"initargs must be a tuple of arguments, not {shown(initargs)}: {remedy}")
    return tuple(initargs)
