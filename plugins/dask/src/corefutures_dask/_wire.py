"""Calls and their outcomes as bytes, for both sides of the wire.

Touches `pickle` and cloudpickle. Guarantees: an object that can't be pickled or unpickled fails its own call only (E4).
"""

from __future__ import annotations

import copyreg
import io
import pickle
import secrets
import threading
from collections import ChainMap
from typing import TYPE_CHECKING, Any, ClassVar, Final

import cloudpickle  # type: ignore[import-untyped]

from corefutures_pools.foreign_code import class_name
from corefutures_pools.tracebacks import traceback_text

if TYPE_CHECKING:
    from collections.abc import Callable

#: The first byte of an outcome.
VALUE: Final = b"v"
ERROR: Final = b"e"

_PROTOCOL: Final = 5
#: In the bytes of an object of the caller's main program: workers have another one, so such objects go by value.
_MAIN: Final = b"__main__"


class _Reducers(dict[type, Any]):
    """The table of copyreg without Dask's entries for exceptions, which would lose their attributes."""

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
    try:
        body = _dump(_ByReference, obj)
    except Exception:
        return _dump(_ByValue, obj)
    return _dump(_ByValue, obj) if _MAIN in body else body


def _dump(pickler: Any, obj: Any) -> bytes:
    out = io.BytesIO()
    pickler(out, _PROTOCOL).dump(obj)
    return out.getvalue()


class MapFunction:
    """The function of a map: pickled once, and sent once with each batch of its calls, which refer to it by a key.

    Two maps have two keys, even if their functions are equal: a worker has an object of its own for each map.
    """

    __slots__ = ("function", "pickled")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.pickled = secrets.token_hex(8), dumps(function)  # the key and the function

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        return self.function(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return _function_in_worker, (self.pickled[0],)


class LazyFunction:
    """The function of a map in a worker: unpickled when the first call needs it."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._function: Any = None

    def get(self) -> Any:
        """Return the function, or raise the exception of unpickling, in each call (E4)."""
        if (body := self._body) is not None:
            self._function = pickle.loads(body)
            self._body = None
        return self._function


#: The calls that this thread runs: the name of their `pool`, for pools whose workers are threads of the same process;
#: the `functions` that they may refer to, by key.
current = threading.local()


def _function_in_worker(key: str) -> Any:
    return current.functions[key].get()


def run_call(body: bytes) -> bytes:
    """Run a pickled call in the worker, and return its outcome; never raise."""
    try:
        fn, args, kwargs = pickle.loads(body)
        result = fn(*args, **kwargs)
    except BaseException as exc:
        return dump_error(exc)
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
