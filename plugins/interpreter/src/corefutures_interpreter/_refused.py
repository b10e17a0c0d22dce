"""How a process reads a call that an interpreter has sent back.

Runs in worker processes. Guarantees: what the call would have shared with the interpreter is a copy here, if it may
only be read; if it may be written, the call fails.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import io
import pickle

from corefutures_interpreter._functions import loads
from corefutures_pools.workers.marshalled import CallReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_read = CallReader(loads)


def read_inline(body: bytes) -> Any:
    """Return function and arguments, and keywords if there are any, of an inline body.

    Raises:
        BaseException: Whatever decoding raises.
    """
    return _read(body)


def read_payload(count: int, parts: list[tuple[bytes, bool, str, tuple[int, ...]]]) -> Any:
    """Return the same of a payload.

    Args:
        count: The number of pieces of the pickle, which come first.
        parts: The pieces, and then the buffers: content, whether it may only be read, its format and its shape.

    Raises:
        NotShareableError: The call may write into memory that it would share.
        BaseException: Whatever decoding raises.
    """
    pickled = b"".join(content for content, *_ in parts[:count])
    return _Unpickler(io.BytesIO(pickled), buffers=[_view(*part) for part in parts[count:]]).load()


def _view(content: bytes, readonly: bool, form: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(content if readonly else bytearray(content))
    return view if form == "B" and len(shape) == 1 else view.cast(form, shape)  # type: ignore[call-overload]


def _unshared(view: Any) -> memoryview:
    """Return what stands for a `memoryview` argument."""
    if type(view) is memoryview and not view.readonly:
        from concurrent.interpreters import NotShareableError

        raise NotShareableError(
            "an interpreter refused this call, and no process can run it: it may write into the memory of a memoryview"
            " argument, which a process does not share; give it view.toreadonly(), of which a process gets a copy"
        )
    return memoryview(view)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "memoryview"):
            return _unshared
        return super().find_class(module, name)
