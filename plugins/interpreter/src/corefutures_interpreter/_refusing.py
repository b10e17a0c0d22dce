"""`Refuser`: sends a call that this interpreter can't load back to the pool, which runs it in a process.

Runs in the worker, with `on_refusal` alone; imports `pickle` only then. Guarantees: a call whose function has begun is
sent back only if the user lets calls run again, and never a stream.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

from corefutures_interpreter._failures import refusal_behind, refusal_text
from corefutures_pools.workers.messages import ERROR, ITEM, REFUSED, REFUSED_NUMBER, RESULT_PICKLE
from corefutures_pools.workers.refused_call import SentBack
from corefutures_pools.workers.stream_call import StreamCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from corefutures_pools.workers.worker_loop import Reporter, Transport


class KeptCall:
    """The function of a call that came as a payload, with the payload: in case that the call has to be sent back.

    Args:
        func: The function.
        views: What `_serialization.load` makes the call of.
    """

    __slots__ = ("func", "views")

    def __init__(self, func: Any, views: tuple[Any, ...]) -> None:
        self.func = func
        self.views = views

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.func(*args, **kwargs)


class Refuser:
    """Sends calls back; for `Reporter.refuse`.

    Args:
        reporter: Has the encoder.
        reruns: Whether also calls that have begun.

    Attributes:
        views: Those of the payload that could not be decoded.
    """

    def __init__(self, reporter: Reporter, *, reruns: bool) -> None:
        self._reporter = reporter
        self._reruns = reruns
        self.views: tuple[Any, ...] | None = None
        self._modules: dict[str, str] = {}  # what can't be imported here → why

    def payload(self, views: tuple[Any, ...], decode: Any) -> Any:
        """Return `decode(views)`, a call; keep the views as long as they may be needed."""
        try:
            call = decode(views)
        except BaseException:
            self.views = views
            raise
        return (KeptCall(call[0], views), *call[1:]) if self._reruns else call

    def __call__(
        self, transport: Transport, number: int, body: Any, error: BaseException, fn: Any
    ) -> tuple[int, bytes] | None:
        """Send a call back, if that is right, and wait until it has ended: see `Reporter`."""
        views, self.views = self.views, None
        try:
            reason = refusal_behind(error)
            if not reason or (fn is not None and not (self._reruns and _may_run_again(fn))):
                return None
            if fn is None:
                self._remember(error)
            content: tuple[Any, ...]
            item: Any
            if body is not None:
                reader, content = "inline", (bytes(body),)
            else:
                if type(fn) is KeptCall:
                    views = fn.views
                assert views is not None
                reader, content = "payload", (views[0], [_packed(view) for view in views[1:]])
            item = self._reporter.encode(SentBack(reason, reader, content))
            views, body, content = None, None, ()
            if isinstance(item, bytes):
                transport.send(RESULT_PICKLE | ITEM, number, REFUSED + item)
            else:
                transport.send_payload(number, item)
        except Exception:  # there is no memory for it, say: the call fails as it did
            return None
        item = None
        transport.await_grant(number, unless_asked=False)
        return ERROR, REFUSED + REFUSED_NUMBER.pack(number)

    def initializer_refused(self, error: BaseException, *, begun: bool) -> Callable[[Any], Any] | None:
        """Return what fails each call, so that it is sent back, if this interpreter can't have the initializer.

        Args:
            error: What the initializer raised.
            begun: Whether it had begun.

        Returns:
            The function that takes the place of decoding; None if the error is another one.
        """
        reason = refusal_behind(error) if self._reruns or not begun else ""
        if not reason:
            return None

        def refuse(body: Any) -> Any:
            if type(body) is tuple:  # a payload
                self.views = body
            raise ImportError(f"{reason} (so the initializer could not run in this subinterpreter)")

        return refuse

    def _remember(self, error: BaseException) -> None:
        """Have the module that could not be imported fail at once the next time: to try again can take long."""
        reason = refusal_text(error)
        if not reason:
            return
        place: TracebackType | None = error.__traceback__
        while place is not None:
            if place.tb_frame.f_code.co_name == "<module>":
                name = place.tb_frame.f_globals.get("__name__")
                if type(name) is str and name not in ("__main__", "__mp_main__") and name not in sys.modules:
                    if not self._modules:
                        sys.meta_path.insert(0, self)  # it finds nothing, and raises
                    self._modules[name] = reason
                return
            place = place.tb_next

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise ImportError for a module that can't be imported here; find no other one.

        Raises:
            ImportError: It was tried before.
        """
        reason = self._modules.get(name)
        if reason is not None:
            raise ImportError(reason, name=name)


def _may_run_again(fn: Any) -> bool:
    """Return whether the call of `fn` is no stream, some of whose items may have been taken."""
    while fn is not None:
        if type(fn) is StreamCall:
            return False
        fn = getattr(fn, "func", None)
    return True


def _packed(view: memoryview) -> tuple[bytes, bool, str, tuple[int, ...]]:
    return view.tobytes(), view.readonly, view.format, view.shape or ()
