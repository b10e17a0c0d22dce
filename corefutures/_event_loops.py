"""The ends of futures that asyncio waits for: several that end at about the same time wake their event loop once.

Touches the closure of the callback by which asyncio chains its future to ours; a callback of any other form is left to
the caller. Guarantees: what the callback would have had its loop call is called, once, in the loop's thread, in order.
"""

from __future__ import annotations

import weakref
from asyncio import _get_running_loop
from collections import deque

from corefutures._foreign_code import for_each

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

#: What the callback refers to, of which it makes `loop.call_soon_threadsafe(_set_state, destination, source)`.
_PARTS = ("dest_loop", "_set_state", "destination")


class _Wakeup:
    """The ends that one event loop has not heard of yet.

    1. A worker appends to `ended`; then it reads `is_due`, and if that is False it sets it and has the loop call `run`.
    2. The loop clears `is_due` in `run`; then it takes out of `ended` whatever is there.

    If the worker finds `is_due` set, 2 comes after that, and takes what the worker has appended.
    """

    __slots__ = ("ended", "is_due")

    def __init__(self) -> None:
        self.ended: deque[tuple[Callable[..., object], Any, Any]] = deque()
        self.is_due = False

    def run(self) -> None:
        self.is_due = False
        for_each(_set_state, iter(self._take, None))

    def _take(self) -> Any:
        return self.ended.popleft() if self.ended else None


def _set_state(end: tuple[Callable[..., object], Any, Any]) -> None:
    set_state, destination, source = end
    set_state(destination, source)


#: id of a loop → (a weak reference to it, its wake-up). The entry is removed with the loop.
_wakeups: dict[int, tuple[Any, _Wakeup]] = {}

#: The code of asyncio's callback → the places of `_PARTS` in its closure; None for the code of another function.
_known: dict[CodeType, tuple[int, ...] | None] = {}


def tell_loop(callback: Any, future: Any) -> bool:
    """Do what `callback(future)` does if `callback` is asyncio's and its loop runs in another thread.

    Returns:
        False if the caller is to call it.
    """
    code = callback.__code__
    try:
        places = _known[code]
    except KeyError:
        names = code.co_freevars
        is_chain = code.co_qualname == "_chain_future.<locals>._call_set_state" and set(_PARTS) <= set(names)
        places = _known[code] = tuple(map(names.index, _PARTS)) if is_chain else None
    if places is None:
        return False
    loop, set_state, destination = [callback.__closure__[place].cell_contents for place in places]
    if loop is None or loop is _get_running_loop() or loop.is_closed():
        return False
    wakeup = _wakeup_of(loop)
    wakeup.ended.append((set_state, destination, future))
    if not wakeup.is_due:
        wakeup.is_due = True
        try:
            loop.call_soon_threadsafe(wakeup.run)
        except BaseException:
            wakeup.is_due = False
            if not loop.is_closed():
                raise
            wakeup.ended.clear()  # it was closed meanwhile: nobody waits any more
    return True


def _wakeup_of(loop: Any) -> _Wakeup:
    key = id(loop)
    known = _wakeups.get(key)
    if known is None:
        anchor = weakref.ref(loop, lambda _: _wakeups.pop(key, None))
        known = _wakeups.setdefault(key, (anchor, _Wakeup()))
    return known[1]
