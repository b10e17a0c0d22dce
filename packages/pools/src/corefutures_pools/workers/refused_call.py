"""A call that workers of one pool could not load, on its way back (`SentBack`) and to another pool (`RefusedCall`).

Runs in the workers of both. Touches nothing. Guarantees: the call is read there as the first worker would have read
it; nothing of it has run before, unless the user lets calls run again.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class SentBack:
    """What a worker sends back in the place of a call that it could not load.

    Args:
        reason: Why.
        reader: The name of the function that reads the call: see `Fallback`.
        content: The arguments of that function.
    """

    __slots__ = ("content", "reader", "reason")

    def __init__(self, reason: str, reader: str, content: tuple[Any, ...]) -> None:
        self.reason = reason
        self.reader = reader
        self.content = content

    def __reduce__(self) -> Any:
        return SentBack, (self.reason, self.reader, self.content)


class RefusedCall:
    """What is submitted in the place of a refused call.

    Args:
        read: Returns function and arguments, and keywords if there are any, of the serialised call.
        content: The arguments of `read`.
    """

    __slots__ = ("_content", "_read")

    def __init__(self, read: Callable[..., Any], content: tuple[Any, ...]) -> None:
        self._read = read
        self._content = content

    def __reduce__(self) -> Any:
        return RefusedCall, (self._read, self._content)

    def __call__(self) -> Any:
        """Read the call and run it."""
        fn, args, *kwargs = self._read(*self._content)
        self._content = ()
        return fn(*args, **kwargs[0]) if kwargs else fn(*args)
