"""Calls and outcomes as bytes, for executors that change or lose what they pickle; for both sides of an executor.

Runs in another process too, so it imports little. Guarantees: in a worker nothing is raised: what a call raises, or
what can't be pickled or unpickled, is its outcome (E4).
"""

from __future__ import annotations

import copyreg
import pickle

from corefutures._blocking import RLock
from corefutures_pools.foreign_code import drop_frame
from corefutures_pools.workers.messages import ERROR, INIT_FAILED, RESULT_PICKLE
from corefutures_pools.workers.serialization import Encoder
from corefutures_pools.workers.worker_loop import Reporter

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from typing import Any, Final

#: The values of the option `serializer`.
SERIALIZERS: Final = ("pickle", "cloudpickle")

_encoders: Final[dict[str, Encoder]] = {}


def encoder_of(serializer: str) -> Encoder:
    """Return the encoder of a serializer, one in each process."""
    encoder = _encoders.get(serializer)
    if encoder is None:
        encoder = _encoders[serializer] = _make_encoder(serializer)
    return encoder


def _make_encoder(serializer: str) -> Encoder:
    own = _WithoutExceptions(copyreg.dispatch_table)
    if serializer == "pickle":
        return Encoder(lambda: [own], memfds=False)
    import cloudpickle  # type: ignore[import-untyped]

    class CloudPickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        dispatch_table = pickle.Pickler.dispatch_table  # for each instance; hidden by cloudpickle's class attribute

    return Encoder(lambda: [own, cloudpickle.CloudPickler._dispatch_table], CloudPickler, by_value=True, memfds=False)


class _WithoutExceptions(dict["type", "Any"]):
    """A table of reducers without those that packages add for exceptions, which lose the exceptions' attributes."""

    def __init__(self, table: dict[type, Any]) -> None:
        super().__init__()
        self._table = table

    def __contains__(self, kind: object) -> bool:
        return kind in self._table and not (isinstance(kind, type) and issubclass(kind, BaseException))

    def __getitem__(self, kind: type) -> Any:
        return self._table[kind]


def run_encoded(serializer: str, body: bytes, initializer: tuple[str, bytes] | None = None) -> bytes:
    """Run an encoded call, and return its outcome: the kind of a frame, and the frame's body.

    Args:
        serializer: The serializer for the outcome.
        body: The pickle of the function, its arguments and its keyword arguments.
        initializer: The executor's own key, and the pickle of its initializer and the initializer's arguments: called
            before the first call in this process.
    """
    if initializer is not None and (failure := _initialize(serializer, *initializer)) is not None:
        return failure
    try:
        fn, args, kwargs = pickle.loads(body)
        result = fn(*args, **kwargs)
        try:
            return b"%c%b" % (RESULT_PICKLE, encoder_of(serializer).in_band(result))
        except Exception as exc:
            from corefutures_pools.workers.pickling_errors import explain_result  # hardly any call needs it

            explain_result(exc, result)
            raise
    except BaseException as exc:
        return _outcome(ERROR, serializer, exc)


#: What came of the initializers in this process: executor's key → None, or the outcome of each call.
_initialized: Final[dict[str, bytes | None]] = {}
# Guards the dict above: in a worker that is a process of several threads, they wait for the one that initializes it.
# The initializer runs under it, nothing else; reentrant, because the initializer may be what runs such calls.
_initialize_lock = RLock()


def _initialize(serializer: str, key: str, body: bytes) -> bytes | None:
    """Initialize this process unless that has been done; return None, or the outcome of a call that can't run."""
    with _initialize_lock:
        if key not in _initialized:
            try:
                initializer, initargs = pickle.loads(body)
                initializer(*initargs)
                _initialized[key] = None
            except BaseException as exc:
                _initialized[key] = _outcome(INIT_FAILED, serializer, exc)
        return _initialized[key]


def _outcome(kind: int, serializer: str, error: BaseException) -> bytes:
    drop_frame(error)
    return b"%c%b" % (kind, Reporter(_encoder_for_errors(serializer)).error(error)[1])


def _encoder_for_errors(serializer: str) -> Encoder:
    try:
        return encoder_of(serializer)
    except Exception:  # cloudpickle is missing here
        return encoder_of("pickle")
