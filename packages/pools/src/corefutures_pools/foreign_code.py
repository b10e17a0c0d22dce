"""Foreign code and its exceptions, whatever their classes override: see also `corefutures._foreign_code`.

Touches the core alone.
"""

from __future__ import annotations

from corefutures._foreign_code import (
    LiveObjects as LiveObjects,
    add_note as add_note,
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


def set_cause(error: BaseException, cause: BaseException | None) -> None:
    """Set an exception's cause, even if its class overrides that attribute."""
    BaseException.__dict__["__cause__"].__set__(error, cause)


def drop_frame(error: BaseException) -> None:
    """Remove the first frame of an exception's traceback, even if its class overrides that attribute."""
    traceback = _traceback_of(error)
    if traceback is not None:
        BaseException.with_traceback(error, traceback.tb_next)


_traceback_of = BaseException.__dict__["__traceback__"].__get__
