"""Targets: objects that are named by their place, `package.module:attr`.

Imports the module that a target names. Guarantees: a missing target and a broken one raise different errors.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from corefutures._error_text import describe_error
from corefutures._exceptions import BackendBrokenError, BackendError, BackendNotFoundError
from corefutures.registry._description import is_target
from corefutures.registry._messages import closest, with_article

if TYPE_CHECKING:
    from collections.abc import Callable


def load_target(target: str) -> Any:
    """Import the object that a target names.

    Args:
        target: A place such as `"package.module:attr"`; attr may be dotted.

    Returns:
        The object.

    Raises:
        ValueError: If the text does not have that form.
        AttributeError: If the module lacks the attribute.
        ImportError: If the module is missing; besides that, whatever its import raises.
    """
    if not is_target(target):
        raise ValueError(f"not of the form 'package.module:attr': {target!r}")
    module_name, _, path = target.partition(":")
    found: Any = import_module(module_name)
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            meant = closest(attribute, dir(found))
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise AttributeError(f"{module_name} has no {path!r}{hint}", name=attribute, obj=found) from None
    return found


def target_factory(target: str) -> Callable[..., Any]:
    """Return the factory that a target names, for a caller who wants an executor."""
    if not is_target(target):
        raise ValueError(f"a target must have the form 'package.module:attr', not {target!r}")
    module_name = target.partition(":")[0]
    try:
        factory = load_target(target)
    except BackendError:
        raise
    except AttributeError as error:
        raise BackendNotFoundError(f"target {target!r} not found: {error}") from error
    except Exception as error:
        missing = missing_module(error, module_name)
        if missing:
            sentence = f"target {target!r} not found: there is no module {missing!r}; is it installed?"
            raise BackendNotFoundError(sentence) from error
        raise BackendBrokenError(f"target {target!r} cannot be imported: {describe_error(error)}") from error
    if not callable(factory):
        raise TypeError(f"target {target!r} is {with_article(type(factory).__name__)}, which cannot be called")
    return factory  # type: ignore[no-any-return]


def missing_module(error: BaseException, module_name: str) -> str | None:
    """Distinguish a module that does not exist from one whose own imports fail.

    Args:
        error: What the import of the module raised.
        module_name: The module that was wanted.

    Returns:
        The module or the package around it that is missing; None if the failure is another one.
    """
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
        return error.name
    return None
