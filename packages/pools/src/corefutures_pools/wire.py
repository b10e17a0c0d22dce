"""Calls and their outcomes as bytes, for both sides of the wire.

Touches `pickle` and cloudpickle. Guarantees: an object that can't be pickled or unpickled fails its own call only (E4).
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections import ChainMap
from types import BuiltinFunctionType, FunctionType
from typing import Any, ClassVar, Final

import cloudpickle  # type: ignore[import-untyped]

from corefutures_pools.foreign_code import class_name
from corefutures_pools.tracebacks import traceback_text

#: The first byte of an outcome.
VALUE: Final = b"v"
ERROR: Final = b"e"
#: The first byte of the outcome of an initializer that failed; that of the error follows.
FAULT: Final = b"i"

_PROTOCOL: Final = 5
#: In the bytes of an object of the caller's main program: workers have another one, so such objects go by value.
_MAIN: Final = b"__main__"


class RemoteTraceback(Exception):
    """The cause of an exception that a call raised: shows the traceback of the worker."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class _Reducers(dict[type, Any]):
    """The table of copyreg without tblib's entries for exceptions, which would lose their attributes."""

    def __missing__(self, kind: type) -> Any:
        if issubclass(kind, BaseException):
            raise KeyError(kind)
        return copyreg.dispatch_table[kind]


_reducers: Final = _Reducers()


class _ByReference(pickle.Pickler):
    dispatch_table = _reducers


class _ByValue(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table: ClassVar[Any] = ChainMap(cloudpickle.Pickler._dispatch_table, _reducers)


def dumps(obj: Any) -> bytes:
    """Return `obj` pickled: by reference where its parts can be imported, by value where they can't.

    Raises:
        Exception: Whatever pickling raises.
    """
    if cloudpickle.list_registry_pickle_by_value():  # modules that workers lack: cloudpickle decides
        return _dump(_ByValue, obj)
    try:
        body = _dump(_ByReference, obj)
    except Exception:
        return _dump(_ByValue, obj)
    return _dump(_ByValue, obj) if _MAIN in body else body


def _dump(pickler: Any, obj: Any) -> bytes:
    out = io.BytesIO()
    pickler(out, _PROTOCOL).dump(obj)
    return out.getvalue()


def run_call(body: bytes) -> bytes:
    """Run a pickled call in the worker, and return its outcome; never raise."""
    try:
        fn, args, kwargs = pickle.loads(body)
        result = fn(*args, **kwargs)
    except BaseException as exc:
        return dump_error(exc)
    return dump_result(result)


#: In a worker: the outcome of each executor's initializer here, b"" if it succeeded, by the executor's token.
_initialized: Final[dict[str, bytes]] = {}


def run(token: str, initializer: bytes | None, call: bytes | tuple[Any, ...]) -> Any:
    """Run a call in a worker, after the initializer of its executor if that has not run here; never raise.

    Args:
        token: Of the executor.
        initializer: The call of the initializer, pickled; None for nothing.
        call: For `run_call`, or the arguments of `run_named`.

    Returns:
        What one of those two returns; `FAULT` and an outcome if the initializer failed.
    """
    if initializer is not None:
        fault = _initialized.get(token)
        if fault is None:
            outcome = run_call(initializer)
            fault = _initialized[token] = b"" if outcome[:1] == VALUE else FAULT + outcome
        if fault:
            return fault
    return run_call(call) if isinstance(call, bytes) else run_named(*call)


#: What nobody can change: it may be pickled later than at its submission, and by any pickler.
_ATOMS: Final = frozenset({type(None), bool, int, float, str})
#: What can be called and may have a name in a module.
_NAMED: Final = frozenset({FunctionType, BuiltinFunctionType, type})


def name_call(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> tuple[Any, ...]:
    """Return a call in a form that need not be pickled at once, if its function has a name and all else is an atom.

    Returns:
        The arguments of `run_named`; () if the call is another one.
    """
    if type(fn) in _NAMED and _ATOMS.issuperset(map(type, args)):
        module, name = fn.__module__, fn.__qualname__
        if (
            type(module) is str
            and module != "__main__"
            and not cloudpickle.list_registry_pickle_by_value()  # see `dumps`
            and getattr(sys.modules.get(module), "__dict__", {}).get(name) is fn
        ):
            if not kwargs:
                return module, name, args
            if _ATOMS.issuperset(map(type, kwargs.values())):
                return module, name, args, kwargs
    return ()


def run_named(module: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
    """Run a call of `name_call` in a worker; return an atom as it is, another outcome as bytes; never raise."""
    try:
        __import__(module)
        result = getattr(sys.modules[module], name)(*args, **(kwargs or {}))
    except BaseException as exc:
        return dump_error(exc)
    return result if type(result) in _ATOMS else dump_result(result)


def call_initializer(initializer: Any, *initargs: Any) -> None:
    """Call an initializer; what it returns need not cross."""
    initializer(*initargs)


def dump_result(result: Any) -> bytes:
    """Return the outcome of a call that returned `result`."""
    try:
        return VALUE + dumps(result)
    except BaseException as exc:
        return dump_error(exc)


def dump_error(error: BaseException) -> bytes:
    """Return the outcome of a call that raised `error`."""
    try:
        text = traceback_text(error)
        BaseException.with_traceback(error, None)
        try:
            return ERROR + pickle.dumps((text, dumps(error)))
        except Exception as exc:  # the exception itself can't be pickled
            return ERROR + pickle.dumps(
                (f"{text}\n{traceback_text(exc)}", dumps(BaseException.with_traceback(exc, None)))
            )
    except BaseException as exc:
        plain = RuntimeError(f"a {class_name(error)} that can't be reported ({class_name(exc)})")
        return ERROR + pickle.dumps(("", pickle.dumps(plain)))


def load_outcome(body: bytes) -> tuple[Any, BaseException | None, str]:
    """Return the result of a call, or its exception and the text of its traceback."""
    try:
        if body[:1] == VALUE:
            return pickle.loads(memoryview(body)[1:]), None, ""
        text, pickled = pickle.loads(memoryview(body)[1:])
    except BaseException as exc:
        return None, BaseException.with_traceback(exc, None), ""
    try:
        error = pickle.loads(pickled)
        if not isinstance(error, BaseException):
            raise TypeError(f"the exception is unpickled as a {type(error).__name__}, which is no exception")
    except BaseException as exc:
        error = BaseException.with_traceback(exc, None)
    return None, error, text
