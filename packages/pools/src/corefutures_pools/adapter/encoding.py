"""`CallEncoding`: calls travel as bytes to `encoded_calls.run_encoded`, and their outcomes come back as bytes.

Touches the pools' encoder and decoder. Guarantees: never raises, whatever arguments, results and exceptions do (E4).
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any

from corefutures_pools.adapter.initializing import WorkerNotInitialized
from corefutures_pools.encoded_calls import SERIALIZERS, encoder_of, run_encoded
from corefutures_pools.foreign_code import raises_again
from corefutures_pools.options import check_choice
from corefutures_pools.workers.messages import INIT_FAILED
from corefutures_pools.workers.pickling_errors import explain
from corefutures_pools.workers.result_decoding import ResultDecoder

if TYPE_CHECKING:
    from collections.abc import Callable


class CallEncoding:
    """The encoding of an adapted executor.

    Args:
        serializer: The option of `adapt`.
        remote_traceback: Makes the `__cause__` of an exception from a worker.
        initializer: Called in each worker before its first call; None for nothing.
        initargs: Its arguments.

    Raises:
        Exception: The initializer can't be pickled.
        TypeError: `serializer` is no text.
        ValueError: There is no such serializer, or cloudpickle is not installed.
    """

    def __init__(
        self,
        serializer: str,
        remote_traceback: Callable[[str], BaseException],
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        check_choice("serializer", serializer, SERIALIZERS)
        self._serializer = serializer
        try:
            self._encoder = encoder_of(serializer)
        except ImportError as exc:
            raise ValueError(
                "serializer='cloudpickle' needs cloudpickle, which is not installed: pip install cloudpickle"
            ) from exc
        self._initializer: tuple[tuple[str, bytes], ...] = ()  # the last argument of `run_encoded`, if there is one
        if initializer is not None:
            self._initializer = ((token_hex(8), self._encoder.in_band((initializer, initargs))),)
        self._decoder = ResultDecoder(_loads, self._encoder, remote_traceback)

    def call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Callable[..., Any], tuple[Any, ...]] | None, BaseException | None]:
        """Return the function and the arguments of an encoded call, or the exception that encoding it raised.

        Raises:
            BaseException: A signal handler's, not the encoder's.
        """
        try:
            body = self._encoder.in_band((fn, args, kwargs))
            return (run_encoded, (self._serializer, body, *self._initializer)), None
        except BaseException as exc:
            again = self._encoder.in_band, (fn, args, kwargs)
            if not (issubclass(type(exc), Exception) or raises_again(exc, *again)):
                raise
            try:
                explain(exc, self._encoder, fn, args, kwargs)
            except Exception:  # of an argument's own repr, say: the error stays as it is
                pass
            return None, exc

    def outcome(self, answer: Any) -> tuple[Any, BaseException | None]:
        """Return the result or the exception in what `run_encoded` returned; anything else is a result itself."""
        if not isinstance(answer, bytes):
            return answer, None
        kind, body = answer[0], memoryview(answer)[1:]
        if kind == INIT_FAILED:
            return None, WorkerNotInitialized(self._decoder.error(body))
        return self._decoder.outcome(kind, body)


def _loads(body: Any) -> Any:
    from pickle import loads  # here for start-up time only

    return loads(body)

