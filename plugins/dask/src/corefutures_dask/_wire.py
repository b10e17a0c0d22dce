"""What calls on Dask have besides `corefutures_pools.wire`: the function of a map, which travels once a batch.

Touches `pickle`. Guarantees: an object that can't be unpickled fails its own call only (E4).
"""

from __future__ import annotations

import pickle
import secrets
import threading
from typing import TYPE_CHECKING, Any

from corefutures_pools.wire import (
    ERROR as ERROR,
    RemoteTraceback as RemoteTraceback,
    dump_error as dump_error,
    dumps as dumps,
    load_outcome as load_outcome,
    run_call as run_call,
)

if TYPE_CHECKING:
    from collections.abc import Callable


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
