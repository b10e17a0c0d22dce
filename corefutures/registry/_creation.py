"""From a name to an executor: our local backends at once, all others through the registry.

Imports the registry, and with it all that reads metadata, only for a name or an error that needs it: a first pool
costs what the standard library's does.
"""

from __future__ import annotations

import sys

from corefutures import __version__
from corefutures.registry._known import own_class

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    from typing import Any

    from corefutures._executor import Executor


def create_executor(name: str, /, **options: Any) -> Executor:
    """Make an executor of a backend.

    Args:
        name: The name of a backend, such as `"thread"`, or the place of any class or callable
            that returns an executor, such as `"concurrent.futures:ThreadPoolExecutor"`.
        **options: The keyword arguments of the backend's factory, such as `max_workers`.

    Returns:
        The executor.

    Raises:
        BackendNotFoundError: If there is no such backend or target.
        BackendUnavailableError: If the backend cannot run here.
        BackendBrokenError: If its import, hook or factory failed.
        BackendConflictError: If several distributions claim the name.
        BackendDisabledError: If COREFUTURES_DISABLE names it.
        TypeError: If the backend has no such option.
        ValueError: If a target is malformed.

    Thread safety: may be called from any thread. No lock is held while a plugin is imported.
    """
    found: Any = _checked_class(name)
    if found is None:
        from corefutures.registry._registry import REGISTRY  # here for start-up time only

        return REGISTRY.create(name, options)
    try:
        return found(**options)  # type: ignore[no-any-return]
    except TypeError:
        from corefutures.registry._messages import check_options  # here for start-up time only

        check_options(name, found, options)
        raise


def pool_class(name: str) -> type:
    """Return the pool class that a backend brings, for the users' door, whose `__getattr__` alone calls this.

    Args:
        name: The backend's name.

    Returns:
        The class that makes its executors.

    Raises:
        BackendError: If the backend is not installed or cannot be used. If it can't run here, where the standard
            library has no such name either, this is also an ImportError or an AttributeError, as programs expect.
    """
    found = _checked_class(name)
    if found is not None:
        return found
    from corefutures._exceptions import BackendUnavailableError  # here for start-up time only, as is the other one
    from corefutures.registry._registry import REGISTRY

    try:
        return REGISTRY.pool_class(name)
    except BackendUnavailableError as error:
        # Of an AttributeError `from … import` would lose the message, and of anything else `hasattr` is no answer.
        importing = sys._getframe(2).f_code.co_name == "_handle_fromlist"
        raise _also(error, ImportError if importing else AttributeError) from error.__cause__


def _also(error: BaseException, kind: type[BaseException]) -> BaseException:
    """Return the same error, of another kind as well; a pickle keeps the error's own class alone."""
    names = {"__module__": type(error).__module__, "__reduce__": lambda self: (type(error), self.args)}
    made: BaseException = type(type(error).__name__, (type(error), kind), names)(*error.args)
    return made


def _checked_class(name: object) -> type | None:
    """Return the class of one of our local backends; None where the registry decides: for a registered name, say."""
    if not isinstance(name, str):
        return None
    registry = sys.modules.get("corefutures.registry._registry")
    if registry is not None and registry.REGISTRY.decides(name):
        return None
    return own_class(name, __version__)
