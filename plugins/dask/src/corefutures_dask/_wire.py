"""Calls and what came of them, as bytes: used on both sides.

Touches `pickle` and cloudpickle. Guarantees: what can't be pickled or unpickled fails its own call only (E4).
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
from corefutures_pools.workers.worker_loop import describe

if TYPE_CHECKING:
    from collections.abc import Callable

#: The first byte of an outcome.
VALUE: Final = b"v"
ERROR: Final = b"e"

_PROTOCOL: Final = 5
#: An object of the caller's main program: the workers have another one, so these go by value.
_OF_MAIN: Final = b"__main__"


class _Reducers(dict[type, Any]):
    """copyreg's table without what Dask has others put there for exceptions, which would lose their attributes."""

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
    """Returns `obj` pickled: by reference where its parts can be imported, by value where they can't.

    Raises:
        Exception: Whatever pickling raises.
    """
    out = io.BytesIO()
    try:
        _ByReference(out, _PROTOCOL).dump(obj)
        body = out.getvalue()
    except Exception:
        return _by_value(obj)
    return _by_value(obj) if _OF_MAIN in body else body


def _by_value(obj: Any) -> bytes:
    out = io.BytesIO()
    _ByValue(out, _PROTOCOL).dump(obj)
    return out.getvalue()


class Carried:
    """The function of a map: pickled once, and sent once with each pack of its calls, which refer to it.

    Two maps have two of them, also if their functions are equal: a worker has an object of its own for each.
    """

    __slots__ = ("carried", "pickled")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.carried = fn
        #: What the calls refer to it by, and the function itself.
        self.pickled = secrets.token_hex(8), dumps(fn)

    def __call__(self, *args: Any) -> Any:
        """Calls the function."""
        return self.carried(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_worker, (self.pickled[0],)


class Function:
    """The function of a map in a worker: pickled until the first call wants it.

    Args:
        body: The function, pickled.
    """

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._function: Any = None

    def get(self) -> Any:
        """Returns the function; raises what unpickling raises, in each call (E4)."""
        if (body := self._body) is not None:
            self._function = pickle.loads(body)
            self._body = None
        return self._function


#: What this thread is doing: `pool` whose calls it runs, for pools whose workers are threads of the same process;
#: `functions` that these calls may refer to.
current = threading.local()


def _in_worker(token: str) -> Any:
    return current.functions[token].get()


def run(body: bytes) -> bytes:
    """Runs a call in the worker, and returns what came of it; never raises."""
    try:
        fn, args, kwargs = pickle.loads(body)
        result = fn(*args, **kwargs)
    except BaseException as exc:
        return failure(exc)
    try:
        return VALUE + dumps(result)
    except BaseException as exc:
        return failure(exc)


def failure(error: BaseException) -> bytes:
    """Returns the outcome of a call that raised `error`."""
    try:
        text = describe(error)
        BaseException.with_traceback(error, None)
        try:
            return ERROR + pickle.dumps((text, dumps(error)))
        except Exception as exc:  # the exception itself can't be pickled
            return ERROR + pickle.dumps((f"{text}\n{describe(exc)}", dumps(BaseException.with_traceback(exc, None))))
    except BaseException as exc:
        plain = RuntimeError(f"a {class_name(error)} that can't be reported ({class_name(exc)})")
        return ERROR + pickle.dumps(("", pickle.dumps(plain)))


def outcome(body: bytes) -> tuple[Any, BaseException | None, str]:
    """Returns the result, or the exception and the traceback of the worker as text, of what `run` returned."""
    try:
        if body[:1] == VALUE:
            return pickle.loads(memoryview(body)[1:]), None, ""
        text, pickled = pickle.loads(memoryview(body)[1:])
    except BaseException as exc:
        return None, BaseException.with_traceback(exc, None), ""
    try:
        error = pickle.loads(pickled)
        if not isinstance(error, BaseException):
            raise TypeError(f"what was raised is unpickled as a {type(error).__name__}, which is no exception")
    except BaseException as exc:
        error = BaseException.with_traceback(exc, None)
    return None, error, text
