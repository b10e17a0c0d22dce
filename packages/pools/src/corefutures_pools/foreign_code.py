"""Calls of foreign code: the core's part, see `corefutures._foreign_code`, and the errors that it raises.

Touches the core alone.
"""

from __future__ import annotations

from corefutures._foreign_code import (
    class_name as class_name,
    copied as copied,
    for_each as for_each,
    log_failure as log_failure,
)

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable


def raises_again(error: BaseException, action: Callable[..., object], *args: object) -> bool:
    """Return whether an error of foreign code is its own: a signal handler's error is raised once.

    Returns:
        Whether `action(*args)`, in which `error` was raised, raises one of that class again.
    """
    try:
        action(*args)
    except BaseException as exc:
        return type(exc) is type(error)
    return False
