"""`CallEncoding`: calls travel as bytes to `wire.run`, and their outcomes come back as bytes.

Touches the wire of the engines. Guarantees: what arguments, results and exceptions do while they are pickled or
unpickled is the outcome of their own call (E4).
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any

from corefutures_pools.adapter.initializing import WorkerNotInitialized
from corefutures_pools.foreign_code import add_note, raises_again, set_cause
from corefutures_pools.options import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable


def check_serializer(serializer: str) -> None:
    """Raise ValueError if there is no such serializer, or cloudpickle is not installed."""
    check_choice("serializer", serializer, ("cloudpickle",))
    try:
        import cloudpickle  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    except ImportError as exc:
        raise ValueError(
            "serializer='cloudpickle' needs cloudpickle, which is not installed: pip install cloudpickle"
        ) from exc


class CallEncoding:
    """The encoding of an adapted executor.

    Args:
        initializer: Called in each worker before its first call; None for nothing.
        initargs: Its arguments.

    Raises:
        Exception: The initializer can't be pickled.
    """

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        from corefutures_pools import wire

        self._wire: Any = wire
        self._token = token_hex(8)
        self._initializer = None
        if initializer is not None:
            self._initializer = wire.dumps((wire.call_initializer, (initializer, *initargs), {}))

    def call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Callable[..., Any], tuple[Any, ...]] | None, BaseException | None]:
        """Return the function and the arguments of an encoded call, or the exception that encoding it raised.

        Raises:
            BaseException: A signal handler's, not the encoder's.
        """
        try:
            body = self._wire.dumps((fn, args, kwargs))
        except BaseException as exc:
            if not (issubclass(type(exc), Exception) or raises_again(exc, self._wire.dumps, (fn, args, kwargs))):
                raise
            return None, exc
        return (self._wire.run, (self._token, self._initializer, body)), None

    def outcome(self, answer: Any) -> tuple[Any, BaseException | None]:
        """Return the result or the exception in what `wire.run` returned; anything else is a result itself."""
        if not isinstance(answer, bytes):
            return answer, None
        fault = answer[:1] == self._wire.FAULT
        result, error, text = self._wire.load_outcome(memoryview(answer)[1:] if fault else answer)
        if error is not None and text:
            set_cause(error, self._wire.RemoteTraceback(text))
        elif error is not None:
            add_note(error, "raised while the outcome of a call was unpickled")
        if fault:
            assert error is not None  # what the initializer raised
            return None, WorkerNotInitialized(error)
        return result, error
