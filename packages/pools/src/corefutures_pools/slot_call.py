"""`SlotCall`: a call that holds slots of its pool while it runs; `held_slots`: the slots that the code here holds.

A worker imports this file with its first such call, so it imports nothing but the core's `_blocking`; `slots` decides
which slots a call gets. Guarantees: the slots are those that the pool has granted before it sent the call.
"""

from __future__ import annotations

import os
from struct import pack, unpack_from

from corefutures._blocking import _thread, current_workers, system

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    #: For each name: the ids of all slots, how many the call demands, and the environment variable that tells them.
    Layout = tuple[tuple[str, Sequence[Any], int, str | None], ...]

#: What the grant of a call begins with in its pickle, where the pool finds it.
_TOKEN: Final = system.urandom(16)

#: The slots that are held here, by thread of a pool of threads; under 0 those of a worker process or interpreter.
_held: dict[int, dict[str, tuple[Any, ...]]] = {}


def _place() -> int:
    ident = _thread.get_ident()
    return ident if ident in current_workers else 0


def held_slots() -> dict[str, tuple[Any, ...]]:
    """Return the slots that the call that runs here holds: the ids by name, such as `{"gpu": (0,)}`.

    Empty for a call that holds none, and outside of calls. In a thread it must be called by the thread of the call; in
    a worker process or interpreter any thread may call it.
    """
    return dict(_held.get(_place(), ()))


class SlotCall:
    """A callable that holds slots while it runs.

    Args:
        grant: Made by `make_grant`; without indexes until the pool has granted the slots.
        layout: What the call demands.
        func: The function to call.

    Attributes:
        demand: The `Demand`, where the call was submitted.
    """

    __slots__ = ("demand", "func", "grant", "layout")

    demand: Any

    def __init__(self, grant: bytes, layout: Layout, func: Callable[..., Any]) -> None:
        self.grant = grant
        self.layout = layout
        self.func = func

    def __reduce__(self) -> Any:
        return SlotCall, (self.grant, self.layout, self.func)  # the grant first: it is looked for at the beginning

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function with the slots."""
        slots, variables, start = {}, {}, len(_TOKEN)
        for name, ids, count, variable in self.layout:
            slots[name] = tuple([ids[index] for index in unpack_from(f"={count}I", self.grant, start)])
            start += 4 * count
            if variable is not None:
                variables[variable] = ",".join(map(str, slots[name]))
        place = _place()
        before = _held.get(place)
        found = {variable: os.environ.get(variable) for variable in variables}
        try:
            _held[place] = slots
            os.environ.update(variables)
            return self.func(*args, **kwargs)
        finally:
            for variable, value in found.items():
                if value is None:
                    os.environ.pop(variable, None)
                else:
                    os.environ[variable] = value
            if before is None:
                _held.pop(place, None)
            else:  # a thread that runs this call while another one waits for it
                _held[place] = before


def make_grant(indexes: Sequence[int]) -> bytes:
    """Return the grant of the slots with these indexes, name by name in the order of the layout."""
    return _TOKEN + pack(f"={len(indexes)}I", *indexes)


def with_grant(body: bytes, grant: bytes) -> bytes:
    """Return a part of a serialised call, with the grant in place of the one that it was serialised with."""
    start = body.find(_TOKEN)
    return body if start < 0 else b"".join([body[:start], grant, body[start + len(grant) :]])
