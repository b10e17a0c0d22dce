"""Functions that are sent to an interpreter by value: their code is all of them.

Used on both sides; the worker imports it first of all, so it touches nothing.
"""

from __future__ import annotations

import builtins
import marshal
import sys

from corefutures_pools.workers.marshalled import import_named

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FunctionType
    from typing import Any, Final
else:
    FunctionType = type(lambda: None)  # `types` would be imported for this alone

#: The names of a main module: in the process that was started, and in workers, which run it again.
MAIN_MODULES: Final = ("__main__", "__mp_main__")

#: In place of a pickled function: the marshalled arguments of `rebuild_function` follow. No pickle begins with it.
_BY_VALUE: Final = b"\0"

#: The code that was received, by its bytes.
_received: dict[bytes, CodeType] = {}
_CACHE_SIZE: Final = 1 << 10


def by_value(code: bytes, name: str, qualname: str) -> bytes:
    """Return what `loads` makes a function of, from its marshalled code and its names."""
    return _BY_VALUE + marshal.dumps((code, name, qualname))


def rebuild_function(code: bytes, name: str, qualname: str) -> FunctionType:
    """Return a function of that marshalled code, whose globals are empty."""
    known = _received.get(code)
    if known is None:
        if len(_received) >= _CACHE_SIZE:
            _received.clear()
        known = _received[code] = marshal.loads(code)
    function = FunctionType(known, {"__builtins__": builtins, "__name__": "__main__"}, name)
    function.__qualname__ = qualname
    return function


def loads(body: Any) -> Any:
    """Return the object of a pickle, or the function of a head; most functions need no `pickle`, which takes long.

    Raises:
        BaseException: Whatever decoding raises.
    """
    if type(body) is bytes:
        if body.startswith(_BY_VALUE):
            return rebuild_function(*marshal.loads(body[len(_BY_VALUE) :]))
        function = import_named(body)
        if function is not None:
            return function
    import pickle

    return pickle.loads(body)
