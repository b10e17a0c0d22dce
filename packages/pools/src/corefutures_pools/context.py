"""The context variables of calls, and their way to another process or interpreter: the option `context`.

Touches the core's exceptions, where it refuses; a worker imports this with the first call that has variables.
Guarantees: a call sees the values of the moment of its submission; no other call sees the values that it sets.
"""

from __future__ import annotations

import sys
from contextvars import Context, ContextVar, copy_context

from corefutures._foreign_code import add_note

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final, Literal

    from corefutures_pools.options import ContextOption

COPY: Final = "copy"
_UNSET: Final = object()

#: Name → variable, for the names that were resolved.
_known: dict[str, ContextVar[Any]] = {}


class ContextVariables:
    """Some context variables, named by their modules: `"package.module:variable"`.

    Args:
        names: Their names.

    Raises:
        TypeError: A name is no str, or something else than a `ContextVar` is there.
        ValueError: A name is malformed, or nothing is there.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._named = [(name, _checked(name)) for name in names]

    def values(self) -> tuple[dict[str, Any], list[str]]:
        """Return the values of the variables that are set here and now, by name, and the names of the others."""
        found = {name: variable.get(_UNSET) for name, variable in self._named}
        unset = [name for name, value in found.items() if value is _UNSET]
        for name in unset:
            del found[name]
        return found, unset

    def context(self) -> Context:
        """Return a context in which these variables alone are set, to their values here and now."""
        context = Context()
        for name, value in self.values()[0].items():
            context.run(_known[name].set, value)
        return context


def check_context(context: ContextOption) -> ContextVariables | Literal["copy"] | None:
    """Check a pool's option `context`, and return its meaning.

    Raises:
        TypeError: It is neither a str nor a collection of them, or one of them names no `ContextVar`.
        ValueError: It is another str than "copy", or there is no variable of a name.
    """
    if context is None:
        return None
    if isinstance(context, str):
        if context != COPY:
            raise ValueError(
                f"context must be 'copy' or a list of names such as ['package.module:variable'], not {context!r}"
            )
        return COPY
    try:
        names = list(context)
    except TypeError:
        raise TypeError(f"context must be 'copy' or a list of names, not {context!r}") from None
    return ContextVariables(names)


def check_carried(executor: object, context: ContextOption) -> ContextVariables | None:
    """Check the option as `check_context` does, for a pool whose calls take along named variables only.

    Raises:
        UnsupportedError: It is "copy".
    """
    checked = check_context(context)
    if isinstance(checked, str):
        from corefutures._exceptions import UnsupportedError  # here for workers, which do without both
        from corefutures.registry._registry import backend_with

        backend = backend_with("shares_memory")
        raise UnsupportedError(
            f"{type(executor).__name__} can't copy a whole context: name the variables that calls take along, as in"
            f" context=['package.module:variable'], or use create_executor({backend!r}), which can"
        )
    return checked


def _checked(name: object) -> ContextVar[Any]:
    if not isinstance(name, str):
        raise TypeError(f"a context variable is named by a str such as 'package.module:variable', not {name!r}")
    try:
        variable = _variable(name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ValueError(f"there is no context variable {name!r} ('package.module:variable'): {exc}") from exc
    if not isinstance(variable, ContextVar):
        del _known[name]
        raise TypeError(f"{name!r} is a {type(variable).__name__}, not a ContextVar")
    return variable


def _variable(name: str) -> ContextVar[Any]:
    """Return the variable of a name.

    Raises:
        ImportError: Its module can't be imported.
        AttributeError: The module has no such variable.
        ValueError: The name is malformed.
    """
    variable = _known.get(name)
    if variable is None:
        module, colon, path = name.partition(":")
        if not (module and colon and path):
            raise ValueError("a colon is to stand between the module and the variable")
        __import__(module)
        found: Any = sys.modules[module]
        for attribute in path.split("."):
            found = getattr(found, attribute)
        variable = _known[name] = found
    return variable


class ContextCall:
    """A callable that takes context variables along: pickled by their names, with the values around the submission.

    Attributes:
        func: The function to call.
    """

    __slots__ = ("_unset", "_values", "func")

    def __init__(self, func: Callable[..., Any], values: dict[str, Any], unset: list[str]) -> None:
        self.func = func
        self._values = values
        self._unset = unset

    def __reduce__(self) -> Any:
        return _rebuild, (self.func, self._values, self._unset)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function with the variables."""
        context = copy_context()
        unset = [variable for name in self._unset if (variable := _variable(name)) in context]
        if unset:  # by an initializer, or where this process was forked
            context = _without(unset, context)
        return context.run(self._run, args, kwargs)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for name, value in self._values.items():
            _variable(name).set(value)
        return self.func(*args, **kwargs)


def _without(unset: list[ContextVar[Any]], context: Context) -> Context:
    rest = Context()
    for variable, value in context.items():
        if variable not in unset:
            rest.run(variable.set, value)
    return rest


def _rebuild(func: Callable[..., Any], values: dict[str, Any], unset: list[str]) -> ContextCall:
    """Make the call where it is to run; without one of its variables it fails here, as a call that can't be decoded."""
    for name in (*values, *unset):
        _variable(name)
    return ContextCall(func, values, unset)


class ContextEncoder:
    """An encoder whose calls take variables along.

    Args:
        encode: The encoder of the backend.
        variables: The variables.
    """

    def __init__(self, encode: Any, variables: ContextVariables) -> None:
        self._encode = encode
        self._variables = variables

    @property
    def by_value(self) -> bool:
        """Whether functions that can't be imported are encoded as code."""
        return bool(self._encode.by_value)

    @property
    def sharer(self) -> Any:
        """See `Encoder.sharer`."""
        return self._encode.sharer

    @sharer.setter
    def sharer(self, sharer: object) -> None:
        self._encode.sharer = sharer

    def shared(self, obj: Any) -> Any:
        """Return an object as the backend shares it."""
        return self._encode.shared(obj)

    def __call__(self, obj: Any) -> Any:
        """Return `obj` as the backend encodes it."""
        return self._encode(obj)

    def call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a call as the backend encodes it, with the values of this moment.

        Raises:
            BaseException: The error of the encoder; a note names the variable if its value can't be encoded.
        """
        values, unset = self._variables.values()
        try:
            return self._encode.call(ContextCall(fn, values, unset), args, kwargs)
        except Exception as exc:
            for name, value in values.items():
                self._note_cause(exc, name, value)
            raise

    def _note_cause(self, error: Exception, name: str, value: Any) -> None:
        try:
            body = self._encode(value)
        except Exception:
            add_note(
                error,
                f"the value of the context variable {name!r}, a {type(value).__name__}, can't travel to a worker",
            )
        else:
            if hasattr(body, "close"):  # a payload
                body.close()
