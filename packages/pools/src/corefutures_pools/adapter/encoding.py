"""`CallEncoding`: calls travel as bytes or names to `wire`, and their outcomes come back as bytes or atoms.

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

    from corefutures_pools.future import Call


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

    def call(self, call: Call) -> tuple[Call, BaseException | None]:
        """Return an encoded call, or the call itself and the exception that encoding it raised.

        Raises:
            BaseException: A signal handler's, not the encoder's.
        """
        wire = self._wire
        fn, args, kwargs = call
        named = wire.name_call(fn, args, kwargs)
        body = b""
        if not named:
            try:
                body = wire.dumps(call)
            except BaseException as exc:
                if not (issubclass(type(exc), Exception) or raises_again(exc, wire.dumps, call)):
                    raise
                return call, exc
        if self._initializer is not None:
            return (wire.run, (self._token, self._initializer, named or body), {}), None
        return ((wire.run_named, named, {}) if named else (wire.run_call, (body,), {})), None

    def outcome(self, answer: Any) -> tuple[Any, BaseException | None]:
        """Return the result or the exception in what `wire` returned; anything else is a result itself."""
        if not isinstance(answer, bytes):
            return answer, None
        fault = answer[:1] == self._wire.FAULT
        result, error, text = self._wire.load_outcome(memoryview(answer)[1:] if fault else answer)
        if error is None:
            return result, None
        if text:
            set_cause(error, self._wire.RemoteTraceback(text))
        else:
            add_note(error, "raised while the outcome of a call was unpickled")
        return None, WorkerNotInitialized(error) if fault else error
