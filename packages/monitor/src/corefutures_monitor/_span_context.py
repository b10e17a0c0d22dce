"""What an instrumented call is where it runs: the function, and the context of its span.

Runs in the worker, in a thread or in the caller's own as well. Touches `opentelemetry` if it is there. Guarantees:
where it is not installed, the call runs without.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from opentelemetry.context import Context


class InContext:
    """A function that runs in the context of its span; to another process or interpreter it travels as text.

    Attributes:
        func: The function.
    """

    __slots__ = ("_context", "func")

    def __init__(self, func: Callable[..., Any], context: Context) -> None:
        self.func = func
        self._context = context

    def __reduce__(self) -> Any:
        from opentelemetry.propagate import inject

        carrier: dict[str, str] = {}
        inject(carrier, self._context)
        return _arrive, (self.func, carrier)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        from opentelemetry.context import attach, detach

        token = attach(self._context)
        try:
            return self.func(*args, **kwargs)
        finally:
            detach(token)


def _arrive(func: Callable[..., Any], carrier: dict[str, str]) -> Callable[..., Any]:
    try:
        from opentelemetry.propagate import extract
    except ImportError:
        return func
    return InContext(func, extract(carrier))
