"""`ResultDecoder`: makes results and exceptions of what workers send.

Touches `messages`. Guarantees: never raises, whatever a result or an exception does while it is unpickled (E4).
"""

from __future__ import annotations

from marshal import loads

from corefutures_pools.foreign_code import add_note, class_name, set_cause
from corefutures_pools.workers.messages import ERROR, RESULT_MARSHAL, split_error

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class ResultDecoder:
    """Decodes the bodies of a pool's frames.

    Args:
        decode: Makes an object of a pickled body.
        encode: The pool's encoder, for messages about what it can't encode.
        remote_traceback: Makes the `__cause__` of an exception from a worker, of its traceback as text.
        hint: Added to errors that may come of how the workers were started.

    Thread safety: every method may be called from any thread.
    """

    def __init__(
        self,
        decode: Callable[[Any], Any],
        encode: Any,
        remote_traceback: Callable[[str], BaseException],
        hint: str = "",
    ) -> None:
        self.decode = decode
        self._encode = encode
        self._remote_traceback = remote_traceback
        self._hint = hint

    def outcome(self, kind: int, body: Any) -> tuple[Any, BaseException | None]:
        """Return the result or the exception in the body of a RESULT_MARSHAL, RESULT_PICKLE or ERROR frame."""
        if kind == ERROR:
            return None, self.error(body)
        return self.attempt(loads if kind == RESULT_MARSHAL else self.decode, body)

    def attempt(self, decode: Callable[[Any], Any], body: Any) -> tuple[Any, BaseException | None]:
        """Return what `decode` makes of a result, or what `decode` raised."""
        try:
            return decode(body), None
        except BaseException as exc:
            add_note(exc, "raised while the result of a call was unpickled")
            return None, exc

    def error(self, body: Any) -> BaseException:
        """Return the exception in the body of an ERROR frame; if it can't be decoded, what decoding raised."""
        try:
            error = self.rebuild(body)
            if issubclass(type(error), AttributeError) or class_name(error) == "NotShareableError":
                from corefutures_pools.workers.pickling_errors import explain_missing  # here for start-up time only

                explain_missing(error, self._encode, self._hint)
            return error
        except BaseException as exc:
            add_note(exc, "raised while the exception of a call was unpickled")
            return exc

    def rebuild(self, body: Any) -> BaseException:
        """Return the exception that a body reports; may raise if the body itself can't be read."""
        text, pickled = split_error(body)
        try:
            error: BaseException = self.decode(pickled)
            if not isinstance(error, BaseException):
                error = TypeError(f"unpickling an exception gave a {class_name(error)}")
        except BaseException as exc:
            error = exc
            add_note(error, "raised while the exception of a call was unpickled; its traceback is the cause")
        if text:
            set_cause(error, self._remote_traceback(f'\n"""\n{text}"""'))
        return error
