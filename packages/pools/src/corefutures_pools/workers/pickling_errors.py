"""Explanations for errors of pickling and unpickling: the part of the call, the reason, and the remedy.

Touches the error only; this library's own frames, which tell a user nothing, are removed from its traceback.
Guarantees: an exception that an object's own `__reduce__` raised stays as it is.
"""

from __future__ import annotations

import importlib.util
import pickle
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from corefutures._foreign_code import class_name
from corefutures._instrumentation import name_of
from corefutures._options import shown
from corefutures_pools.workers.chunking import run_chunk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

#: Texts of the errors of pickling for functions and classes that can't be imported by their names.
_NAMELESS: Final = re.compile(r"local (object|class)|not found as|not the same object|import of module|lambda|<locals>")
#: The text of the error of unpickling for a name that the main module lacks.
_MISSING: Final = re.compile(
    r"module '__(?:mp_)?main__' has no attribute '(\w+)'|get attribute '(\w+)' on <module '__(?:mp_)?main__'"
)
_OWN_MODULES: Final = ("corefutures", "cloudpickle", "pickle", "copyreg")
_OWN_ERRORS: Final = (pickle.PicklingError, AttributeError, TypeError)
_cause_of: Final = BaseException.__dict__["__cause__"].__get__
_traceback_of: Final = BaseException.__dict__["__traceback__"].__get__


def explain(error: BaseException, encode: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Complete the error of a call that could not be encoded.

    Args:
        error: The exception that `encode` raised.
        encode: The pool's encoder, which is tried on each part of the call.
        fn: The call's function.
        args: Its arguments.
        kwargs: Its keyword arguments.
    """
    is_foreign = False
    for one in _with_cause(error):
        is_foreign = _drop_own_frames(one) or is_foreign
    if is_foreign or not _is_extensible(error):
        return
    found = _part_of(encode, fn, args, kwargs)
    if found is None:
        return
    part, culprit, depth = found
    for one in _with_cause(error):  # "when serializing tuple item 0": the tuples of a call are not the program's
        notes = getattr(one, "__notes__", None)
        for _ in range(depth):
            if notes and notes[-1].startswith("when serializing tuple item"):
                notes.pop()
    remedy = _remedy(error, encode, culprit)
    error.args = (f"{error.args[0]}; {part}, {shown(culprit)}, can't be sent to a worker: {remedy}",)


def explain_missing(error: BaseException, encode: Any, hint: str = "") -> None:
    """Complete the error of a call that a worker could not decode because its main module lacks a name.

    Args:
        error: The exception that the worker raised.
        encode: The pool's encoder.
        hint: A sentence to add.
    """
    if not _is_extensible(error) or (match := _MISSING.search(error.args[0])) is None:
        return
    name = match[1] or match[2]
    if not hasattr(sys.modules.get("__main__"), name):
        return
    error.__cause__ = None  # a traceback of this library, in the worker
    cloud = "" if encode.by_value else f", or make the pool with {_cloudpickle()}"
    where = "in an interactive session, on the command line or under `if __name__ == '__main__':`"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name.rpartition(".")[2] == "__main__":
        where = "in the __main__.py that was started, which would start the program again"
    text = f"{name} was defined where workers can't import it, {where}; put it into a module{cloud}"
    error.args = (f"{text}. {hint}" if hint else text,)


def explain_result(error: BaseException, result: Any) -> None:
    """Complete the error of a result that could not be encoded; in the worker."""
    is_foreign, *_ = [_drop_own_frames(one) for one in _with_cause(error)]
    if not is_foreign and _is_extensible(error):
        error.args = (f"{error.args[0]}; it is in the result of the call, {shown(result)}, which has to be sent back",)


def _with_cause(error: BaseException) -> list[BaseException]:
    """Return an exception and its cause, also if the class hides these attributes."""
    cause: BaseException | None = _cause_of(error)
    return [error] if cause is None else [error, cause]


def _drop_own_frames(error: BaseException) -> bool:
    """Remove this library's first frames from an exception's traceback; return whether other frames are left."""
    left = _without_own_frames(_traceback_of(error))
    BaseException.with_traceback(error, left)
    return left is not None


def _is_extensible(error: BaseException) -> bool:
    known = type(error) in _OWN_ERRORS or class_name(error) == "NotShareableError"
    return known and len(error.args) == 1 and isinstance(error.args[0], str)


def _without_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame that is neither this library's nor pickle's; None if there is none."""
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0].partition("_")[0] not in _OWN_MODULES:
            return traceback
        traceback = traceback.tb_next
    return None


def _part_of(encode: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Any, int] | None:
    """Find the part of a call that can't be encoded; return its name, the part, and the depth of tuples around it."""
    for part, value, depth in _parts(fn, args, kwargs):
        try:
            body = encode(value)
        except Exception:
            return part, value, depth
        if not isinstance(body, bytes):
            body.close()
    return None


def _parts(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any, int]]:
    if fn is run_chunk:
        fn, *columns = args
        yield "the function", fn, 2
        for column in columns:
            for item in column:
                yield "an item", item, 3
        return
    yield "the function", fn, 1
    for number, value in enumerate(args, 1):
        yield f"argument {number} of {name_of(fn)}()", value, 2
    for name, value in kwargs.items():
        yield f"argument {name!r} of {name_of(fn)}()", value, 2


def _remedy(error: BaseException, encode: Any, culprit: Any) -> str:
    text = f"{error.args[0]} {error.__cause__}"
    if not encode.by_value:
        if _NAMELESS.search(text):
            return (
                "it has no name to import it by; define it at the top level of a module, or make the pool with"
                f" {_cloudpickle()}"
            )
        try:
            import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]

            cloudpickle.dumps(culprit)
            return f"make the pool with {_cloudpickle()}"
        except Exception:  # not installed, or it can't pickle the object either
            pass
    return "have the call make what it needs itself, or an initializer, and pass what it is made from"


def _cloudpickle() -> str:
    missing = importlib.util.find_spec("cloudpickle") is None
    return f"serializer='cloudpickle'{' (pip install cloudpickle)' if missing else ''}"
